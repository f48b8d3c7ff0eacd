/**
 * Directions of light and view, and their places on a disc. Pure geometry, in view space: +X to the viewer's right, +Y
 * up, +Z towards the viewer.
 *
 * A disc shows (almost) the whole sphere of directions: its centre is the viewer, and the distance from the centre is the
 * angle to the viewer (azimuthal equidistant projection), up to `DISC_ANGLE` on its rim. Disc coordinates have y up.
 */

/** @typedef {[number, number, number]} Vector */
/** @typedef {[number, number]} Point */

/** Angle between the viewer and the directions on the disc's rim, radians. */
export const DISC_ANGLE = (135 * Math.PI) / 180;

const EPSILON = 1e-9;

/**
 * Unit vector at a place of the disc; places outside are taken to the rim.
 * @param {Point} point
 * @returns {Vector}
 */
export function directionAt([x, y]) {
  const radius = Math.hypot(x, y);
  if (radius < EPSILON) return [0, 0, 1];
  const angle = Math.min(radius, 1) * DISC_ANGLE;
  const side = Math.sin(angle) / radius;
  return [x * side, y * side, Math.cos(angle)];
}

/**
 * Place on the disc of a direction of any length; the inverse of `directionAt` inside the rim.
 * @param {Vector} direction
 * @returns {Point}
 */
export function placeOf([x, y, z]) {
  const side = Math.hypot(x, y);
  const angle = Math.atan2(side, z);
  if (side < EPSILON) return z >= 0 ? [0, 0] : [0, 1];
  const radius = Math.min(angle / DISC_ANGLE, 1);
  return [(x / side) * radius, (y / side) * radius];
}

/**
 * The disc point moved by a step, kept inside the disc.
 * @param {Point} point
 * @param {number} dx
 * @param {number} dy
 * @returns {Point}
 */
export function moved([x, y], dx, dy) {
  const radius = Math.max(1, Math.hypot(x + dx, y + dy));
  return [(x + dx) / radius, (y + dy) / radius];
}

/**
 * Azimuth of a direction in whole degrees: 0 is the viewer, positive the viewer's right, ±180 behind the head.
 * @param {Vector} direction
 */
export function azimuthDegrees([x, , z]) {
  return Math.round((Math.atan2(x, z) * 180) / Math.PI);
}

/**
 * A direction in words, e.g. "from the upper left, behind".
 * @param {Vector} direction as the viewer sees it
 */
export function describe([x, y, z]) {
  const length = Math.hypot(x, y, z) || 1;
  const vertical = y / length > 0.38 ? "above" : y / length < -0.38 ? "below" : "";
  const sideways = x / length > 0.3 ? "the right" : x / length < -0.3 ? "the left" : "";
  const depth = z / length < -0.2 ? ", behind" : "";
  if (vertical && sideways) return `from ${vertical} and ${sideways}${depth}`;
  if (vertical || sideways) return `from ${vertical || sideways}${depth}`;
  return depth ? "from behind" : "from the front";
}

/**
 * An angle brought into [-π, π).
 * @param {number} angle radians
 */
export function wrapped(angle) {
  const turn = 2 * Math.PI;
  return angle - turn * Math.floor((angle + Math.PI) / turn);
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/**
 * "#rrggbb" of sRGB-encoded channels in [0, 1], and back.
 * @param {readonly number[]} color
 */
export function hexOf(color) {
  return "#" + color.map((c) => Math.round(clamp(c, 0, 1) * 255).toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} hex "#rrggbb"
 * @returns {Vector} sRGB-encoded channels in [0, 1]
 */
export function channelsOf(hex) {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}
