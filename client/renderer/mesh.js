/**
 * Geometry of one part: morphs and turning eyeballs, as `MorphableModel.vertices` computes them, and the layout of its
 * vertex buffers. Free of browser APIs.
 */

import { applyLids } from "./eyes.js";
import { lightMouth } from "./mouth_occlusion.js";
import { DEFAULT_SHININESS, MAX_EYE_PITCH_DEG, MAX_EYE_YAW_DEG } from "./reflection.js";
import { matrixOfQuaternion, quaternionOfAxisAngle } from "./rotations.js";
import { VertexFrames } from "./vertex_frames.js";

/** @typedef {import("./rotations.js").Vector} Vector */

/**
 * Sparse morph targets of the 52 expressions: those of expression e are the entries starts[e] to starts[e + 1].
 * @typedef {object} Morphs
 * @property {Uint32Array} starts (53)
 * @property {Uint16Array | Uint32Array} vertices (N)
 * @property {Int16Array | Float32Array} deltas (N * 3)
 * @property {number} scale metres of one unit of `deltas`
 */

/**
 * Vertices that follow others with every expression: `fitme.parts.binding.Binding`.
 * @typedef {object} Bound
 * @property {string} [to] part whose vertices they follow; left out: the part's own
 * @property {Uint16Array | Uint32Array} targets (N) the vertices of this part
 * @property {Uint32Array} starts (N + 1) entries of each
 * @property {Uint16Array | Uint32Array} vertices (E) that are followed
 * @property {Float32Array} weights (E)
 * @property {Float32Array} offsets (N * 3) metres
 */

/**
 * One part of an avatar. All geometry is in the model frame, metres.
 * @typedef {object} Part
 * @property {string} name
 * @property {string} material row of `MATERIALS`
 * @property {Float32Array} positions (V * 3) without expression; those of bound vertices do not matter
 * @property {Bound} [bound] vertices that no morph moves, but others
 * @property {import("./eyes.js").Eye[]} [eyes] vertices that turn with the eyeballs, under lids that set their occlusion
 * @property {Uint32Array} triangles (F * 3) counter-clockwise from outside
 * @property {Float32Array} uv (T * 2) from the top left of the map
 * @property {Uint32Array} [uvTriangles] (F * 3) into `uv`; left out: `triangles`
 * @property {Float32Array} [normals] (V * 3) fixed; left out: computed from the morphed mesh
 * @property {Float32Array} [strands] (V * 3) unit direction of the strands of hair
 * @property {Morphs} [morphs]
 * @property {{left: Uint32Array, right: Uint32Array}} [eyeballs] vertices that turn about their mean with the gaze
 * @property {{side: "left" | "right", pivot: Vector}} [turnsWith] the whole part turns about a point of the neutral head with
 *   the gaze of one eye; the point moves with the part's expressions
 * @property {Float32Array} [occlusion] (V) unoccluded share of the surroundings
 * @property {import("./mouth_occlusion.js").Mouth} [mouth]
 * @property {Float32Array | number} [shininess] Blinn-Phong exponent, one or one a triangle
 * @property {boolean} [castsShadow]
 * @property {Uint8Array} [casting] (F) triangles that cast shadows where the part does; left out: all
 * @property {string} [texturesOf] part whose textures, with their correctives, this one shares
 * @property {Record<string, import("./textures.js").TextureSource>} [textures]
 */

/** Floats of a vertex that change with the expression: position, normal, tangent or strand of hair, occlusion. */
export const MOVING_FLOATS = 10;
/** Floats of a vertex that stay: u, v, handedness, shininess. */
export const FIXED_FLOATS = 4;

const RADIANS = Math.PI / 180;
const EYES = /** @type {("left" | "right")[]} */ (["left", "right"]);
/** Indices of the eyeLook expressions in the order of `EXPRESSION_NAMES`. */
const GAZE = Object.freeze({
  downLeft: 10, downRight: 11, inLeft: 12, inRight: 13, outLeft: 14, outRight: 15, upLeft: 16, upRight: 17,
});

/**
 * Axis-angle rotations of both eyeballs, radians: `MorphableModel.eye_rotations`.
 * @param {ArrayLike<number>} weights (52)
 * @returns {{left: Vector, right: Vector}}
 */
export function eyeRotations(weights) {
  const yaw = MAX_EYE_YAW_DEG * RADIANS;
  const pitch = MAX_EYE_PITCH_DEG * RADIANS;
  return {
    left: [pitch * (weights[GAZE.downLeft] - weights[GAZE.upLeft]), yaw * (weights[GAZE.outLeft] - weights[GAZE.inLeft]), 0],
    right: [pitch * (weights[GAZE.downRight] - weights[GAZE.upRight]), yaw * (weights[GAZE.inRight] - weights[GAZE.outRight]), 0],
  };
}

