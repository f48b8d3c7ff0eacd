/** Canvas with the newest render of the avatar, and the gestures that turn the view and move the light. */

import { clamp, wrapped } from "../controls/directions.js";

/** @typedef {import("../server/messages.js").Render} Render */
/** @typedef {{yaw: number, pitch: number, distance: number}} View an orbit round the head: radians, metres */
/** @typedef {"light" | "view"} DragTarget */

export const HOME_VIEW = Object.freeze({ yaw: 0, pitch: 0, distance: 0.6 });

const RADIANS_PER_PIXEL = 0.007;
const MAX_PITCH = 1.2;
const MIN_DISTANCE = 0.3;
const MAX_DISTANCE = 1.6;
/** Factor of the distance for one notch of a mouse wheel (100 units). */
const ZOOM_PER_NOTCH = 1.1;
const KEY_STEP_PIXELS = 16;
/** Renders a second are counted over this time. */
const RATE_WINDOW_MS = 2000;

/** @type {Record<string, [number, number]>} pixels to the right and down */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The view after dragging by some pixels: the head follows the pointer.
 * @param {View} view
 * @param {number} dx pixels to the right on the head as the camera sees it (negate on a flipped canvas)
 * @param {number} dy pixels down
 * @returns {View}
 */
export function orbited(view, dx, dy) {
  return {
    ...view,
    yaw: wrapped(view.yaw - dx * RADIANS_PER_PIXEL),
    pitch: clamp(view.pitch + dy * RADIANS_PER_PIXEL, -MAX_PITCH, MAX_PITCH),
  };
}

/**
 * @param {View} view
 * @param {number} factor of the distance
 * @returns {View}
 */
export function zoomed(view, factor) {
  return { ...view, distance: clamp(view.distance * factor, MIN_DISTANCE, MAX_DISTANCE) };
}

/** Draws renders as they come: the newest wins, and each is acknowledged once it is on the canvas. */
export class Viewer {
  /** @type {Render | null} the render on the canvas */
  shown = null;
  decodeMs = 0;
  #newest = -1;
  /** @type {number[]} */
  #times = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(render: Render) => void} onDrawn
   */
  constructor(canvas, onDrawn) {
    this.canvas = canvas;
    this.onDrawn = onDrawn;
    // Not `desynchronized`: on Windows, such canvases flicker or stay black under elements that lie above them.
    this.context = canvas.getContext("2d", { alpha: false });
  }

  /**
   * Decode off the main thread, draw if nothing newer has come, acknowledge in any case.
   * @param {Render} render
   * @param {(sequence: number) => void} acknowledge
   */
  async show(render, acknowledge) {
    this.#newest = render.sequence;
    const start = performance.now();
    try {
      const bitmap = await createImageBitmap(new Blob([render.payload], { type: render.mediaType }));
      this.decodeMs = performance.now() - start;
      if (render.sequence === this.#newest) this.#draw(bitmap, render);
      bitmap.close();
    } catch (error) {
      console.warn("a render could not be decoded", error);
    }
    acknowledge(render.sequence);
  }

  /**
   * @param {ImageBitmap} bitmap
   * @param {Render} render
   */
  #draw(bitmap, render) {
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.context?.drawImage(bitmap, 0, 0);
    this.shown = render;
    const now = performance.now();
    this.#times.push(now);
    while (this.#times[0] < now - RATE_WINDOW_MS) this.#times.shift();
    this.onDrawn(render);
  }

  /** Renders a second over the last two seconds. */
  get rate() {
    if (this.#times.length < 2) return 0;
    return ((this.#times.length - 1) * 1000) / (this.#times[this.#times.length - 1] - this.#times[0]);
  }

  /** Drop the last session's renders. */
  reset() {
    this.shown = null;
    this.#newest = -1;
    this.#times = [];
  }
}

/**
 * What gestures on the stage do. Distances are CSS pixels as the person sees them.
 * @typedef {object} GestureTarget
 * @property {() => DragTarget} target what a plain drag moves
 * @property {(dx: number, dy: number) => void} moveLight
 * @property {(dx: number, dy: number) => void} turn
 * @property {(factor: number) => void} zoom
 */

/**
 * Dragging with one pointer moves the light or the view; Shift or the right button swaps them; two fingers turn and zoom;
 * the wheel zooms; arrow keys, plus and minus do the same from the keyboard.
 * @param {HTMLElement} element
 * @param {GestureTarget} gestures
 */
export function listenToGestures(element, gestures) {
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  let swapped = false;

  const move = (/** @type {number} */ dx, /** @type {number} */ dy, /** @type {boolean} */ other) => {
    const light = (gestures.target() === "light") !== other;
    if (light) gestures.moveLight(dx, dy);
    else gestures.turn(dx, dy);
  };

  const release = (/** @type {PointerEvent} */ event) => pointers.delete(event.pointerId);
  element.addEventListener("pointerdown", (event) => {
    swapped = event.shiftKey || event.button === 2;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", release);
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    pointers.set(event.pointerId, now);
    if (others.length === 0) return move(now.x - before.x, now.y - before.y, swapped);
    const [other] = others;
    gestures.turn((now.x - before.x) / 2, (now.y - before.y) / 2);
    const spread = Math.hypot(now.x - other.x, now.y - other.y);
    if (spread > 1) gestures.zoom(Math.hypot(before.x - other.x, before.y - other.y) / spread);
  });
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    gestures.zoom(ZOOM_PER_NOTCH ** (event.deltaY / 100));
  }, { passive: false });
  element.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) move(arrow[0] * KEY_STEP_PIXELS, arrow[1] * KEY_STEP_PIXELS, event.shiftKey);
    else if (event.key === "+" || event.key === "=") gestures.zoom(1 / ZOOM_PER_NOTCH);
    else if (event.key === "-") gestures.zoom(ZOOM_PER_NOTCH);
    else return;
    event.preventDefault();
  });
}
