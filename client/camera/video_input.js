/** The video of a session: opened, watched for what goes wrong with it, and exchanged for another camera's. */

import { openCamera } from "./capture.js";
import { PlainError } from "../page/texts.js";
import { PictureWatch } from "./picture_watch.js";

/** @typedef {import("./capture.js").VideoSource} VideoSource */

/**
 * @typedef {object} InputListener
 * @property {(stream: MediaStream) => Promise<void>} onReplaced another camera's stream takes the place of the last one
 * @property {(permitted: boolean) => void} onStopped the camera has ended: unplugged, asleep, or no longer permitted
 * @property {(text: string) => void} onPicture what is wrong with the picture; "" when nothing is
 */

export class VideoInput {
  /** @type {VideoSource | null} */
  source = null;
  /** Counts sources, so that one which comes too late is closed. */
  #number = 0;
  /** @type {PictureWatch | null} */
  #watch = null;
  /** Camera that was in use when it ended. */
  #lostDevice = "";

  /** @param {InputListener} listener */
  constructor(listener) {
    this.listener = listener;
  }

  /** Name of the camera in use, as the browser gives it. */
  get device() {
    return this.source?.isCamera ? this.#track()?.getSettings().deviceId ?? "" : "";
  }

  /** Pixels of a frame, "" while nothing is known. */
  get size() {
    const { width, height } = this.#track()?.getSettings() ?? {};
    return width && height ? `${width} × ${height}` : "";
  }

  /**
   * Use a source that has been opened.
   * @param {VideoSource} source
   */
  adopt(source) {
    this.#number += 1;
    this.#watch?.close();
    this.source = source;
    this.#lostDevice = "";
    this.listener.onPicture("");
    const track = this.#track();
    if (!source.isCamera || !track) return;
    this.#watch = new PictureWatch(source.stream, this.listener.onPicture);
    track.addEventListener("ended", () => this.#ended(source, track));
  }

  /**
   * Exchange the camera. The old one is closed first, since many phones open only one at a time; if the new one does not
   * open, the old one is opened again.
   * @param {string} device one of the browser's cameras, "" for any
   * @throws {PlainError} if the new one does not open, after the old one is back
   */
  async exchange(device) {
    if (!this.source?.isCamera) return;
    const before = this.device || this.#lostDevice;
    this.#drop();
    const number = this.#number;
    let opened = null, problem = null;
    for (const wanted of device === before ? [device] : [device, before]) {
      try {
        opened = await openCamera(wanted || undefined);
        break;
      } catch (error) {
        problem ??= error;
      }
    }
    if (number !== this.#number) return opened?.close();
    if (opened) {
      this.adopt(opened);
      await this.listener.onReplaced(opened.stream);
    } else {
      this.#lostDevice = before;
      this.listener.onStopped(!(problem instanceof PlainError) || problem.code !== "NotAllowedError");
    }
    if (problem) throw problem;
  }

  /**
   * The browser's cameras have changed: one that was lost may be back.
   * @param {readonly string[]} devices
   */
  async recover(devices) {
    if (this.#lostDevice && devices.includes(this.#lostDevice)) await this.exchange(this.#lostDevice);
  }

  /** Stop the camera, and what is being opened as soon as it is there. */
  close() {
    this.#drop();
    this.source = null;
    this.#lostDevice = "";
  }

  #drop() {
    this.#number += 1;
    this.#watch?.close();
    this.#watch = null;
    this.source?.close();
  }

  #track() {
    return this.source?.stream.getVideoTracks()[0];
  }

  /**
   * @param {VideoSource} source
   * @param {MediaStreamTrack} track
   */
  async #ended(source, track) {
    if (this.source !== source) return;
    this.#lostDevice = track.getSettings().deviceId ?? "";
    this.#watch?.close();
    const permitted = await cameraPermitted();
    if (this.source === source) this.listener.onStopped(permitted);
  }
}

/** Whether the browser would give the page a camera, or at least ask for one. */
async function cameraPermitted() {
  try {
    const status = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
    return status.state !== "denied";
  } catch {
    return true; // browsers without this question
  }
}