/**
 * Vertices of the buffers: one for each pair of a vertex in space and one in the layout, and for each exponent there.
 * @param {Part} part
 * @param {number} fallback exponent of a part that has none
 * @returns {{space: Uint32Array, layout: Uint32Array, shininess: Float32Array, indices: Uint32Array, liningCount: number,
 *   shadowlessCount: number}} triangles that cast no shadow come first, those of the mouth's lining last
 */
function cornersOf(part, fallback) {
  const layoutTriangles = part.uvTriangles ?? part.triangles;
  const count = part.triangles.length / 3;
  const vertexCount = part.positions.length / 3;
  const exponentOf = (/** @type {number} */ face) =>
    typeof part.shininess === "object" ? part.shininess[face] : part.shininess ?? fallback;
  const [shadowless, others, lines] = [0, 1, 2];
  const group = Uint8Array.from({ length: count }, (_, face) => (part.casting?.[face] === 0 ? shadowless : others));
  for (const face of part.mouth?.lining ?? []) group[face] = lines;
  /** @type {Map<number, Map<number, number>>} of each exponent, buffer vertex by (layout, space) */
  const known = new Map();
  const space = [];
  const layout = [];
  const shininess = [];
  const indices = new Uint32Array(count * 3);
  let at = 0;
  for (const wanted of [shadowless, others, lines]) {
    for (let face = 0; face < count; face++) {
      if (group[face] !== wanted) continue;
      const exponent = exponentOf(face);
      let here = known.get(exponent);
      if (!here) known.set(exponent, here = new Map());
      for (let corner = 0; corner < 3; corner++) {
        const vertex = part.triangles[face * 3 + corner];
        const texel = layoutTriangles[face * 3 + corner];
        const key = texel * vertexCount + vertex;
        let index = here.get(key);
        if (index === undefined) {
          index = space.length;
          here.set(key, index);
          space.push(vertex);
          layout.push(texel);
          shininess.push(exponent);
        }
        indices[at++] = index;
      }
    }
  }
  const countOf = (/** @type {number} */ wanted) => group.reduce((sum, value) => sum + Number(value === wanted), 0);
  return {
    space: Uint32Array.from(space), layout: Uint32Array.from(layout), shininess: Float32Array.from(shininess), indices,
    liningCount: countOf(lines), shadowlessCount: countOf(shadowless),
  };
}

/**
 * Compute bound vertices anew.
 * @param {Bound} bound
 * @param {Float32Array} followed (V * 3)
 * @param {Float32Array} out
 */
function bind({ targets, starts, vertices, weights, offsets }, followed, out) {
  for (let row = 0; row < targets.length; row++) {
    let x = offsets[row * 3];
    let y = offsets[row * 3 + 1];
    let z = offsets[row * 3 + 2];
    for (let entry = starts[row]; entry < starts[row + 1]; entry++) {
      const from = vertices[entry] * 3;
      const weight = weights[entry];
      x += weight * followed[from];
      y += weight * followed[from + 1];
      z += weight * followed[from + 2];
    }
    const at = targets[row] * 3;
    out[at] = x;
    out[at + 1] = y;
    out[at + 2] = z;
  }
}

/** The vertex buffers of a part at one expression. */
export class PartMesh {
  #neutral;
  #morphed;
  #light;
  #frames;
  #corners;

