/**
 * Motion of the avatar: `stream/protocol/parameters.py`, seen from the page, and its playback at the screen's rate.
 *
 * Messages come some thirty times a second, unevenly, and some not at all. They are played by the time of the camera
 * frames, a little late, so that the next one is there to interpolate to; how late follows from how unevenly they come.
 * Runs under Node as well.
 */

import { PROTOCOL_VERSION, ProtocolError, magicOf } from "./messages.js";

export const PARAMETERS_HEADER_BYTES = 44;
export const PARAMETERS_MAGIC = "FITP";
export const WEIGHT_COUNT = 52;

const TRACKED = 1;
const QUATERNION_STEPS = 32767;
const POSITION_STEP_M = 1e-4;
const ANGLE_STEP_RAD = 1e-4;
const DELAY_STEP_MS = 0.1;

/** Frames that are kept to play. */
const KEPT_FRAMES = 32;
/** A clock that goes back or leaps by more has begun anew: another camera. */
const LEAP_MS = 2000;
/** Arrivals over which the unevenness is measured. */
const WINDOW = 60;
/** Share of the frames that are to be there in time. */
const IN_TIME = 0.9;
const LONGEST_DELAY_MS = 200;
/** Time over which the delay follows its aim: motion is neither held nor hurried visibly. */
const DELAY_SECONDS = 1;
/** Gaps of lost frames up to this are interpolated; over longer ones the last pose is kept until the next comes. */
const LONGEST_GAP_MS = 400;
/** Distance of a head that nobody moves. */
const REST_DISTANCE_M = 0.6;

/**
 * One message.
 * @typedef {object} Parameters
 * @property {number} sequence
 * @property {boolean} tracked there is a face
 * @property {number} captureMs media time of the camera frame
 * @property {number} receivedMs server time when it had been decoded
 * @property {number} delayMs from then until the message was made
 * @property {[number, number, number, number]} rotation unit quaternion x, y, z, w, model to view
 * @property {[number, number, number]} translation metres, view frame
 * @property {[number, number, number, number]} gaze radians: yaw and pitch of the left, then of the right eye
 * @property {Float32Array} weights (52) in [0, 1]
 */

/**
 * Read parameters.
 * @param {ArrayBuffer} message
 * @returns {Parameters}
 * @throws {ProtocolError} if these are no parameters of this version, or if they are truncated
 */
export function parseParameters(message) {
  if (message.byteLength < PARAMETERS_HEADER_BYTES) {
    throw new ProtocolError(`parameters have ${PARAMETERS_HEADER_BYTES} bytes and more, the message ${message.byteLength}`);
  }
  const view = new DataView(message);
  const version = view.getUint16(4, true);
  if (magicOf(message) !== PARAMETERS_MAGIC || version !== PROTOCOL_VERSION) {
    throw new ProtocolError(`not parameters of protocol ${PROTOCOL_VERSION}: "${magicOf(message)}" ${version}`);
  }
  const count = view.getUint8(7);
  if (message.byteLength !== PARAMETERS_HEADER_BYTES + count || count < WEIGHT_COUNT) {
    throw new ProtocolError(`inconsistent parameters: ${count} weights, ${message.byteLength} bytes`);
  }
  const int = (/** @type {number} */ offset, /** @type {number} */ step) => view.getInt16(offset, true) * step;
  const codes = new Uint8Array(message, PARAMETERS_HEADER_BYTES, WEIGHT_COUNT);
  return {
    tracked: (view.getUint8(6) & TRACKED) !== 0,
    sequence: view.getUint32(8, true),
    captureMs: view.getUint32(12, true),
    receivedMs: view.getUint32(16, true),
    delayMs: view.getUint16(20, true) * DELAY_STEP_MS,
    rotation: unit([0, 1, 2, 3].map((index) => int(22 + 2 * index, 1 / QUATERNION_STEPS))),
    translation: [int(30, POSITION_STEP_M), int(32, POSITION_STEP_M), int(34, POSITION_STEP_M)],
    gaze: [int(36, ANGLE_STEP_RAD), int(38, ANGLE_STEP_RAD), int(40, ANGLE_STEP_RAD), int(42, ANGLE_STEP_RAD)],
    weights: Float32Array.from(codes, (code) => code / 255),
  };
}

