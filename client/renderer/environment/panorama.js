/**
 * Light by picture: an equirectangular panorama as spherical harmonics and directional lights, as
 * `fitme/render/environment/panorama.py` has it. Free of browser APIs.
 *
 * A panorama's middle lies straight ahead of the camera, behind the head; its right is +x, its top +y.
 */

import { SH_NORMS } from "../reflection.js";

/** @typedef {import("../rotations.js").Vector} Vector */
/** @typedef {{width: number, height: number, data: Float32Array}} Panorama linear radiance (height * width * 3), top row first */

/**
 * Surroundings of a head: the panorama without its small bright sources, and those as directional lights.
 * @typedef {object} Environment
 * @property {Panorama} panorama `COLUMNS` x `ROWS`
 * @property {Vector[]} directions towards the sources, in the panorama's frame
 * @property {Vector[]} colors
 */

export const ROWS = 128;
export const COLUMNS = 256;
export const MEAN_RADIANCE = 0.5;
export const LUMINANCE = Object.freeze([0.2126, 0.7152, 0.0722]);
export const MAX_SOURCES = 2;
export const SOURCE_RADIUS_DEG = 18;
export const RING_RADIUS_DEG = 25;
export const MEAN_SHIFTS = 5;
export const LEAST_CONTRAST = 4;
export const LEAST_SHARE = 0.5;
export const LEAST_COMPACTNESS = 0.6;

/** Factors of the bands of a convolution with the clamped cosine, over pi. */
const BANDS = Object.freeze([1, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25]);
const SMALLEST_MEAN = 1e-9;

/**
 * Unit vectors (rows * columns * 3) of the texels of a panorama.
 * @param {number} rows
 * @param {number} columns
 */
export function panoramaDirections(rows, columns) {
  const out = new Float64Array(rows * columns * 3);
  for (let row = 0, at = 0; row < rows; row++) {
    const polar = (Math.PI * (row + 0.5)) / rows;
    for (let column = 0; column < columns; column++, at += 3) {
      const azimuth = 2 * Math.PI * ((column + 0.5) / columns - 0.5);
      out[at] = Math.sin(polar) * Math.sin(azimuth);
      out[at + 1] = Math.cos(polar);
      out[at + 2] = -Math.sin(polar) * Math.cos(azimuth);
    }
  }
  return out;
}

/**
 * Steradians (rows) of a texel of each row.
 * @param {number} rows
 * @param {number} columns
 */
export function texelSolidAngles(rows, columns) {
  return Float64Array.from({ length: rows }, (_, row) =>
    (Math.cos((Math.PI * row) / rows) - Math.cos((Math.PI * (row + 1)) / rows)) * ((2 * Math.PI) / columns));
}

/**
 * A panorama of another size, whose texels are means over the areas that they cover.
 * @param {Panorama} panorama
 * @param {number} width
 * @param {number} height
 * @returns {Panorama}
 */
export function resized(panorama, width, height) {
  const across = resizedAlong(panorama.data, panorama.height, panorama.width, width, 3);
  const data = resizedAlong(across, 1, panorama.height, height, width * 3);
  return { width, height, data: Float32Array.from(data) };
}

/**
 * Means along one axis of an array (outer, from, inner).
 * @param {ArrayLike<number>} data
 * @param {number} outer
 * @param {number} from
 * @param {number} to
 * @param {number} inner
 */
function resizedAlong(data, outer, from, to, inner) {
  const out = new Float64Array(outer * to * inner);
  const step = from / to;
  for (let index = 0; index < to; index++) {
    const begin = index * step;
    const end = Math.min((index + 1) * step, from);
    for (let source = Math.floor(begin); source < end; source++) {
      const weight = (Math.min(source + 1, end) - Math.max(source, begin)) / step;
      for (let block = 0; block < outer; block++) {
        const into = (block * to + index) * inner;
        const at = (block * from + source) * inner;
        for (let element = 0; element < inner; element++) out[into + element] += weight * data[at + element];
      }
    }
  }
  return out;
}

const directions = panoramaDirections(ROWS, COLUMNS);
const solidAngles = texelSolidAngles(ROWS, COLUMNS);

/**
 * Surroundings of a panorama of any size.
 * @param {Panorama} panorama
 * @param {boolean} [normalized] scale it to `MEAN_RADIANCE`, since most panoramas have arbitrary units
 * @returns {Environment}
 */
export function environmentOf(panorama, normalized = true) {
  let radiance = Float64Array.from(resized(panorama, COLUMNS, ROWS).data, (value) => Math.max(value, 0));
  if (normalized) {
    const scale = MEAN_RADIANCE / Math.max(meanLuminance(radiance), SMALLEST_MEAN);
    radiance = radiance.map((value) => value * scale);
  }
  /** @type {Environment} */
  const environment = { panorama: { width: COLUMNS, height: ROWS, data: new Float32Array(0) }, directions: [], colors: [] };
  for (let source = 0; source < MAX_SOURCES; source++) {
    const found = takeSource(radiance);
    if (!found) break;
    environment.directions.push(found.direction);
    environment.colors.push(found.color);
  }
  environment.panorama.data = Float32Array.from(radiance);
  return environment;
}

/**
 * Light of a head in the view frame.
 * @param {Environment} environment
 * @param {number} [turn] radians by which the surroundings turn about the vertical axis, counter-clockwise from above
 * @returns {import("../scene.js").Light}
 */
