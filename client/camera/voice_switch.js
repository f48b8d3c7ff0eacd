/** Lets the guests hear the owner's microphone, or no longer. */

import { openMicrophone } from "./capture.js";
import { toast } from "../page/dom.js";
import { asPlainError } from "../page/texts.js";

export class VoiceSwitch {
  /** @type {MediaStreamTrack | null} microphone that the guests hear */
  #track = null;

  /**
   * @param {HTMLInputElement} box
   * @param {() => import("../server/session.js").LiveSession | null} session that is running
   */
  constructor(box, session) {
    this.box = box;
    this.session = session;
    box.addEventListener("change", () => this.#change());
  }

  /** Close the microphone; the session is over. */
  reset() {
    this.#close();
    this.box.checked = false;
  }

  async #change() {
    const current = this.session();
    this.#close();
    try {
      if (this.box.checked) {
        const opened = await openMicrophone();
        if (current !== this.session() || !this.box.checked) return opened.stop();
        this.#track = opened;
      }
    } catch (error) {
      const problem = asPlainError(error);
      this.box.checked = false;
      toast(`${problem.title}. ${problem.text}`);
    }
    current?.setVoice(this.#track);
    return undefined;
  }

  #close() {
    this.#track?.stop();
    this.#track = null;
  }
}
