/** Camera, pose and light of a scene's controls: `stream/engine/scene_setup.py`, for a page that draws by itself. */

import { SH_BAND_0, SH_BAND_1, SH_COUNT } from "./reflection.js";
import { multiplied, quaternionOfAxisAngle } from "./rotations.js";

/** @typedef {import("./rotations.js").Vector} Vector */
/** @typedef {import("./rotations.js").Quaternion} Quaternion */
/** @typedef {import("./projection.js").Camera} Camera */
/** @typedef {{rotation: Quaternion, translation: Vector}} Pose model to view frame, metres */

/**
 * Light in the view frame, linear: `fitme.render.light.Light`.
 * @typedef {object} Light
 * @property {Float32Array} sh (9 * 3) irradiance / pi
 * @property {Vector[]} directions unit, towards the lights
 * @property {Vector[]} colors
 */

/**
 * Controls of a session, as the `scene` event has them; colours are sRGB-encoded.
 * @typedef {object} Scene
 * @property {string} preset
 * @property {number} ambient
 * @property {Vector} direction
 * @property {Vector} color
 * @property {number} intensity
 * @property {number} [turn] of surroundings, radians
 * @property {number} yaw
 * @property {number} pitch
 * @property {number} distance
 * @property {string} mode "mirror" or "turntable"
 */

const FOCAL_PER_SIZE = 1.55;
const CENTER_HEIGHT = 0.45;
const FOLLOW = 0.6;
const TURNTABLE_PERIOD_S = 8;
const TURNTABLE_SWING_RAD = 1;
const SMALLEST_DEPTH_M = 1e-3;
const LINEAR_KNEE = 0.0031308;
const ENCODED_KNEE = 0.04045;

/**
 * Presets: mean level, relative gradient along x, y, z, and (direction, colour) of further lights.
 * @type {Readonly<Record<string, {level: Vector, gradient: Vector, lights: [Vector, Vector][]}>>}
 */
const PRESETS = Object.freeze({
  studio: { level: [0.55, 0.55, 0.55], gradient: [-0.1, 0.45, 0.4], lights: [[[-0.45, 0.55, 0.7], [0.55, 0.53, 0.5]]] },
  sky: { level: [0.62, 0.7, 0.82], gradient: [0, 0.6, 0.1], lights: [[[0.3, 0.9, 0.3], [0.35, 0.33, 0.28]]] },
  rim: {
    level: [0.12, 0.12, 0.14],
    gradient: [0, 0.2, 0.2],
    lights: [[[-0.93, 0.15, -0.33], [1.6, 0.75, 0.35]], [[0.93, 0.15, -0.33], [0.3, 0.65, 1.7]]],
  },
  dark: { level: [0.03, 0.03, 0.035], gradient: [0, 0, 0], lights: [] },
});

/**
 * Linear light of an sRGB-encoded value in [0, 1].
 * @param {number} encoded
 */
export function linearOf(encoded) {
  return encoded <= ENCODED_KNEE ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
}

/**
 * 8-bit sRGB code of linear light.
 * @param {number} linear
 */
export function encodedByte(linear) {
  const value = Math.min(Math.max(linear, 0), 1);
  return Math.round(255 * (value <= LINEAR_KNEE ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}

/** @param {ArrayLike<number>} encoded @returns {Vector} */
export function linearColor(encoded) {
  return [linearOf(encoded[0]), linearOf(encoded[1]), linearOf(encoded[2])];
}

/**
 * Camera of the renders, square.
 * @param {number} size pixels
 * @returns {Camera}
 */
export function virtualCamera(size) {
  return { focal: FOCAL_PER_SIZE * size, centerX: size / 2, centerY: CENTER_HEIGHT * size, width: size, height: size };
}

/**
 * Pose of the avatar before the virtual camera.
 * @param {Scene} scene
 * @param {Pose | null} tracked pose of the person's head; null while there is nobody
 * @param {number} time seconds, of the turntable's motion
 * @returns {Pose}
 */
export function headPose(scene, tracked, time) {
  /** @type {Quaternion} */
  let rotation = [0, 0, 0, 1];
  let offset = [0, 0];
  if (scene.mode === "turntable") {
    const phase = (2 * Math.PI * time) / TURNTABLE_PERIOD_S;
    rotation = quaternionOfAxisAngle([0, TURNTABLE_SWING_RAD * Math.sin(phase), 0]);
  } else if (tracked) {
    rotation = tracked.rotation;
    const scale = (FOLLOW * scene.distance) / Math.max(-tracked.translation[2], SMALLEST_DEPTH_M);
    offset = [scale * tracked.translation[0], scale * tracked.translation[1]];
  }
  // A camera that moves right or up sees a head that turns left or down.
  const orbit = multiplied(quaternionOfAxisAngle([scene.pitch, 0, 0]), quaternionOfAxisAngle([0, -scene.yaw, 0]));
  return { rotation: multiplied(orbit, rotation), translation: [offset[0], offset[1], -scene.distance] };
}

/**
 * @param {Scene} scene
 * @param {Float32Array | null} fittedSh (9 * 3) illumination estimated in the newest keyframe
 * @param {Light | null} [surroundings] in place of the preset
 * @returns {Light}
 */
export function sceneLight(scene, fittedSh, surroundings = null) {
  /** @type {Vector[]} */
  const directions = [];
  /** @type {Vector[]} */
  const colors = [];
  const scaled = (/** @type {Vector} */ color, /** @type {number} */ by) =>
    /** @type {Vector} */ (color.map((value) => by * value));
  if (scene.intensity > 0) {
    directions.push(scene.direction);
    colors.push(scaled(linearColor(scene.color), scene.intensity));
  }
  const sh = new Float32Array(SH_COUNT * 3);
  if (surroundings) {
    sh.set(surroundings.sh);
    directions.push(...surroundings.directions);
    colors.push(...surroundings.colors.map((color) => scaled(color, scene.ambient)));
  } else if (scene.preset === "camera" && fittedSh) {
    sh.set(fittedSh);
  } else {
    const { level, gradient, lights } = PRESETS[scene.preset] ?? PRESETS.studio;
    // Order 1 in the order y, z, x: shading level + gradient . n.
    for (let channel = 0; channel < 3; channel++) {
      sh[channel] = level[channel] / SH_BAND_0;
      [gradient[1], gradient[2], gradient[0]].forEach((slope, index) => {
        sh[(index + 1) * 3 + channel] = (slope * level[channel]) / SH_BAND_1;
      });
    }
    for (const [direction, color] of lights) {
      directions.push(direction);
      colors.push(scaled(color, scene.ambient));
    }
  }
  return { sh: sh.map((value) => scene.ambient * value), directions, colors };
}

