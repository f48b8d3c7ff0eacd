/**
 * The avatar as this page draws it: pieces and parameters from the server, view and light from the controls, at once and
 * at the rate of the screen.
 */

import { AvatarStream } from "./avatar_stream.js";
import { ParameterTrack, parseParameters } from "../server/parameters.js";
import { AvatarRenderer, WebGL2Missing } from "../renderer/renderer.js";
import { headPose, virtualCamera } from "../renderer/scene.js";
import { SurroundingsLight } from "../renderer/environment/surroundings.js";
import { fetchPiece } from "../server/signalling.js";

/** @typedef {import("../server/messages.js").SceneEvent} SceneEvent */

/** Side of the image, pixels: no larger, whatever the screen. */
const LARGEST_SIZE = 1536;
const SMALLEST_SIZE = 384;
/** Mean time between two images from which a smaller one is drawn. */
const SLOW_MS = 45;
const SHRINK = 0.75;
/** No image takes that long: the page was hidden. */
const PAUSED_MS = 3000;
/** Longest pause after an image that took longer than that, milliseconds: others need the processor, too. */
const LONGEST_REST_MS = 400;
/** Time of drawing over which that is measured. */
const PACE_MS = 1500;
const RATE_WINDOW_MS = 2000;
/** A lost context that comes back this soon is not worth a word. */
const LOST_MS = 1500;
const NEUTRAL = new Float32Array(52);

/**
 * @typedef {object} AvatarListener
 * @property {(stage: string) => void} onDrawn an image has been drawn, of an avatar of this stage
 * @property {(drawn: boolean) => void} onAbility whether the page can draw, when that has changed
 * @property {(error: unknown) => void} onError a piece could not be read or loaded
 */

