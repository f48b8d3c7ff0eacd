/**
 * The stage with an avatar: drawn by the page where it can, else as renders of the server. Both are canvases, one above
 * the other; the lower one takes the gestures.
 */

import { AvatarView } from "./avatar_view.js";
import { find, toast } from "../page/dom.js";
import { DRAWING_FEEDS, RENDER_FEEDS } from "../server/feeds.js";
import { STAGES } from "../server/messages.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("../server/messages.js").ServerEvent} ServerEvent */
/** @typedef {import("../server/messages.js").Render} Render */

export class AvatarStage {
  #stage = find("#stage");
  #told = false;

  /**
   * @param {(stage: string) => void} onShown called with each image: the avatar's stage
   * @param {() => void} onFeedsChanged the page wants other feeds from now on
   */
  constructor(onShown, onFeedsChanged) {
    this.onShown = onShown;
    this.viewer = new Viewer(/** @type {HTMLCanvasElement} */ (find("#avatar")), ({ stage }) => this.#shown(STAGES[stage]));
    this.view = AvatarView.create(/** @type {HTMLCanvasElement} */ (find("#avatar-drawn")), {
      onDrawn: (stage) => this.#shown(stage),
      onAbility: () => {
        this.#arrange();
        onFeedsChanged();
      },
      onError: (error) => {
        console.error(error);
        this.view?.giveUp();
      },
    });
    this.#arrange();
  }

  /** Whether the page draws the avatar. */
  get draws() {
    return this.view?.able === true;
  }

  /** @returns {import("../server/signalling.js").Wants} what the page receives */
  get wants() {
    return this.draws
      ? { feeds: DRAWING_FEEDS, held: this.view?.stream.held ?? null }
      : { feeds: RENDER_FEEDS, held: null };
  }

  /** Images a second, and the time from a camera frame at the server to its image, milliseconds; null before the first. */
  get figures() {
    if (this.draws && this.view?.rate) return { rate: this.view.rate, delayMs: this.view.delayMs };
    const { shown, rate, decodeMs } = this.viewer;
    if (!shown || this.draws) return null;
    const seen = shown.receivedTime > 0; // else it was drawn before the first camera frame
    return { rate, delayMs: seen ? (shown.sentTime - shown.receivedTime) * 1000 + decodeMs : null };
  }

  /**
   * Canvas with the avatar as it is shown, which can be read until the caller returns to the event loop.
   * @returns {HTMLCanvasElement}
   */
  image() {
    return this.draws && this.view ? this.view.image() : this.viewer.canvas;
  }

  /** Drop the last session's avatar. */
  reset() {
    this.viewer.reset();
    this.view?.reset();
    this.#stage.classList.remove("live");
  }

  /** @param {ServerEvent} event */
  update(event) {
    if (event.type !== "hello") return;
    this.view?.begin(event);
    if (this.draws || this.#told) return;
    this.#told = true;
    toast("This browser cannot draw the avatar itself (it has no WebGL2): the server draws it.");
  }

  /**
   * @param {Render} render
   * @param {(sequence: number) => void} acknowledge
   */
  show(render, acknowledge) {
    this.viewer.show(render, acknowledge);
  }

  /** @param {string} stage */
  #shown(stage) {
    this.#stage.classList.add("live");
    this.onShown(stage);
  }

  #arrange() {
    this.#stage.classList.toggle("drawn", this.draws);
  }
}
