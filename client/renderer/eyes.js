/**
 * Lids over the eyes: the light that they let through to each point of a ball, and where they press on it, as
 * `fitme/parts/eye_surroundings.py`. Free of browser APIs.
 */

/**
 * One eye among the vertices of a part, and its lids.
 * @typedef {object} Eye
 * @property {"left" | "right"} side
 * @property {Uint16Array | Uint32Array} vertices
 * @property {Uint32Array} ball vertices of the model's eyeball, whose mean is its centre
 * @property {Uint32Array} upper (P * 3) corners of the triangles on which points of the upper lid's edge lie
 * @property {Float32Array} upperWeights (P * 3) barycentric coordinates there
 * @property {Uint32Array} lower (P * 3)
 * @property {Float32Array} lowerWeights (P * 3)
 */

export const UPPER_SHADE_RAD = 0.28;
export const LOWER_SHADE_RAD = 0.2;
export const UPPER_SHADE = 0.4;
export const LOWER_SHADE = 0.75;
export const COVERED_LIGHT = 0.15;
export const PRESSED = 0.07;
export const PRESSED_RAD = Object.freeze([0.09, 0.16]);
export const EDGE_RAD = 0.06;
export const NARROW_RAD = 0.3;
export const OPEN_LIGHT = 0.9;

/** @param {number} x */
function ramp(x) {
  const t = Math.min(Math.max(x, 0), 1);
  return t * t * (3 - 2 * t);
}

/**
 * Press an eye's vertices under its lids.
 * @param {Eye} eye
 * @param {Float32Array} points (V * 3) posed vertices, changed in place
 * @param {Float32Array} light (V) receives the share of light that arrives
 */
export function applyLids(eye, points, light) {
  const center = [0, 0, 0];
  for (const vertex of eye.ball) for (let axis = 0; axis < 3; axis++) center[axis] += points[vertex * 3 + axis] / eye.ball.length;
  const upper = curveOf(points, eye.upper, eye.upperWeights, center);
  const lower = curveOf(points, eye.lower, eye.lowerWeights, center);
  const [begin, end] = PRESSED_RAD;
  for (const vertex of eye.vertices) {
    const at = vertex * 3;
    const x = points[at] - center[0];
    const y = points[at + 1] - center[1];
    const z = points[at + 2] - center[2];
    const azimuth = Math.atan2(x, z);
    const elevation = Math.atan2(y, Math.hypot(x, z));
    const above = heightAt(upper, azimuth) - elevation;
    const below = elevation - heightAt(lower, azimuth);
    const shade = (UPPER_SHADE + (1 - UPPER_SHADE) * ramp(above / UPPER_SHADE_RAD))
      * (LOWER_SHADE + (1 - LOWER_SHADE) * ramp(below / LOWER_SHADE_RAD));
    const edge = Math.min(above, below);
    const reached = ramp(1 + Math.min(edge, 0) / EDGE_RAD) * ramp((above + below) / NARROW_RAD);
    light[vertex] = OPEN_LIGHT * (COVERED_LIGHT + (shade - COVERED_LIGHT) * reached);
    if (z <= 0) continue;
    const scale = 1 - PRESSED * ramp((-edge - begin) / (end - begin));
    points[at] = center[0] + scale * x;
    points[at + 1] = center[1] + scale * y;
    points[at + 2] = center[2] + scale * z;
  }
}

/**
 * Elevations over azimuths of a lid's edge, azimuths rising.
 * @param {Float32Array} points
 * @param {Uint32Array} corners
 * @param {Float32Array} weights
 * @param {number[]} center
 * @returns {[number, number][]}
 */
function curveOf(points, corners, weights, center) {
  /** @type {[number, number][]} */
  const curve = [];
  for (let first = 0; first < corners.length; first += 3) {
    const offset = center.map((value, axis) =>
      [0, 1, 2].reduce((sum, corner) => sum + weights[first + corner] * points[corners[first + corner] * 3 + axis], -value));
    curve.push([Math.atan2(offset[0], offset[2]), Math.atan2(offset[1], Math.hypot(offset[0], offset[2]))]);
  }
  return curve.sort((a, b) => a[0] - b[0]);
}

/**
 * Linear interpolation, constant beyond the ends.
 * @param {[number, number][]} curve
 * @param {number} azimuth
 */
function heightAt(curve, azimuth) {
  if (azimuth <= curve[0][0]) return curve[0][1];
  for (let index = 1; index < curve.length; index++) {
    const [end, height] = curve[index];
    if (azimuth > end) continue;
    const [begin, before] = curve[index - 1];
    return before + ((height - before) * (azimuth - begin)) / (end - begin);
  }
  return curve[curve.length - 1][1];
}
