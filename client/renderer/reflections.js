/**
 * Specular light of a panorama by the split sum (Karis 2013): `fitme/render/environment/reflections.py`. Free of browser
 * APIs.
 */

import { COLUMNS, ROWS, panoramaDirections, resized, texelSolidAngles } from "./environment/panorama.js";

export const LEVELS = 6;
export const TABLE_SIZE = 32;
export const TABLE_SAMPLES = 256;
export const LOBE_CUT = 1e-3;

const GOLDEN = 0.6180339887498949;
const SMALLEST_WEIGHT = 1e-12;

/**
 * Blurred panoramas (rows * columns * 3), each half as large as the one before; level k is blurred for the roughness
 * k / (`LEVELS` - 1).
 * @param {import("./environment/panorama.js").Panorama} panorama `COLUMNS` x `ROWS`
 * @returns {Float32Array[]}
 */
export function reflectionsOf(panorama) {
  const rows = ROWS / 2;
  const columns = COLUMNS / 2;
  const source = resized(panorama, columns, rows).data;
  const directions = panoramaDirections(rows, columns);
  const weights = texelSolidAngles(rows, columns);
  const levels = [panorama.data];
  for (let level = 1; level < LEVELS; level++) {
    const towards = panoramaDirections(ROWS >> level, COLUMNS >> level);
    levels.push(blurred(towards, directions, weights, columns, source, (level / (LEVELS - 1)) ** 2));
  }
  return levels;
}

/**
 * Mean radiance round unit vectors, weighted by GGX's distribution and the cosine.
 * @param {Float64Array} towards (N * 3)
 * @param {Float64Array} directions (M * 3)
 * @param {Float64Array} weights of the rows of the M texels
 * @param {number} columns
 * @param {Float32Array} radiance (M * 3)
 * @param {number} alpha
 */
function blurred(towards, directions, weights, columns, radiance, alpha) {
  const out = new Float32Array(towards.length);
  const squared = alpha * alpha;
  // The distribution over its peak is fall² at half the angle; beyond `lowest` it is cut.
  const lowest = squared < 1 ? Math.max((2 * (1 - squared / Math.sqrt(LOBE_CUT))) / (1 - squared) - 1, 0) : 0;
  for (let at = 0; at < towards.length; at += 3) {
    const [x, y, z] = [towards[at], towards[at + 1], towards[at + 2]];
    let total = 0;
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let row = 0; row < weights.length; row++) {
      const begin = row * columns * 3;
      // The nearest that a direction of this row comes is at the same azimuth.
      const level = directions[begin + 1];
      if (y * level + Math.sqrt(Math.max((1 - y * y) * (1 - level * level), 0)) <= lowest) continue;
      for (let from = begin; from < begin + columns * 3; from += 3) {
        const cosine = x * directions[from] + y * directions[from + 1] + z * directions[from + 2];
        if (cosine <= lowest) continue;
        const fall = squared / (1 + 0.5 * (cosine + 1) * (squared - 1));
        const weight = fall * fall * cosine * weights[row];
        total += weight;
        red += weight * radiance[from];
        green += weight * radiance[from + 1];
        blue += weight * radiance[from + 2];
      }
    }
    const scale = 1 / Math.max(total, SMALLEST_WEIGHT);
    out[at] = red * scale;
    out[at + 1] = green * scale;
    out[at + 2] = blue * scale;
  }
  return out;
}

/**
 * Table (`TABLE_SIZE` * `TABLE_SIZE` * 2) of factor and offset of the reflectance at normal incidence: rows by roughness,
 * columns by the cosine between normal and viewer.
 */
export function splitSumTable() {
  const out = new Float32Array(TABLE_SIZE * TABLE_SIZE * 2);
  for (let row = 0, at = 0; row < TABLE_SIZE; row++) {
    const alpha = ((row + 0.5) / TABLE_SIZE) ** 2;
    const k = alpha / 2;
    for (let column = 0; column < TABLE_SIZE; column++, at += 2) {
      const facing = (column + 0.5) / TABLE_SIZE;
      const aside = Math.sqrt(1 - facing * facing);
      for (let sample = 0; sample < TABLE_SAMPLES; sample++) {
        const first = (sample + 0.5) / TABLE_SAMPLES;
        const cosHalf = Math.sqrt((1 - first) / (1 + (alpha * alpha - 1) * first));
        const sinHalf = Math.sqrt(Math.max(1 - cosHalf * cosHalf, 0));
        const viewHalf = aside * sinHalf * Math.cos(2 * Math.PI * ((sample * GOLDEN) % 1)) + facing * cosHalf;
        const cosLight = 2 * viewHalf * cosHalf - facing;
        if (cosLight <= 0) continue;
        // Smith's shadowing with Schlick's approximation.
        const shadowing = (facing / (facing * (1 - k) + k)) * (cosLight / (cosLight * (1 - k) + k));
        const visible = (shadowing * viewHalf) / (cosHalf * facing * TABLE_SAMPLES);
        const fresnel = (1 - Math.min(Math.max(viewHalf, 0), 1)) ** 5;
        out[at] += (1 - fresnel) * visible;
        out[at + 1] += fresnel * visible;
      }
    }
  }
  return out;
}