export class AvatarView {
  #scene = /** @type {SceneEvent | null} */ (null);
  /** @type {Float32Array | null} illumination estimated in the newest keyframe */
  #fittedSh = null;
  #relit = true;
  /** Nothing is drawn behind the avatar. */
  transparent = false;
  surroundings = new SurroundingsLight(() => { this.#relit = true; });
  #track = new ParameterTrack();
  /** @type {number[]} */
  #times = [];
  /** Of images that followed each other without a pause. */
  #pace = { images: 0, ms: 0 };
  /** When the last image was drawn, if that was in the last turn of the loop. */
  #previous = 0;
  /** Until when nothing is drawn, milliseconds. */
  #restUntil = 0;
  #scale = 1;
  #request = 0;
  #lostTimer = 0;
  #able = true;

  /**
   * A view on a canvas, or null if this browser cannot draw it.
   * @param {HTMLCanvasElement} canvas
   * @param {AvatarListener} listener
   */
  static create(canvas, listener) {
    try {
      return new AvatarView(canvas, new AvatarRenderer(canvas), listener);
    } catch (error) {
      if (error instanceof WebGL2Missing) return null;
      throw error;
    }
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {AvatarRenderer} renderer
   * @param {AvatarListener} listener
   */
  constructor(canvas, renderer, listener) {
    this.canvas = canvas;
    this.renderer = renderer;
    this.listener = listener;
    this.stream = new AvatarStream(renderer, fetchPiece, (state) => this.#changed(state), listener.onError);
    renderer.onLost = () => {
      this.#lostTimer ||= Number(setTimeout(() => this.#setAble(false), LOST_MS));
    };
    renderer.onRestored = () => this.#setAble(true);
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /** Whether the page can draw now. */
  get able() {
    return this.#able;
  }

  /** Images a second over the last two seconds. */
  get rate() {
    if (this.#times.length < 2) return 0;
    return ((this.#times.length - 1) * 1000) / (this.#times[this.#times.length - 1] - this.#times[0]);
  }

  /** Time from a camera frame at the server to its image here, without the network's, milliseconds. */
  get delayMs() {
    return (this.#track.newest?.delayMs ?? 0) + this.#track.delayMs;
  }

  /** Forget the last session, and draw nothing. */
  reset() {
    cancelAnimationFrame(this.#request);
    this.#request = 0;
    this.stream.reset();
    this.#track.reset();
    this.#scene = this.#fittedSh = null;
    this.#times = [];
  }

  /** @param {{avatar: string, model: string}} hello of a websocket */
  begin(hello) {
    this.stream.begin(hello);
    this.#track.reset();
    this.#request ||= requestAnimationFrame((now) => this.#draw(now));
  }

  /** @param {ArrayBuffer} message a packed piece */
  pushPiece(message) {
    this.stream.push(message);
  }

  /**
   * @param {ArrayBuffer} message packed parameters
   * @returns {import("../server/parameters.js").Parameters}
   */
  pushParameters(message) {
    const parameters = parseParameters(message);
    this.#track.push(parameters, performance.now());
    return parameters;
  }

  /** @param {SceneEvent} scene the controls as the server has them */
  setScene(scene) {
    this.#scene = scene;
    this.#relit = true;
  }

  /**
   * Apply the person's change of a control at once; the server is sent the same.
   * @param {string} type
   * @param {Record<string, any>} fields
   */
  change(type, fields) {
    if (!this.#scene) return;
    const changed = type === "background" ? { background: fields.color } : fields;
    if (type === "light" || type === "camera" || type === "mode" || type === "background") {
      this.setScene({ ...this.#scene, ...changed });
    }
  }

  /** @param {Record<string, any>} state */
  #changed(state) {
    this.#fittedSh = state.light ? Float32Array.from(state.light) : null;
    this.#relit = true;
  }

  /** Draw no more: pieces could not be read. */
  giveUp() {
    this.#setAble(false);
  }

  /** @param {boolean} able */
  #setAble(able) {
    clearTimeout(this.#lostTimer);
    this.#lostTimer = 0;
    if (able === this.#able) return;
    this.#able = able;
    this.listener.onAbility(able);
  }

  #resize() {
    const side = this.canvas.clientWidth * devicePixelRatio * this.#scale;
    const size = Math.round(Math.min(Math.max(side, SMALLEST_SIZE), LARGEST_SIZE));
    if (this.canvas.width !== size) this.canvas.width = this.canvas.height = size;
    this.renderer.setCamera(virtualCamera(size));
  }

  /** The canvas with a fresh image, which can be read until the caller returns to the event loop. */
  image() {
    this.#relit = true; // a draw without a change would draw nothing
    this.#drawNow(performance.now());
    return this.canvas;
  }

  /** @param {number} now milliseconds */
  #draw(now) {
    this.#request = requestAnimationFrame((next) => this.#draw(next));
    const took = this.#previous ? now - this.#previous : 0;
    this.#previous = 0;
    if (took && took < PAUSED_MS) this.#keepPace(took);
    if (took > SLOW_MS) this.#restUntil = now + Math.min(took, LONGEST_REST_MS);
    if (now >= this.#restUntil) this.#drawNow(now);
  }

  /** @param {number} now milliseconds */
  #drawNow(now) {
    const [scene, state] = [this.#scene, this.stream.state];
    if (!scene || !state || !this.#able) return;
    const motion = this.#track.sample(now);
    this.renderer.setExpression(motion && scene.mode === "mirror" ? motion.weights : NEUTRAL);
    this.renderer.setPose(headPose(scene, motion, now / 1000));
    if (this.#relit) {
      this.#relit = false;
      this.surroundings.apply(this.renderer, scene, this.#fittedSh);
      if (this.transparent) this.renderer.setBackground(null);
    }
    if (!this.renderer.draw()) return;
    this.#previous = now;
    this.#times.push(now);
    while (this.#times.length > 2 && this.#times[0] < now - RATE_WINDOW_MS) this.#times.shift();
    this.listener.onDrawn(state.stage);
  }

  /**
   * Draw fewer pixels on a machine that is too slow for so many.
   * @param {number} ms that an image took, until the browser asked for the next one
   */
  #keepPace(ms) {
    const pace = this.#pace;
    pace.images += 1;
    pace.ms += ms;
    if (pace.ms < PACE_MS) return;
    const slow = pace.ms / pace.images > SLOW_MS;
    Object.assign(pace, { images: 0, ms: 0 });
    if (!slow || this.canvas.width <= SMALLEST_SIZE) return;
    this.#scale *= SHRINK;
    this.#resize();
  }
}
