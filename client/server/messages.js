/**
 * Messages between page and server over the websocket: `stream/protocol/protocol.py`, version 3, seen from the page.
 * No browser APIs beyond DataView, so that it runs under Node as well.
 */

export const PROTOCOL_VERSION = 3;

/** Bytes before the encoded render. */
export const RENDER_HEADER_BYTES = 80;

/** Landmarks travel as integers: this many steps over the frame's width (x) and height (y). */
export const LANDMARK_SCALE = 10_000;

/** Stages of an avatar in their order, as the render header counts them. */
export const STAGES = Object.freeze(["waiting", "landmarks", "skin", "inversion", "tuning"]);

export const CLOSE_TOO_LARGE = 1009;
export const CLOSE_FULL = 1013;
export const CLOSE_BAD_ADDRESS = 4400;
export const CLOSE_FORBIDDEN = 4403;
export const CLOSE_UNKNOWN_SESSION = 4404;
export const CLOSE_OTHER_VERSION = 4406;
export const CLOSE_ENDED = 4410;
export const CLOSE_REVOKED = 4411;

/** First four letters of a render. */
export const RENDER_MAGIC = "FITM";
/** @type {Readonly<Record<number, string>>} */
const MEDIA_TYPES = Object.freeze({ 1: "image/jpeg", 2: "image/webp" });

/**
 * One render of the avatar.
 * @typedef {object} Render
 * @property {number} sequence grows by at least 1; gaps are renders that were skipped
 * @property {string} mediaType of `payload`
 * @property {number} stage index into `STAGES`
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} captureTime media time of the camera frame, seconds
 * @property {number} receivedTime server time when that frame had been decoded, seconds
 * @property {number} renderedTime server time, seconds
 * @property {number} sentTime server time, seconds
 * @property {{yaw: number, pitch: number, roll: number, position: [number, number, number]}} pose radians, metres
 * @property {number} rounds rounds of fitting behind the avatar
 * @property {Uint8Array<ArrayBuffer>} payload the encoded render, a view of the message
 */

/**
 * A face in the newest camera frame.
 * @typedef {object} TrackingEvent
 * @property {"tracking"} type
 * @property {"ok" | "no_face" | "several_faces" | "other_person"} status
 * @property {string | null} prompt
 * @property {number} frame_width
 * @property {number} frame_height
 * @property {number[] | null} landmarks x0, y0, x1, y1, … in 1 / `LANDMARK_SCALE` of the frame
 * @property {[number, number, number, number, number, number] | null} pose yaw, pitch, roll; x, y, z
 * @property {number | null} sharpness
 * @property {number | null} exposure
 * @property {number | null} face_size_px
 * @property {number | null} occlusion
 */

/** @typedef {{yaw: number, pitch: number, seen: boolean, wanted: boolean}} Direction one cell of the dial, radians */
/** @typedef {{type: "coverage", directions: Direction[], fraction: number, keyframes: number, prompt: string | null}} CoverageEvent */
/** @typedef {{type: "progress", stage: string, progress: number, avatar: boolean, converged: boolean}} ProgressEvent */
/** @typedef {{type: "round", index: number, stage: string, seconds: number, keyframes: number, losses: Record<string, number>}} RoundEvent */
/** @typedef {{type: "peer", peer: number, state: "connecting" | "connected" | "silent" | "replaced" | "closed"}} PeerEvent */
/** @typedef {{type: "camera", peer: number, max_pixels: number, reason: string}} CameraEvent the page should send smaller frames */
/** @typedef {{type: "hello", protocol: number, session: string, resumed: boolean, stages: string[], render_width: number, render_height: number, avatar: string, model: string}} HelloEvent */
/**
 * The controls as the server has them.
 * @typedef {object} SceneEvent
 * @property {"scene"} type
 * @property {string} preset
 * @property {number} ambient
 * @property {[number, number, number]} direction
 * @property {[number, number, number]} color
 * @property {number} intensity
 * @property {number} yaw
 * @property {number} pitch
 * @property {number} distance
 * @property {"mirror" | "turntable"} mode
 * @property {[number, number, number]} background
 */
