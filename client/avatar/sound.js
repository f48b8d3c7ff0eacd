/** The owner's voice on a view link's page: off until the viewer switches it on. */

import { fetchConfig, listen } from "../server/signalling.js";

export class Sound {
  #wanted = false;
  #offered = false;
  /** @type {RTCPeerConnection | null} */
  #connection = null;

  /**
   * @param {string} token of the view link
   * @param {HTMLButtonElement} button
   * @param {HTMLElement} audio element that plays the voice
   * @param {(text: string) => void} complain
   */
  constructor(token, button, audio, complain) {
    this.token = token;
    this.button = button;
    this.audio = /** @type {HTMLAudioElement} */ (audio);
    this.complain = complain;
    button.addEventListener("click", () => this.#want(!this.#wanted));
  }

  /** @param {boolean} on the owner's microphone can be heard, perhaps another one than before */
  offer(on) {
    this.#offered = on;
    this.button.hidden = !on;
    this.#change();
  }

  /** @param {boolean} wanted */
  #want(wanted) {
    this.#wanted = wanted;
    this.button.textContent = wanted ? "Sound off" : "Sound on";
    this.button.setAttribute("aria-pressed", String(wanted));
    this.#change();
  }

  async #change() {
    this.#connection?.close();
    this.#connection = null;
    this.audio.srcObject = null;
    if (!this.#wanted || !this.#offered) return;
    try {
      const { iceServers } = await fetchConfig();
      const connection = new RTCPeerConnection({ iceServers });
      this.#connection = connection;
      connection.addEventListener("track", ({ track }) => {
        if (this.#connection !== connection) return;
        this.audio.srcObject = new MediaStream([track]);
        this.audio.play().catch(() => this.#want(false)); // the browser wants another click
      });
      await listen(this.token, connection);
    } catch (error) {
      if (!this.#offered) return;
      this.#want(false);
      this.complain(error instanceof Error ? error.message : String(error));
    }
  }
}
