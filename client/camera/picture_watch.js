/** Looks at a camera's picture for shutters, covers and switches that leave it without one. */

/** Cameras are mute for a moment when they begin, and phones when the page is put away. */
const MUTE_MS = 1500;
const LOOK_MS = 1000;
/** Looks in a row at which the picture must be black: eyes and automatic exposure need a moment, too. */
const BLACK_LOOKS = 3;
/** Brightest channel, of 255, up to which a picture is black: sensors behind a closed shutter show some noise. */
const BLACK_LEVEL = 14;
const LOOK_SIZE = 16;

const MUTED_TEXT = "The camera sends no picture. Is it switched off by a key or a shutter, or does another program use it?";
const BLACK_TEXT = "The picture is black. Is the camera’s shutter closed?";

/**
 * Whether pixels show nothing.
 * @param {Uint8ClampedArray} pixels RGBA
 */
export function isBlack(pixels) {
  return pixels.every((value, index) => index % 4 === 3 || value <= BLACK_LEVEL);
}

export class PictureWatch {
  #video = document.createElement("video");
  #canvas = document.createElement("canvas");
  #looks = 0;
  #mutedSince = Infinity;
  #text = "";
  #timer = 0;

  /**
   * @param {MediaStream} stream
   * @param {(text: string) => void} onPicture called when what is wrong changes; "" when nothing is
   */
  constructor(stream, onPicture) {
    this.onPicture = onPicture;
    this.track = stream.getVideoTracks()[0];
    Object.assign(this.#video, { srcObject: stream, muted: true, playsInline: true });
    this.#video.play().catch(() => undefined); // closed before it began
    Object.assign(this.#canvas, { width: LOOK_SIZE, height: LOOK_SIZE });
    this.#timer = Number(setInterval(() => this.#look(), LOOK_MS));
  }

  close() {
    clearInterval(this.#timer);
    this.#video.srcObject = null;
    this.#show("");
  }

  #look() {
    if (document.hidden) {
      this.#mutedSince = Infinity; // phones switch the camera off meanwhile
      return;
    }
    const now = performance.now();
    this.#mutedSince = this.track.muted ? Math.min(this.#mutedSince, now) : Infinity;
    if (this.track.muted) {
      if (now - this.#mutedSince >= MUTE_MS) this.#show(MUTED_TEXT);
      return;
    }
    this.#looks = this.#isBlack() ? this.#looks + 1 : 0;
    this.#show(this.#looks >= BLACK_LOOKS ? BLACK_TEXT : "");
  }

  #isBlack() {
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    if (!context || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return false;
    context.drawImage(this.#video, 0, 0, LOOK_SIZE, LOOK_SIZE);
    return isBlack(context.getImageData(0, 0, LOOK_SIZE, LOOK_SIZE).data);
  }

  /** @param {string} text */
  #show(text) {
    if (text === this.#text) return;
    this.#text = text;
    this.onPicture(text);
  }
}