/**
 * One-euro filter of a vector (Casiez, Roussel and Vogel, CHI 2012): steady at rest, quick in motion.
 */
export class OneEuroFilter {
  /** @type {Float64Array | null} */
  #value = null;
  /** @type {Float64Array | null} */
  #speed = null;
  #time = 0;

  /**
   * @param {number} cutoffHz at rest
   * @param {number} gain of the cutoff with the speed: Hz for one unit a second
   * @param {number} speedCutoffHz of the speed itself
   */
  constructor(cutoffHz, gain, speedCutoffHz = 1) {
    this.cutoffHz = cutoffHz;
    this.gain = gain;
    this.speedCutoffHz = speedCutoffHz;
  }

  reset() {
    this.#value = null;
  }

  /**
   * @param {ArrayLike<number>} values
   * @param {number} timeMs growing
   * @returns {Float64Array} smoothed
   */
  filter(values, timeMs) {
    const seconds = (timeMs - this.#time) / 1000;
    this.#time = timeMs;
    if (!this.#value || !this.#speed || this.#value.length !== values.length || !(seconds > 0)) {
      if (!this.#value || this.#value.length !== values.length) {
        this.#value = Float64Array.from(values);
        this.#speed = new Float64Array(values.length);
      }
      return this.#value;
    }
    let squared = 0;
    const speedShare = share(this.speedCutoffHz, seconds);
    for (let index = 0; index < values.length; index++) {
      this.#speed[index] += speedShare * ((values[index] - this.#value[index]) / seconds - this.#speed[index]);
      squared += this.#speed[index] ** 2;
    }
    const valueShare = share(this.cutoffHz + this.gain * Math.sqrt(squared), seconds);
    for (let index = 0; index < values.length; index++) this.#value[index] += valueShare * (values[index] - this.#value[index]);
    return this.#value;
  }
}

/**
 * Share of a step that a low-pass filter takes.
 * @param {number} cutoffHz
 * @param {number} seconds
 */
function share(cutoffHz, seconds) {
  const rate = 2 * Math.PI * cutoffHz * seconds;
  return rate / (1 + rate);
}

/**
 * Pose and expression to draw.
 * @typedef {object} Motion
 * @property {boolean} tracked there is a face
 * @property {[number, number, number, number]} rotation
 * @property {[number, number, number]} translation
 * @property {Float32Array} weights (52)
 */

/** Plays parameters at the rate of the screen. */
export class ParameterTrack {
  /** @type {Parameters | null} the newest */
  newest = null;
  /** @type {Parameters[]} in order of their capture times */
  #frames = [];
  /** @type {number[]} arrival times less capture times */
  #transits = [];
  #delay = 0;
  #sampled = -Infinity;
  #rotation = new OneEuroFilter(6, 6);
  #translation = new OneEuroFilter(5, 40);
  #weights = new OneEuroFilter(8, 4);

