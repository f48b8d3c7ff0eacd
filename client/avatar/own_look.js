/** A viewer's own light and view: the owner's are everybody's until a viewer turns their own, on their page alone. */

import { LightDirection } from "../controls/light.js";
import { listenToGestures, orbited, zoomed } from "./viewer.js";

/** @typedef {import("../server/messages.js").SceneEvent} SceneEvent */

/** Radius of the disc on which the light is moved, as a share of the stage's shorter side. */
const REACH = 0.47;
/** Intensity of a light that is turned while the owner's is off. */
const INTENSITY = 0.9;

export class OwnLook {
  /** @type {SceneEvent | null} as the owner has it */
  #scene = null;
  /** @type {Record<string, unknown>} what this viewer has changed of it */
  #own = {};

  /**
   * @param {HTMLElement} canvas that is dragged
   * @param {HTMLElement} stage
   * @param {HTMLElement} button gives back the owner's light and view
   * @param {(scene: SceneEvent) => void} show
   * @param {() => boolean} able whether this page draws the avatar itself
   */
  constructor(canvas, stage, button, show, able) {
    this.button = button;
    this.show = show;
    const light = new LightDirection((direction) => {
      const intensity = this.#scene?.intensity || INTENSITY;
      this.#change({ direction, intensity });
    });
    const reach = () => REACH * Math.min(stage.clientWidth, stage.clientHeight);
    const view = (/** @type {(view: import("./viewer.js").View) => import("./viewer.js").View} */ change) => {
      if (!this.#scene || !able()) return;
      const { yaw, pitch, distance } = { ...this.#scene, ...this.#own };
      this.#change({ ...change({ yaw, pitch, distance }) });
    };
    listenToGestures(canvas, {
      target: () => "light",
      moveLight: (dx, dy) => {
        if (!this.#scene || !able()) return;
        if (!("direction" in this.#own)) light.update(this.#scene.direction);
        light.moveBy(dx / reach(), -dy / reach());
      },
      turn: (dx, dy) => view((before) => orbited(before, dx, dy)),
      zoom: (factor) => view((before) => zoomed(before, factor)),
    });
    button.addEventListener("click", () => {
      this.#own = {};
      this.#update();
    });
  }

  /** @param {SceneEvent} scene as the owner has it now */
  follow(scene) {
    this.#scene = scene;
    this.#update();
  }

  /** @param {Record<string, unknown>} fields */
  #change(fields) {
    Object.assign(this.#own, fields);
    this.#update();
  }

  #update() {
    this.button.hidden = Object.keys(this.#own).length === 0;
    if (this.#scene) this.show({ ...this.#scene, ...this.#own });
  }
}