/**
 * @typedef {HelloEvent | TrackingEvent | CoverageEvent | ProgressEvent | RoundEvent | SceneEvent | PeerEvent | CameraEvent
 *   | {type: "kept", kept: boolean} | {type: "stored", stored: boolean} | {type: "viewers", count: number} | {type: "voice", on: boolean} | {type: "ended", reason: string} | {type: "error", code: string, message: string}
 * } ServerEvent
 */

/** A message does not follow the protocol. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/**
 * The four letters with which a binary message begins: they tell renders, pieces and parameters apart.
 * @param {ArrayBuffer} message
 */
export function magicOf(message) {
  return String.fromCharCode(...new Uint8Array(message, 0, Math.min(4, message.byteLength)));
}

/**
 * Read a render.
 * @param {ArrayBuffer} message
 * @returns {Render}
 * @throws {ProtocolError} if it is not a render of this version, or truncated
 */
export function parseRender(message) {
  if (message.byteLength < RENDER_HEADER_BYTES) {
    throw new ProtocolError(`a render's header has ${RENDER_HEADER_BYTES} bytes, the message ${message.byteLength}`);
  }
  const view = new DataView(message);
  const magic = magicOf(message);
  const version = view.getUint16(4, true);
  if (magic !== RENDER_MAGIC || version !== PROTOCOL_VERSION) {
    throw new ProtocolError(`not a render of protocol ${PROTOCOL_VERSION}: "${magic}" ${version}`);
  }
  const mediaType = MEDIA_TYPES[view.getUint8(6)];
  const stage = view.getUint8(7);
  const size = view.getUint32(76, true);
  if (!mediaType || stage >= STAGES.length || message.byteLength - RENDER_HEADER_BYTES !== size) {
    throw new ProtocolError(`inconsistent header: codec ${view.getUint8(6)}, stage ${stage}, ${size} bytes`);
  }
  const float = (/** @type {number} */ offset) => view.getFloat32(offset, true);
  const double = (/** @type {number} */ offset) => view.getFloat64(offset, true);
  return {
    sequence: view.getUint32(8, true),
    mediaType,
    stage,
    width: view.getUint16(12, true),
    height: view.getUint16(14, true),
    captureTime: double(16),
    receivedTime: double(24),
    renderedTime: double(32),
    sentTime: double(40),
    pose: { yaw: float(48), pitch: float(52), roll: float(56), position: [float(60), float(64), float(68)] },
    rounds: view.getUint32(72, true),
    payload: new Uint8Array(message, RENDER_HEADER_BYTES),
  };
}

/**
 * Read a text message. Events of a kind that this page does not know are returned as they are.
 * @param {string} text
 * @returns {ServerEvent}
 * @throws {ProtocolError} if it is not a JSON object with a type
 */
export function parseEvent(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new ProtocolError(`not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof content !== "object" || content === null || typeof content.type !== "string") {
    throw new ProtocolError("an event is a JSON object with a type");
  }
  if (content.type === "hello" && content.protocol !== PROTOCOL_VERSION) {
    throw new ProtocolError(`the server speaks protocol ${content.protocol}, this page ${PROTOCOL_VERSION}`);
  }
  return content;
}

/**
 * Messages to the server, merged until they can be sent: dragging makes hundreds of them a second, of which only the
 * newest value of each field matters.
 */
export class ControlQueue {
  /** @type {Map<string, Record<string, unknown>>} */
  #waiting = new Map();
  #timer = 0;
  #lastSent = -Infinity;

  /**
   * @param {(message: Record<string, unknown>) => void} send
   * @param {number} intervalMs least time between two sendings
   */
  constructor(send, intervalMs = 33) {
    this.send = send;
    this.intervalMs = intervalMs;
  }

  /**
   * Send soon, merged with what waits under the same type.
   * @param {string} type
   * @param {Record<string, unknown>} fields
   */
  push(type, fields) {
    this.#waiting.set(type, { ...this.#waiting.get(type), ...fields });
    if (this.#timer) return;
    const wait = Math.max(0, this.#lastSent + this.intervalMs - performance.now());
    this.#timer = Number(setTimeout(() => this.#flush(), wait));
  }

  #flush() {
    this.#timer = 0;
    this.#lastSent = performance.now();
    const messages = [...this.#waiting].map(([type, fields]) => ({ type, ...fields }));
    this.#waiting.clear();
    for (const message of messages) this.send(message);
  }
}