  reset() {
    this.newest = null;
    this.#frames = [];
    this.#transits = [];
    this.#delay = 0;
    this.#sampled = -Infinity;
    for (const filter of [this.#rotation, this.#translation, this.#weights]) filter.reset();
  }

  /** Time that frames wait until they are drawn, milliseconds. */
  get delayMs() {
    return this.#delay;
  }

  /**
   * Take in parameters; those that have come already, by another way, are dropped.
   * @param {Parameters} parameters
   * @param {number} nowMs
   */
  push(parameters, nowMs) {
    const leap = this.newest ? parameters.captureMs - this.newest.captureMs : 0;
    if (Math.abs(leap) > LEAP_MS) this.reset();
    if (this.#frames.some((frame) => frame.sequence === parameters.sequence)) return;
    this.#frames.push(parameters);
    this.#frames.sort((one, other) => one.captureMs - other.captureMs);
    if (this.#frames.length > KEPT_FRAMES) this.#frames.shift();
    this.newest = this.#frames[this.#frames.length - 1];
    this.#transits.push(nowMs - parameters.captureMs);
    if (this.#transits.length > WINDOW) this.#transits.shift();
  }

  /**
   * Motion at a time; null before the first message.
   * @param {number} nowMs growing
   * @returns {Motion | null}
   */
  sample(nowMs) {
    if (!this.newest) return null;
    const sorted = [...this.#transits].sort((one, other) => one - other);
    const least = sorted[0];
    const uneven = sorted[Math.floor(IN_TIME * (sorted.length - 1))] - least;
    const aim = Math.min(uneven + this.#period(), LONGEST_DELAY_MS);
    const seconds = Number.isFinite(this.#sampled) ? (nowMs - this.#sampled) / 1000 : DELAY_SECONDS;
    this.#sampled = nowMs;
    this.#delay += Math.min(seconds / DELAY_SECONDS, 1) * (aim - this.#delay);
    const motion = this.#at(nowMs - least - this.#delay);
    return {
      tracked: motion.tracked,
      rotation: unit(this.#rotation.filter(motion.rotation, nowMs)),
      translation: /** @type {[number, number, number]} */ ([...this.#translation.filter(motion.translation, nowMs)]),
      weights: Float32Array.from(this.#weights.filter(motion.weights, nowMs)),
    };
  }

  /** Usual time between two frames. */
  #period() {
    const steps = this.#frames.slice(1).map((frame, index) => frame.captureMs - this.#frames[index].captureMs);
    steps.sort((one, other) => one - other);
    return steps.length ? steps[steps.length >> 1] : 0;
  }

  /** @param {number} captureMs @returns {Motion} */
  #at(captureMs) {
    const after = this.#frames.findIndex((frame) => frame.captureMs > captureMs);
    if (after === 0) return resting(this.#frames[0]);
    const before = this.#frames[(after < 0 ? this.#frames.length : after) - 1];
    if (after < 0) return resting(before);
    const next = this.#frames[after];
    const gap = next.captureMs - before.captureMs;
    // Over a long gap the pose is kept, and turns to the next in the time of a short one.
    const begin = Math.max(before.captureMs, next.captureMs - LONGEST_GAP_MS);
    return blended(resting(before), resting(next), gap > 0 ? Math.max(0, captureMs - begin) / (next.captureMs - begin) : 1);
  }
}

/** @param {Parameters} parameters @returns {Motion} */
function resting({ tracked, rotation, translation, weights }) {
  if (tracked) return { tracked, rotation, translation, weights };
  return { tracked, rotation: [0, 0, 0, 1], translation: [0, 0, -REST_DISTANCE_M], weights: new Float32Array(WEIGHT_COUNT) };
}

/**
 * @param {Motion} from
 * @param {Motion} to
 * @param {number} part of the way, [0, 1]
 * @returns {Motion}
 */
function blended(from, to, part) {
  const mix = (/** @type {number} */ a, /** @type {number} */ b) => a + part * (b - a);
  const dot = from.rotation.reduce((sum, value, index) => sum + value * to.rotation[index], 0);
  const sign = dot < 0 ? -1 : 1;
  return {
    tracked: part < 0.5 ? from.tracked : to.tracked,
    rotation: unit(from.rotation.map((value, index) => mix(value, sign * to.rotation[index]))),
    translation: /** @type {[number, number, number]} */ (from.translation.map((value, index) => mix(value, to.translation[index]))),
    weights: from.weights.map((value, index) => mix(value, to.weights[index])),
  };
}

/** @param {ArrayLike<number>} quaternion @returns {[number, number, number, number]} of length 1 */
function unit(quaternion) {
  // Of the two quaternions of a rotation the one whose angle is below half a turn, so that filters see no jumps.
  const length = (Math.hypot(quaternion[0], quaternion[1], quaternion[2], quaternion[3]) || 1) * (quaternion[3] < 0 ? -1 : 1);
  return [quaternion[0] / length, quaternion[1] / length, quaternion[2] / length, quaternion[3] / length];
}
