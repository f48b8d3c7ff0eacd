/** Normals and tangents of a part's vertices, as `fitme/render/forward/geometry.py` computes them. Free of browser APIs. */

const SMALLEST = 1e-20;

/** Normals of the vertices and tangents of the texture vertices of one part, at one expression. */
export class VertexFrames {
  #triangles;
  #layoutTriangles;
  #fixedNormals;
  #weights;

  /** @param {import("./mesh.js").Part} part */
  constructor(part) {
    this.#triangles = part.triangles;
    this.#layoutTriangles = part.uvTriangles ?? part.triangles;
    this.#fixedNormals = part.normals !== undefined;
    const { weights, handedness } = tangentWeights(part.uv, this.#layoutTriangles);
    this.#weights = weights;
    /** (T) 1 or -1: on which side of normal and tangent the bitangent is. */
    this.handedness = handedness;
    /** (V * 3) */
    this.normals = part.normals ?? new Float32Array(part.positions.length);
    /** (T * 3) */
    this.tangents = new Float32Array((part.uv.length / 2) * 3);
  }

  /**
   * Compute area-weighted normals, unless the part fixes them, and tangents.
   * @param {Float32Array} points (V * 3)
   */
  compute(points) {
    const triangles = this.#triangles;
    const layout = this.#layoutTriangles;
    const weights = this.#weights;
    const fixedNormals = this.#fixedNormals;
    const { normals, tangents } = this;
    if (!fixedNormals) normals.fill(0);
    tangents.fill(0);
    for (let at = 0, pair = 0; at < triangles.length; at += 3, pair += 2) {
      const i0 = triangles[at] * 3;
      const i1 = triangles[at + 1] * 3;
      const i2 = triangles[at + 2] * 3;
      const ax = points[i1] - points[i0];
      const ay = points[i1 + 1] - points[i0 + 1];
      const az = points[i1 + 2] - points[i0 + 2];
      const bx = points[i2] - points[i0];
      const by = points[i2 + 1] - points[i0 + 1];
      const bz = points[i2 + 2] - points[i0 + 2];
      if (!fixedNormals) {
        // The cross product is the normal times twice the area, so its sum weights by area.
        const nx = ay * bz - az * by;
        const ny = az * bx - ax * bz;
        const nz = ax * by - ay * bx;
        normals[i0] += nx; normals[i0 + 1] += ny; normals[i0 + 2] += nz;
        normals[i1] += nx; normals[i1 + 1] += ny; normals[i1 + 2] += nz;
        normals[i2] += nx; normals[i2 + 1] += ny; normals[i2 + 2] += nz;
      }
      // Tangents have one sum per texture vertex, so that seams stay sharp.
      const wa = weights[pair];
      const wb = weights[pair + 1];
      const tx = ax * wa - bx * wb;
      const ty = ay * wa - by * wb;
      const tz = az * wa - bz * wb;
      for (let corner = 0; corner < 3; corner++) {
        const to = layout[at + corner] * 3;
        tangents[to] += tx; tangents[to + 1] += ty; tangents[to + 2] += tz;
      }
    }
    if (!fixedNormals) normalize(normals);
    normalize(tangents);
  }
}

/**
 * Weights (F * 2) of each triangle's edges in its tangent, and handedness (T): `tangent_weights`.
 * @param {Float32Array} uv
 * @param {Uint32Array} triangles into `uv`
 */
function tangentWeights(uv, triangles) {
  const weights = new Float32Array((triangles.length / 3) * 2);
  const turn = new Float64Array(uv.length / 2);
  for (let face = 0; face * 3 < triangles.length; face++) {
    const [a, b, c] = [triangles[face * 3], triangles[face * 3 + 1], triangles[face * 3 + 2]];
    const u1 = uv[b * 2] - uv[a * 2];
    const v1 = uv[b * 2 + 1] - uv[a * 2 + 1];
    const u2 = uv[c * 2] - uv[a * 2];
    const v2 = uv[c * 2 + 1] - uv[a * 2 + 1];
    const orientation = u1 * v2 - v1 * u2;
    weights[face * 2] = v2 * Math.sign(orientation);
    weights[face * 2 + 1] = v1 * Math.sign(orientation);
    for (const corner of [a, b, c]) turn[corner] -= orientation;
  }
  return { weights, handedness: Float32Array.from(turn, (value) => (value < 0 ? -1 : 1)) };
}

/** @param {Float32Array} vectors (N * 3), scaled to unit length in place; zero stays zero */
function normalize(vectors) {
  for (let at = 0; at < vectors.length; at += 3) {
    const x = vectors[at];
    const y = vectors[at + 1];
    const z = vectors[at + 2];
    const scale = 1 / Math.sqrt(Math.max(x * x + y * y + z * z, SMALLEST));
    vectors[at] = x * scale;
    vectors[at + 1] = y * scale;
    vectors[at + 2] = z * scale;
  }
}
