/**
 * Light in the mouth by what the lips leave open: `fitme.render.occlusion.MouthOcclusion`. Free of browser APIs.
 */

import {
  CLOSED_MOUTH_SHARE, LEAST_DEPTH_M, LIP_THICKNESS_M, OUT_BEGIN_M, OUT_END_M, REFLECTED_SHARE,
} from "./reflection.js";

/**
 * Occlusion of the mouth's interior by the lips.
 * @typedef {object} Mouth
 * @property {Uint32Array} lips (P * 2 * 3) corners of triangles on the upper and the lower lip
 * @property {Float32Array} weights (P * 2 * 3) barycentric coordinates there
 * @property {Uint8Array} inside (V) 1 behind the lips
 * @property {Float32Array} openShare (V) share of the light through the lips that the occlusion of the open mouth counts
 *   already
 * @property {Uint32Array} lining triangles that line the mouth, of which only front faces are drawn
 */

const SMALLEST = 1e-20;

/**
 * Light behind the lips by what they leave open, and on a tongue that comes out between them: `MouthOcclusion.apply`.
 * @param {Mouth} mouth
 * @param {Float32Array} points (V * 3) posed vertices, metres
 * @param {Float32Array | undefined} occlusion (V) of the open mouth; left out: 1 everywhere
 * @param {Float32Array} light (V) receives the share of light that arrives behind the lips
 */
export function lightMouth(mouth, points, occlusion, light) {
  const rims = rimsOf(mouth, points);
  const foremost = Math.max(...rims.map((rim) => rim.foremost));
  const last = rims.length - 1;
  const { inside, openShare } = mouth;
  for (let vertex = 0; vertex < inside.length; vertex++) {
    if (!inside[vertex]) continue;
    const x = points[vertex * 3];
    const y = points[vertex * 3 + 1];
    const z = points[vertex * 3 + 2];
    let next = 1;
    while (next < last && rims[next].x < x) next++;
    const from = rims[next - 1];
    const to = rims[next];
    const along = Math.min(Math.max((x - from.x) / Math.max(to.x - from.x, SMALLEST), 0), 1);
    const depth = Math.max(from.z + along * (to.z - from.z) - z - LIP_THICKNESS_M, LEAST_DEPTH_M);
    const below = from.upper + along * (to.upper - from.upper) - y;
    const above = y - from.lower - along * (to.lower - from.lower);
    const direct = 0.5 * (below / Math.sqrt(below * below + depth * depth) + above / Math.sqrt(above * above + depth * depth));
    const share = ((1 + REFLECTED_SHARE) * Math.min(Math.max(direct, 0), 1)) / openShare[vertex];
    const darkened = (occlusion?.[vertex] ?? 1) * Math.min(Math.max(share, CLOSED_MOUTH_SHARE), 1);
    const out = Math.min(Math.max((z - foremost - OUT_BEGIN_M) / (OUT_END_M - OUT_BEGIN_M), 0), 1);
    light[vertex] = darkened + out * (1 - darkened);
  }
}

/**
 * Rims of the lips, from the person's right to the left.
 * @param {Mouth} mouth
 * @param {Float32Array} points (V * 3)
 * @returns {{x: number, upper: number, lower: number, z: number, foremost: number}[]} metres: place across, heights of
 *   both rims, and how far in front they are, in the mean and at most
 */
function rimsOf({ lips, weights }, points) {
  const rims = [];
  for (let pair = 0; pair < lips.length / 6; pair++) {
    const ends = [0, 3].map((first) => {
      const point = [0, 0, 0];
      for (let corner = pair * 6 + first; corner < pair * 6 + first + 3; corner++)
        for (let axis = 0; axis < 3; axis++) point[axis] += weights[corner] * points[lips[corner] * 3 + axis];
      return point;
    });
    const [above, below] = ends;
    rims.push({
      x: (above[0] + below[0]) / 2, upper: above[1], lower: below[1], z: (above[2] + below[2]) / 2,
      foremost: Math.max(above[2], below[2]),
    });
  }
  return rims.sort((one, other) => one.x - other.x);
}