  /**
   * @param {Part} part
   * @param {number} [shininess] of a part that has none
   */
  constructor(part, shininess = DEFAULT_SHININESS) {
    this.part = part;
    const count = part.positions.length / 3;
    this.#neutral = part.positions;
    this.#morphed = new Float32Array(count * 3);
    this.#light = part.occlusion?.slice() ?? new Float32Array(count).fill(1);
    this.#frames = new VertexFrames(part);
    this.#corners = cornersOf(part, shininess);
    this.moving = new Float32Array(this.#corners.space.length * MOVING_FLOATS);
    this.fixed = this.#fixedAttributes();
  }

  /** Corners of the triangles as indices into the buffers; the last `liningCount` triangles line the mouth. */
  get indices() {
    return this.#corners.indices;
  }

  /** The first triangles, which cast no shadow. */
  get shadowlessCount() {
    return this.#corners.shadowlessCount;
  }

  get liningCount() {
    return this.#corners.liningCount;
  }

  /** (V * 3) positions at the expression of the last `morph`. */
  get positions() {
    return this.#morphed;
  }

  /** @param {Float32Array} positions (V * 3) of another identity */
  setNeutral(positions) {
    if (positions.length !== this.#neutral.length)
      throw new RangeError(`${this.part.name} has ${this.#neutral.length / 3} vertices, not ${positions.length / 3}`);
    this.#neutral = positions;
  }

  /**
   * Compute positions, normals, tangents and occlusion, and write them to `moving`.
   * @param {ArrayLike<number>} weights (52)
   * @param {Float32Array | null} [followed] positions of the part that this one's vertices are bound to
   */
  morph(weights, followed = null) {
    this.#displace(weights);
    const { eyeballs, turnsWith } = this.part;
    if (eyeballs) {
      const turns = eyeRotations(weights);
      for (const side of EYES) {
        if (eyeballs[side].length === 0) continue;
        const center = this.#mean(eyeballs[side]);
        this.#turn(eyeballs[side], center, turns[side]);
        for (const eye of this.part.eyes ?? []) if (eye.side === side) this.#turn(eye.vertices, center, turns[side]);
      }
    }
    if (turnsWith) {
      const all = Uint32Array.from({ length: this.#neutral.length / 3 }, (_, vertex) => vertex);
      const before = this.#mean(all, this.#neutral);
      const moved = this.#mean(all);
      const pivot = /** @type {Vector} */ (turnsWith.pivot.map((value, axis) => value + moved[axis] - before[axis]));
      this.#turn(all, pivot, eyeRotations(weights)[turnsWith.side]);
    }
    if (this.part.bound) bind(this.part.bound, followed ?? this.#morphed, this.#morphed);
    for (const eye of this.part.eyes ?? []) applyLids(eye, this.#morphed, this.#light);
    if (this.part.mouth) lightMouth(this.part.mouth, this.#morphed, this.part.occlusion, this.#light);
    if (!this.part.strands) this.#frames.compute(this.#morphed);
    this.#writeMoving();
  }

  /** @param {ArrayLike<number>} weights */
  #displace(weights) {
    const out = this.#morphed;
    out.set(this.#neutral);
    const morphs = this.part.morphs;
    if (!morphs) return;
    const { starts, vertices, deltas, scale } = morphs;
    for (let expression = 0; expression < starts.length - 1; expression++) {
      const weight = weights[expression] * scale;
      if (weight === 0) continue;
      const end = starts[expression + 1];
      for (let entry = starts[expression]; entry < end; entry++) {
        const at = vertices[entry] * 3;
        const from = entry * 3;
        out[at] += weight * deltas[from];
        out[at + 1] += weight * deltas[from + 1];
        out[at + 2] += weight * deltas[from + 2];
      }
    }
  }

  /**
   * Mean position of some vertices.
   * @param {Uint32Array} vertices
   * @param {Float32Array} [points]
   * @returns {Vector}
   */
  #mean(vertices, points = this.#morphed) {
    /** @type {Vector} */
    const mean = [0, 0, 0];
    for (const vertex of vertices)
      for (let axis = 0; axis < 3; axis++) mean[axis] += points[vertex * 3 + axis] / vertices.length;
    return mean;
  }

  /**
   * Turn some vertices rigidly.
   * @param {Uint16Array | Uint32Array} vertices
   * @param {Vector} center
   * @param {Vector} axisAngle
   */
  #turn(vertices, center, axisAngle) {
    if (axisAngle[0] === 0 && axisAngle[1] === 0) return;
    const m = matrixOfQuaternion(quaternionOfAxisAngle(axisAngle));
    const out = this.#morphed;
    for (const vertex of vertices) {
      const x = out[vertex * 3] - center[0];
      const y = out[vertex * 3 + 1] - center[1];
      const z = out[vertex * 3 + 2] - center[2];
      for (let axis = 0; axis < 3; axis++)
        out[vertex * 3 + axis] = center[axis] + m[axis * 3] * x + m[axis * 3 + 1] * y + m[axis * 3 + 2] * z;
    }
  }

  #writeMoving() {
    const { space, layout } = this.#corners;
    const { normals, tangents } = this.#frames;
    const along = this.part.strands ?? tangents;
    const alongIndex = this.part.strands ? space : layout;
    const out = this.moving;
    for (let index = 0, at = 0; index < space.length; index++, at += MOVING_FLOATS) {
      const vertex = space[index] * 3;
      const strand = alongIndex[index] * 3;
      out[at] = this.#morphed[vertex];
      out[at + 1] = this.#morphed[vertex + 1];
      out[at + 2] = this.#morphed[vertex + 2];
      out[at + 3] = normals[vertex];
      out[at + 4] = normals[vertex + 1];
      out[at + 5] = normals[vertex + 2];
      out[at + 6] = along[strand];
      out[at + 7] = along[strand + 1];
      out[at + 8] = along[strand + 2];
      out[at + 9] = this.#light[space[index]];
    }
  }

  #fixedAttributes() {
    const { space, layout, shininess } = this.#corners;
    const { handedness } = this.#frames;
    const { uv } = this.part;
    const out = new Float32Array(space.length * FIXED_FLOATS);
    for (let index = 0, at = 0; index < space.length; index++, at += FIXED_FLOATS) {
      out[at] = uv[layout[index] * 2];
      out[at + 1] = uv[layout[index] * 2 + 1];
      out[at + 2] = handedness[layout[index]];
      out[at + 3] = shininess[index];
    }
    return out;
  }
}
