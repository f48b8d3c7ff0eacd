/** The light's direction, moved by dragging a ball, a handle on the stage, or the stage itself; all three agree. */

import { DISC_ANGLE, azimuthDegrees, channelsOf, clamp, describe, directionAt, moved, placeOf } from "./directions.js";

/** @typedef {import("./directions.js").Vector} Vector */
/** @typedef {import("./directions.js").Point} Point */

const KEY_STEP = 0.06;
/** Radius of the handle's disc, as a share of the stage's shorter side. */
const HANDLE_REACH = 0.47;
const BALL_AMBIENT = 0.1;
const KNOB_RADIUS = 0.1;

/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Where the light comes from, as the person sees it: on a flipped canvas, the mirror image of what the server receives.
 */
export class LightDirection {
  /** @type {Point} */
  place = [0.42, 0.3];
  flipped = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /** @param {(direction: Vector) => void} onMoved the person moved it; the direction is for the server */
  constructor(onMoved) {
    this.onMoved = onMoved;
  }

  /** @param {() => void} listener called after every change */
  watch(listener) {
    this.#listeners.add(listener);
    listener();
  }

  /** Direction as the person sees it. */
  get seen() {
    return directionAt(this.place);
  }

  /** @param {boolean} flipped */
  flip(flipped) {
    if (flipped !== this.flipped) this.place = [-this.place[0], this.place[1]];
    this.flipped = flipped;
    this.#changed();
  }

  /** @param {Point} place on the disc, moved there by the person */
  moveTo(place) {
    this.place = moved(place, 0, 0);
    const [x, y, z] = this.seen;
    this.onMoved([this.flipped ? -x : x, y, z]);
    this.#changed();
  }

  /**
   * @param {number} dx disc radii to the right
   * @param {number} dy disc radii up
   */
  moveBy(dx, dy) {
    this.moveTo(moved(this.place, dx, dy));
  }

  /** @param {Vector} direction what the server has */
  update([x, y, z]) {
    this.place = placeOf([this.flipped ? -x : x, y, z]);
    this.#changed();
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Set the light's direction as the value of a slider.
 * @param {HTMLElement} element
 * @param {LightDirection} light
 */
function announce(element, light) {
  element.setAttribute("aria-valuenow", String(azimuthDegrees(light.seen)));
  element.setAttribute("aria-valuetext", describe(light.seen));
}

/**
 * @param {HTMLElement} element
 * @param {LightDirection} light
 */
function listenToArrows(element, light) {
  element.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    event.stopPropagation();
    light.moveBy(arrow[0] * KEY_STEP, arrow[1] * KEY_STEP);
  });
}

/**
 * A ball that shows the light on it and is dragged.
 * @param {HTMLCanvasElement} canvas square
 * @param {LightDirection} light
 * @param {() => string} color of the light, "#rrggbb"
 * @returns {() => void} draws it anew
 */
export function makeLightBall(canvas, light, color) {
  const grab = (/** @type {PointerEvent} */ event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const box = canvas.getBoundingClientRect();
    light.moveTo([((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grab(event);
  });
  canvas.addEventListener("pointermove", grab);
  listenToArrows(canvas, light);
  const draw = () => {
    drawBall(canvas, light, channelsOf(color()));
    announce(canvas, light);
  };
  light.watch(draw);
  return draw;
}

/**
 * A white Lambertian sphere under the light, with a knob at the light's place.
 * @param {HTMLCanvasElement} canvas
 * @param {LightDirection} light
 * @param {Vector} color sRGB-encoded
 */
function drawBall(canvas, light, color) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const size = canvas.width;
  const radius = size / 2 - 1;
  const image = context.createImageData(size, size);
  const [lx, ly, lz] = light.seen;
  for (let row = 0; row < size; row++) {
    const y = (size / 2 - row - 0.5) / radius;
    for (let column = 0; column < size; column++) {
      const x = (column + 0.5 - size / 2) / radius;
      const squared = x * x + y * y;
      if (squared > 1.03) continue;
      const z = Math.sqrt(Math.max(0, 1 - squared));
      const shade = Math.sqrt(BALL_AMBIENT ** 2 + Math.max(0, x * lx + y * ly + z * lz) * 0.8);
      const at = (row * size + column) * 4;
      for (let channel = 0; channel < 3; channel++) image.data[at + channel] = 255 * Math.min(1, shade * color[channel]) + 14;
      image.data[at + 3] = 255 * clamp((1 - Math.sqrt(squared)) * radius + 0.5, 0, 1);
    }
  }
  context.putImageData(image, 0, 0);
  const reach = radius * (1 - KNOB_RADIUS);
  context.beginPath();
  context.arc(size / 2 + light.place[0] * reach, size / 2 - light.place[1] * reach, size * KNOB_RADIUS * 0.6, 0, 2 * Math.PI);
  context.fillStyle = `rgb(${color.map((c) => Math.round(c * 255)).join(" ")})`;
  context.strokeStyle = "#12151e";
  context.lineWidth = size / 50;
  context.fill();
  context.stroke();
}

/**
 * A glowing handle round the head on the stage.
 * @param {HTMLElement} handle
 * @param {HTMLElement} stage
 * @param {LightDirection} light
 * @returns {(dx: number, dy: number) => void} moves the light by pixels on the stage
 */
export function makeLightHandle(handle, stage, light) {
  const reach = () => HANDLE_REACH * Math.min(stage.clientWidth, stage.clientHeight);
  const moveBy = (/** @type {number} */ dx, /** @type {number} */ dy) => light.moveBy(dx / reach(), -dy / reach());
  const draw = () => {
    const [x, y] = light.place;
    const left = stage.clientWidth / 2 + x * reach();
    const top = stage.clientHeight / 2 - y * reach();
    handle.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    handle.classList.toggle("behind", Math.hypot(x, y) * DISC_ANGLE > Math.PI / 2);
    announce(handle, light);
  };
  let last = { x: 0, y: 0 };
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    last = { x: event.clientX, y: event.clientY };
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    moveBy(event.clientX - last.x, event.clientY - last.y);
    last = { x: event.clientX, y: event.clientY };
  });
  listenToArrows(handle, light);
  light.watch(draw);
  new ResizeObserver(draw).observe(stage);
  return moveBy;
}
