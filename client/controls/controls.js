/** Controls of the scene: light, background, mode. They show the server's scene, and send it the person's changes. */

import { channelsOf, clamp, hexOf } from "./directions.js";
import { find } from "../page/dom.js";
import { LightDirection, makeLightBall, makeLightHandle } from "./light.js";
import { HOME_VIEW, listenToGestures, orbited, zoomed } from "../avatar/viewer.js";

/** @typedef {import("../server/messages.js").SceneEvent} SceneEvent */
/** @typedef {(type: string, fields: Record<string, unknown>) => void} Send */
/** @typedef {{name: string, color: string}} Swatch */

/** @type {readonly Swatch[]} */
const LIGHT_COLORS = [
  { name: "Daylight", color: "#ffffff" },
  { name: "Lamp", color: "#ffd6a5" },
  { name: "Sunset", color: "#ff9a62" },
  { name: "Sky", color: "#a9ccff" },
  { name: "Rose", color: "#ff8fbf" },
];
/** @type {readonly Swatch[]} */
const BACKGROUNDS = [
  { name: "Night", color: "#10131b" },
  { name: "Grey", color: "#5b6170" },
  { name: "Paper", color: "#e9e7e2" },
  { name: "Dusk", color: "#3a2b46" },
  { name: "Pine", color: "#1e3b34" },
];
/** Scenes from the server are ignored for this long after a change by the person: they are older. */
const OWN_CHANGE_MS = 600;
/** As the person sees it: from above and the right, over a soft fill. */
const FIRST_LIGHT = Object.freeze({ direction: [0.8, 0.5, 0.33], intensity: 0.9, ambient: 0.6 });
/** Distance of the light from the middle of its disc during a clip. */
const SHOW_RADIUS = 0.45;
/** Keeps an angle of half a turn inside the range that the server takes, whatever its rounding. */
const HALF_TURN = Math.PI - 1e-6;

/**
 * A row of colours to choose from, the last of which is any.
 * @param {HTMLElement} place
 * @param {readonly Swatch[]} swatches
 * @param {string} custom name of the free choice
 * @param {(color: string) => void} onChosen
 * @returns {(color: string) => void} shows a colour as chosen
 */
function makeSwatches(place, swatches, custom, onChosen) {
  const picker = document.createElement("input");
  Object.assign(picker, { type: "color", title: custom });
  picker.setAttribute("aria-label", custom);
  const free = document.createElement("label");
  free.className = "swatch custom";
  free.append(picker);
  const inputs = swatches.map(({ name, color }) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: place.id, value: color, title: name });
    input.setAttribute("aria-label", name);
    const label = document.createElement("label");
    label.className = "swatch";
    label.style.setProperty("--swatch", color);
    label.append(input);
    place.append(label);
    input.addEventListener("change", () => {
      show(color);
      onChosen(color);
    });
    return input;
  });
  place.append(free);
  const show = (/** @type {string} */ color) => {
    for (const input of inputs) input.checked = input.value === color;
    free.classList.toggle("chosen", !inputs.some((input) => input.checked));
    picker.value = color;
  };
  picker.addEventListener("input", () => {
    show(picker.value);
    onChosen(picker.value);
  });
  return show;
}

/** All controls of the scene. */
export class SceneControls {
  /** @type {import("../avatar/viewer.js").View} */
  view = { ...HOME_VIEW };
  color = LIGHT_COLORS[0].color;
  flipped = false;
  #ownChange = -Infinity;
  #showing = false;
  #sliders = { ambient: this.#slider("ambient"), intensity: this.#slider("intensity") };
  #preset;