export function environmentLight(environment, turn = 0) {
  const sh = new Float64Array(27);
  const data = environment.panorama.data;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  for (let texel = 0; texel < ROWS * COLUMNS; texel++) {
    const at = texel * 3;
    const x = cos * directions[at] + sin * directions[at + 2];
    const y = directions[at + 1];
    const z = cos * directions[at + 2] - sin * directions[at];
    const solid = solidAngles[Math.floor(texel / COLUMNS)];
    const basis = [1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y];
    for (let k = 0; k < 9; k++)
      for (let channel = 0; channel < 3; channel++) sh[k * 3 + channel] += solid * basis[k] * data[at + channel];
  }
  const turned = (/** @type {Vector} */ [x, y, z]) => /** @type {Vector} */ ([cos * x + sin * z, y, cos * z - sin * x]);
  return {
    sh: Float32Array.from(sh, (value, index) => value * BANDS[Math.floor(index / 3)] * SH_NORMS[Math.floor(index / 3)]),
    directions: environment.directions.map(turned),
    colors: environment.colors,
  };
}

/** @param {ArrayLike<number>} radiance @param {number} at */
const luminanceAt = (radiance, at) =>
  LUMINANCE[0] * radiance[at] + LUMINANCE[1] * radiance[at + 1] + LUMINANCE[2] * radiance[at + 2];

/** @param {ArrayLike<number>} radiance (`ROWS` * `COLUMNS` * 3) */
function meanLuminance(radiance) {
  let sum = 0;
  for (let texel = 0; texel < ROWS * COLUMNS; texel++)
    sum += solidAngles[Math.floor(texel / COLUMNS)] * luminanceAt(radiance, texel * 3);
  return sum / (4 * Math.PI);
}

/** @param {Vector} middle @param {number} texel */
const cosineTo = (middle, texel) =>
  middle[0] * directions[texel * 3] + middle[1] * directions[texel * 3 + 1] + middle[2] * directions[texel * 3 + 2];

const cosineOf = (/** @type {number} */ degrees) => Math.cos((degrees * Math.PI) / 180);

/**
 * Take the brightest small source out of a panorama.
 * @param {Float64Array} radiance changed in place
 * @returns {{direction: Vector, color: Vector} | null} null if there is none
 */
function takeSource(radiance) {
  const mean = meanLuminance(radiance);
  let peak = 0;
  for (let texel = 1; texel < ROWS * COLUMNS; texel++)
    if (luminanceAt(radiance, texel * 3) > luminanceAt(radiance, peak * 3)) peak = texel;
  if (luminanceAt(radiance, peak * 3) < LEAST_CONTRAST * mean) return null;
  const radius = cosineOf(SOURCE_RADIUS_DEG);
  // The source's middle is that of the light round it: mean shift from the brightest texel.
  /** @type {Vector} */
  let middle = [directions[peak * 3], directions[peak * 3 + 1], directions[peak * 3 + 2]];
  for (let shift = 0; shift < MEAN_SHIFTS; shift++) {
    /** @type {Vector} */
    const sum = [0, 0, 0];
    for (let texel = 0; texel < ROWS * COLUMNS; texel++) {
      if (cosineTo(middle, texel) < radius) continue;
      const weight = solidAngles[Math.floor(texel / COLUMNS)] * luminanceAt(radiance, texel * 3);
      for (let axis = 0; axis < 3; axis++) sum[axis] += weight * directions[texel * 3 + axis];
    }
    const length = Math.hypot(...sum);
    middle = [sum[0] / length, sum[1] / length, sum[2] / length];
  }
  // What shines there beyond the mean of a ring round it.
  const ring = cosineOf(RING_RADIUS_DEG);
  const around = [0, 0, 0];
  let ringAngle = 0;
  for (let texel = 0; texel < ROWS * COLUMNS; texel++) {
    const cosine = cosineTo(middle, texel);
    if (cosine < ring || cosine >= radius) continue;
    const solid = solidAngles[Math.floor(texel / COLUMNS)];
    ringAngle += solid;
    for (let channel = 0; channel < 3; channel++) around[channel] += solid * radiance[texel * 3 + channel];
  }
  for (let channel = 0; channel < 3; channel++) around[channel] /= ringAngle;
  /** @type {Vector} */
  const color = [0, 0, 0];
  /** @type {Vector} */
  const vicinity = [0, 0, 0];
  const wide = cosineOf(2 * SOURCE_RADIUS_DEG);
  for (let texel = 0; texel < ROWS * COLUMNS; texel++) {
    const cosine = cosineTo(middle, texel);
    if (cosine < wide) continue;
    const solid = solidAngles[Math.floor(texel / COLUMNS)];
    for (let channel = 0; channel < 3; channel++) {
      const excess = (Math.max(radiance[texel * 3 + channel] - around[channel], 0) * solid) / Math.PI;
      vicinity[channel] += excess;
      if (cosine >= radius) color[channel] += excess;
    }
  }
  const level = luminanceAt(color, 0);
  if (level < LEAST_SHARE * mean || level < LEAST_COMPACTNESS * luminanceAt(vicinity, 0)) return null;
  for (let texel = 0; texel < ROWS * COLUMNS; texel++) {
    if (cosineTo(middle, texel) < radius) continue;
    for (let channel = 0; channel < 3; channel++)
      radiance[texel * 3 + channel] = Math.min(radiance[texel * 3 + channel], around[channel]);
  }
  return { direction: middle, color };
}
