/** Motion to and from other programs, as far as the server's operator offers it: part of the guests' dialog. */

import { find, toast } from "../page/dom.js";
import { changeMotion, fetchMotion } from "../server/signalling.js";
import { PlainError } from "../page/texts.js";

/** @typedef {import("../server/signalling.js").MotionState} MotionState */

const CAMERA = "";
/** How often the state is asked for while the dialog is open. */
const REFRESH_MS = 3000;

export class Programs {
  #section = find("#programs");
  #send = /** @type {HTMLInputElement} */ (find("#send-motion"));
  #source = /** @type {HTMLSelectElement} */ (find("#motion-source"));
  #timer = 0;

  /** @param {() => string | null} session id of the running session */
  constructor(session) {
    this.session = session;
    this.#send.addEventListener("change", () => this.#change({ send: this.#send.checked }));
    this.#source.addEventListener("change", () => this.#change({ source: this.#source.value || null }));
    find("#guests").addEventListener("close", () => clearInterval(this.#timer));
  }

  /** Show what is offered and used, while the dialog is open. */
  open() {
    this.#section.hidden = true;
    const refresh = () => this.#run(fetchMotion);
    refresh();
    this.#timer = Number(setInterval(refresh, REFRESH_MS));
  }

  /** @param {{send?: boolean, source?: string | null}} change */
  #change(change) {
    this.#run((session) => changeMotion(session, change), true);
  }

  /**
   * @param {(session: string) => Promise<MotionState>} ask
   * @param {boolean} [asked] by the person, to whom a failure is shown
   */
  async #run(ask, asked = false) {
    const session = this.session();
    if (session === null) return;
    try {
      this.#show(await ask(session));
    } catch (error) {
      if (asked) {
        toast(error instanceof PlainError ? error.text : "That did not work: try again.");
        await this.#run(fetchMotion);
      } else console.warn("motion to other programs is not known", error);
    }
  }

  /** @param {MotionState} state */
  #show({ outputs, sources, send, source, trouble }) {
    this.#section.hidden = outputs.length + sources.length === 0;
    find("#send-motion-label").hidden = outputs.length === 0;
    find("#motion-source-label").hidden = sources.length === 0;
    find("#send-motion-words").textContent = `Send my motion to ${outputs.join(", ")}`;
    this.#send.checked = send;
    if (this.#source.options.length !== sources.length + 1) {
      this.#source.replaceChildren(new Option("my camera", CAMERA), ...sources.map((name) => new Option(name, name)));
    }
    this.#source.value = source ?? CAMERA;
    find("#motion-trouble").textContent = trouble ?? "";
  }
}
