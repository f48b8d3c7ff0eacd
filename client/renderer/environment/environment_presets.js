/**
 * Surroundings made by the program: the table of `fitme/render/environment/presets.py`. Free of browser APIs.
 */

import { COLUMNS, ROWS, environmentOf, panoramaDirections } from "./panorama.js";

/** @typedef {[number, number, number]} Color radiance, linear */
/** @typedef {[number, number, number, number, number, Color]} Emitter azimuth, elevation, half width, half height, softness, all in degrees */
/** @typedef {{floor: Color, horizon: Color, zenith: Color, emitters: Emitter[]}} Preset */

export const FLOOR_DEG = -60;
export const ZENITH_DEG = 70;
const DEGREES = 180 / Math.PI;

/** @type {Readonly<Record<string, Preset>>} */
export const PRESETS = Object.freeze({
  // A softbox to the left, a broad weak one to the right, a strip light behind the head.
  studio: {
    floor: [0.1, 0.1, 0.1], horizon: [0.2, 0.2, 0.205], zenith: [0.3, 0.3, 0.31],
    emitters: [
      [-42, 34, 9, 9, 5, [18, 17.4, 16.6]],
      [65, 10, 12, 25, 20, [0.55, 0.58, 0.66]],
      [155, 30, 6, 26, 8, [2.6, 2.7, 3]],
    ],
  },
  // A room with one window to the right, and its light on the opposite wall.
  window: {
    floor: [0.08, 0.07, 0.06], horizon: [0.15, 0.135, 0.12], zenith: [0.2, 0.185, 0.17],
    emitters: [
      [58, 14, 11, 15, 3, [9, 10.2, 12.2]],
      [58, 14, 1, 15, 1, [-6, -6.8, -8.2]],
      [-95, -4, 10, 5, 50, [0.3, 0.27, 0.23]],
    ],
  },
  // A covered sky, brighter above, over pale ground.
  overcast: {
    floor: [0.2, 0.2, 0.185], horizon: [0.62, 0.65, 0.7], zenith: [1, 1.05, 1.12],
    emitters: [
      [-25, 50, 0, 0, 80, [0.45, 0.46, 0.46]],
    ],
  },
  // The low sun to the left, a warm glow round it, blue above.
  sunset: {
    floor: [0.07, 0.055, 0.05], horizon: [0.36, 0.27, 0.25], zenith: [0.12, 0.18, 0.34],
    emitters: [
      [-58, 11, 2, 2, 2.5, [330, 190, 84]],
      [-58, 5, 10, 0, 45, [1.7, 0.85, 0.32]],
    ],
  },
  // Dark, with a magenta and a cyan lamp from the sides and a warm one behind.
  club: {
    floor: [0.015, 0.01, 0.025], horizon: [0.04, 0.028, 0.06], zenith: [0.03, 0.022, 0.055],
    emitters: [
      [-58, 26, 4, 4, 4, [80, 8, 66]],
      [66, 14, 4, 4, 4, [4.2, 48, 74]],
      [-58, 26, 0, 0, 50, [0.35, 0.05, 0.3]],
      [66, 14, 0, 0, 50, [0.03, 0.25, 0.38]],
      [170, 40, 10, 6, 14, [3, 1.5, 0.5]],
    ],
  },
});

/** @param {string} name of `PRESETS` */
export function presetEnvironment(name) {
  return environmentOf(presetPanorama(PRESETS[name]), false);
}

/**
 * @param {Preset} preset
 * @returns {import("./panorama.js").Panorama}
 */
export function presetPanorama(preset) {
  const directions = panoramaDirections(ROWS, COLUMNS);
  const data = new Float32Array(directions.length);
  for (let at = 0; at < data.length; at += 3) {
    const [x, y, z] = [directions[at], directions[at + 1], directions[at + 2]];
    const elevation = DEGREES * Math.asin(y);
    const azimuth = DEGREES * Math.atan2(x, z);
    const upward = rise(elevation / ZENITH_DEG);
    const downward = rise(elevation / FLOOR_DEG);
    const insides = preset.emitters.map((emitter) => inside(emitter, azimuth, elevation, Math.sqrt(Math.max(1 - y * y, 0))));
    for (let channel = 0; channel < 3; channel++) {
      const { floor, horizon, zenith, emitters } = preset;
      let radiance = horizon[channel] + upward * (zenith[channel] - horizon[channel]);
      radiance += downward * (floor[channel] - horizon[channel]);
      emitters.forEach((emitter, index) => { radiance += insides[index] * emitter[5][channel]; });
      data[at + channel] = Math.max(radiance, 0);
    }
  }
  return { width: COLUMNS, height: ROWS, data };
}

/**
 * @param {Emitter} emitter
 * @param {number} azimuth
 * @param {number} elevation
 * @param {number} shorter length of a degree of azimuth at that height
 */
function inside([middle, height, halfWidth, halfHeight, softness], azimuth, elevation, shorter) {
  const turned = (((azimuth - middle + 180) % 360) + 360) % 360;
  const across = Math.abs(turned - 180) * shorter;
  return edge(across, halfWidth, softness) * edge(Math.abs(elevation - height), halfHeight, softness);
}

/** @param {number} share */
function rise(share) {
  const t = Math.min(Math.max(share, 0), 1);
  return t * t * (3 - 2 * t);
}

/** @param {number} distance @param {number} half @param {number} softness */
function edge(distance, half, softness) {
  return rise(1 - (distance - half) / softness);
}