  /** @param {Send} send */
  constructor(send) {
    this.send = (/** @type {string} */ type, /** @type {Record<string, unknown>} */ fields) => {
      this.#ownChange = performance.now();
      send(type, fields);
    };
    const stage = find("#stage");
    this.light = new LightDirection((direction) => this.send("light", { direction, ...this.#switchedOn() }));
    const ball = /** @type {HTMLCanvasElement} */ (find("#light-ball"));
    this.drawBall = makeLightBall(ball, this.light, () => this.color);
    const moveLight = makeLightHandle(find("#light-handle"), stage, this.light);
    listenToGestures(find("#avatar"), {
      target: () => (this.#checked("drag") === "view" ? "view" : "light"),
      moveLight,
      turn: (dx, dy) => this.#setView(orbited(this.view, this.flipped ? -dx : dx, dy)),
      zoom: (factor) => this.#setView(zoomed(this.view, factor)),
    });
    find("#reset-view").addEventListener("click", () => this.#setView({ ...HOME_VIEW }));
    this.#preset = /** @type {HTMLSelectElement} */ (find("#light-preset"));
    this.#preset.addEventListener("change", () => this.send("light", { preset: this.#preset.value }));
    this.showColor = makeSwatches(find("#light-colors"), LIGHT_COLORS, "Any colour of light", (color) => {
      this.#setColor(color);
      this.send("light", { color: channelsOf(color) });
    });
    this.showBackground = makeSwatches(find("#backgrounds"), BACKGROUNDS, "Any background", (color) => {
      stage.style.backgroundColor = color;
      this.send("background", { color: channelsOf(color) });
    });
    for (const input of document.querySelectorAll('input[name="mode"]')) {
      input.addEventListener("change", () => this.send("mode", { mode: this.#checked("mode") }));
    }
  }

  /**
   * Show the avatar as in a mirror, or not.
   * @param {boolean} flipped
   */
  flip(flipped) {
    this.flipped = flipped;
    find("#stage").classList.toggle("flipped", flipped);
    this.light.flip(flipped);
  }

  /** Give a new session a directional light, so that the effect of light is visible at once. */
  begin() {
    const direction = FIRST_LIGHT.direction.map((value, axis) => (axis === 0 && this.flipped ? -value : value));
    this.send("light", { ...FIRST_LIGHT, direction });
    this.#ownChange = -Infinity;
  }

  /** Intensity for a light that is dragged while it is off: dragging switches it on. */
  #switchedOn() {
    const { intensity } = this.#sliders;
    if (intensity.valueAsNumber > 0) return {};
    intensity.value = String(FIRST_LIGHT.intensity);
    this.#label(intensity);
    return { intensity: FIRST_LIGHT.intensity };
  }

  /**
   * Begin a show for a clip: the avatar turns by itself, and `showAt` moves the light round it.
   * @returns {() => void} puts everything back
   */
  beginShow() {
    const mode = this.#checked("mode");
    const place = /** @type {import("./directions.js").Point} */ ([...this.light.place]);
    this.#showing = true;
    this.send("mode", { mode: "turntable" });
    return () => {
      this.#showing = false;
      this.send("mode", { mode });
      this.light.moveTo(place);
    };
  }

  /** @param {number} share of the show, 0 to 1: the light goes round once */
  showAt(share) {
    const angle = 2 * Math.PI * share;
    this.light.moveTo([SHOW_RADIUS * Math.cos(angle), SHOW_RADIUS * Math.sin(angle)]);
  }

  /**
   * @param {SceneEvent} scene what the server has
   * @returns {boolean} whether it is newer than the person's own changes
   */
  update(scene) {
    if (this.#showing || performance.now() - this.#ownChange < OWN_CHANGE_MS) return false;
    this.view = { yaw: scene.yaw, pitch: scene.pitch, distance: scene.distance };
    this.light.update(scene.direction);
    this.#sliders.ambient.value = String(scene.ambient);
    this.#sliders.intensity.value = String(scene.intensity);
    for (const slider of Object.values(this.#sliders)) this.#label(slider);
    this.#preset.value = scene.preset;
    this.#setColor(hexOf(scene.color));
    this.showColor(this.color);
    this.showBackground(hexOf(scene.background));
    find("#stage").style.backgroundColor = hexOf(scene.background);
    const mode = document.querySelector(`input[name="mode"][value="${scene.mode}"]`);
    if (mode instanceof HTMLInputElement) mode.checked = true;
    return true;
  }

  /** @param {string} color "#rrggbb" */
  #setColor(color) {
    this.color = color;
    find("#light-handle").style.setProperty("--key-color", color);
    this.drawBall();
  }

  /** @param {import("../avatar/viewer.js").View} view */
  #setView(view) {
    this.view = view;
    this.send("camera", { ...view, yaw: clamp(view.yaw, -HALF_TURN, HALF_TURN) });
  }

  /** @param {"ambient" | "intensity"} field */
  #slider(field) {
    const slider = /** @type {HTMLInputElement} */ (find(`#light-${field}`));
    slider.addEventListener("input", () => {
      this.#label(slider);
      this.send("light", { [field]: slider.valueAsNumber });
    });
    return slider;
  }

  /** @param {HTMLInputElement} slider */
  #label(slider) {
    const output = slider.parentElement?.querySelector("output");
    if (output) output.textContent = slider.valueAsNumber.toFixed(2);
    find("#light-handle").classList.toggle("off", this.#sliders.intensity.valueAsNumber === 0);
  }

  /** @param {string} name of a group of radio buttons */
  #checked(name) {
    const input = document.querySelector(`input[name="${name}"]:checked`);
    return input instanceof HTMLInputElement ? input.value : "";
  }
}
