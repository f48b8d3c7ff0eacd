/** Surroundings on the page: presets among the lights, a turn, and a panorama that is chosen or dropped on the stage. */

import { find, toast } from "../page/dom.js";
import { PRESETS } from "../renderer/environment/environment_presets.js";
import { PANORAMA_PREFIX, SurroundingsError, panoramaOf } from "../renderer/environment/surroundings.js";

/** @typedef {import("../renderer/environment/surroundings.js").SurroundingsLight} SurroundingsLight */

/** @type {Record<string, string>} */
const NAMES = { studio: "Photo studio", window: "Window", overcast: "Overcast", sunset: "Sunset", club: "Club" };
/** Lights of the scene beside surroundings: the key light is off, the soft light is theirs. */
const BESIDE = Object.freeze({ intensity: 0, ambient: 1 });
const ACCEPTED = ".hdr,image/*";
/** Value of the choice that asks for a file. */
const OPEN = "open";
const DEGREES = 180 / Math.PI;

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} properties
 * @param {...Node} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Adds its controls to the card of the light. */
export class EnvironmentPicker {
  #select = /** @type {HTMLSelectElement} */ (find("#light-preset"));
  #turn = make("input", { type: "range", id: "surroundings-turn", min: "-180", max: "180", step: "1", value: "0" });
  #output = make("output", { textContent: "0°" });
  #behind = make("input", { type: "checkbox", id: "surroundings-behind", checked: true });
  #file = make("input", { type: "file", id: "panorama-file", accept: ACCEPTED, hidden: true });
  #forget = make("button", { type: "button", id: "forget-panorama", className: "button small", hidden: true });
  #row;
  /** The preset before a file was asked for. */
  #preset = this.#select.value;
  /** @type {{intensity: string, ambient: string} | null} the sliders before surroundings were chosen */
  #before = null;

  /**
   * @param {SurroundingsLight | null} surroundings of the page's own drawing; null: the server draws
   * @param {(type: string, fields: Record<string, unknown>) => void} send
   */
  constructor(surroundings, send) {
    this.surroundings = surroundings;
    const group = make("optgroup", { label: "Surroundings" });
    for (const name of Object.keys(PRESETS)) group.append(new Option(NAMES[name] ?? name, PANORAMA_PREFIX + name));
    if (surroundings) group.append(new Option("Open a panorama…", OPEN));
    this.#select.append(group);
    const turn = make("label", { className: "slider" }, make("span", { textContent: "Turn" }), this.#turn, this.#output);
    const behind = make("label", { className: "toggle", title: "Show the surroundings behind the head", hidden: !surroundings },
      this.#behind, make("span", { textContent: "Behind the head" }));
    this.#row = make("div", { id: "surroundings", hidden: true }, turn, make("div", { className: "row" }, behind, this.#forget));
    find("#light-ambient").closest("label")?.after(this.#row, this.#file);

    // Before the controls of the scene see it: a file is no preset.
    this.#select.parentElement?.addEventListener("change", (event) => this.#choose(event), { capture: true });
    this.#turn.addEventListener("input", () => {
      this.#output.textContent = `${this.#turn.value}°`;
      send("light", { turn: this.#turn.valueAsNumber / DEGREES });
    });
    this.#behind.addEventListener("change", () => surroundings?.show(this.#behind.checked));
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = ""; // the same file may be chosen again
      if (file) this.open(file);
    });
    this.#forget.addEventListener("click", () => this.forget());
    if (surroundings) this.#listenToDrops(find("#stage"));
  }

  /** @param {{preset: string, turn?: number}} scene what the server has */
  update(scene) {
    if (document.activeElement !== this.#turn) {
      this.#turn.value = String(Math.round((scene.turn ?? 0) * DEGREES));
      this.#output.textContent = `${this.#turn.value}°`;
    }
    this.#preset = scene.preset;
    this.#arrange(scene.preset);
  }

  /** @param {File} file */
  async open(file) {
    toast(`Reading ${file.name}…`);
    try {
      await this.surroundings?.open(file);
      toast(`${file.name} lights the head, on this page.`);
      this.#forget.textContent = `Remove ${file.name}`;
      this.#dim(true);
    } catch (error) {
      if (!(error instanceof SurroundingsError)) throw error;
      toast(`${error.title}. ${error.message}`);
    }
    this.#arrange(this.#select.value);
  }

  forget() {
    this.surroundings?.forget();
    this.#dim(panoramaOf(this.#select.value) !== null);
    this.#arrange(this.#select.value);
  }

  /** @param {Event} event */
  #choose(event) {
    if (event.target !== this.#select) return;
    if (this.#select.value === OPEN) {
      event.stopPropagation();
      this.#select.value = this.#preset;
      this.#file.click();
      return;
    }
    this.#preset = this.#select.value;
    if (this.surroundings?.isOwn) this.surroundings.forget();
    this.#dim(panoramaOf(this.#preset) !== null);
    this.#arrange(this.#preset);
  }

  /** @param {string} preset */
  #arrange(preset) {
    const isOwn = this.surroundings?.isOwn === true;
    this.#row.hidden = panoramaOf(preset) === null && !isOwn;
    this.#forget.hidden = !isOwn;
  }

  /**
   * Switch the key light off for surroundings, and as it was before without them.
   * @param {boolean} surrounded
   */
  #dim(surrounded) {
    const sliders = { intensity: slider("#light-intensity"), ambient: slider("#light-ambient") };
    if (surrounded === (this.#before !== null)) return;
    const values = surrounded ? { intensity: String(BESIDE.intensity), ambient: String(BESIDE.ambient) } : this.#before;
    this.#before = surrounded ? { intensity: sliders.intensity.value, ambient: sliders.ambient.value } : null;
    for (const [name, element] of Object.entries(sliders)) {
      element.value = /** @type {Record<string, string>} */ (values)[name];
      element.dispatchEvent(new Event("input"));
    }
  }

  /** @param {HTMLElement} stage */
  #listenToDrops(stage) {
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    stage.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      stage.classList.add("dropping");
    });
    stage.addEventListener("dragleave", () => stage.classList.remove("dropping"));
    stage.addEventListener("drop", (event) => {
      stage.classList.remove("dropping");
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      this.open(file);
    });
  }
}

/** @param {string} selector */
function slider(selector) {
  return /** @type {HTMLInputElement} */ (find(selector));
}
