/** Sources of video: a camera, or the sample clip played as if it were one. */

import { INSECURE_PAGE, PlainError, cameraError, microphoneError } from "../page/texts.js";

/** What is asked of a camera; it may give something else. */
const WANTED = Object.freeze({ width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } });
const SAMPLE_FRAME_RATE = 30;

/**
 * Whether browsers would give this page a camera at all.
 * @returns {PlainError | null} why not
 */
export function cameraObstacle() {
  if (!window.isSecureContext || !navigator.mediaDevices) return new PlainError(INSECURE_PAGE.title, INSECURE_PAGE.text);
  return null;
}

/**
 * Cameras that the browser tells of; their names are empty until one has been allowed.
 * @returns {Promise<{id: string, label: string}[]>}
 */
export async function listCameras() {
  if (!navigator.mediaDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((device) => device.kind === "videoinput")
    .map((device, index) => ({ id: device.deviceId, label: device.label || `Camera ${index + 1}` }));
}

/**
 * Open a camera; the browser asks the person.
 * @param {string} [deviceId] one of `listCameras`, or any camera that faces the person
 * @returns {Promise<VideoSource>}
 * @throws {PlainError} with a text for the person
 */
export async function openCamera(deviceId) {
  const obstacle = cameraObstacle();
  if (obstacle) throw obstacle;
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...WANTED, ...which } });
    return { stream, isCamera: true, close: () => stream.getTracks().forEach((track) => track.stop()) };
  } catch (error) {
    throw cameraError(error);
  }
}

/**
 * Open the microphone; the browser asks the person.
 * @returns {Promise<MediaStreamTrack>}
 * @throws {PlainError} with a text for the person
 */
export async function openMicrophone() {
  const obstacle = cameraObstacle();
  if (obstacle) throw obstacle;
  try {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    return (await navigator.mediaDevices.getUserMedia({ audio, video: false })).getAudioTracks()[0];
  } catch (error) {
    throw microphoneError(error);
  }
}

/**
 * Video that can be sent to a session.
 * @typedef {object} VideoSource
 * @property {MediaStream} stream
 * @property {boolean} isCamera
 * @property {() => void} close stops the camera or the clip
 */

/** A clip that plays over and over, as a stream. */
class SampleClip {
  /** @type {MediaStream | null} */
  #stream = null;
  #stopped = false;

  /** @param {string} address of the clip */
  constructor(address) {
    this.video = document.createElement("video");
    Object.assign(this.video, { src: address, loop: true, muted: true, playsInline: true });
  }

  /**
   * @returns {Promise<MediaStream>}
   * @throws {PlainError} if the clip cannot be played
   */
  async open() {
    try {
      await this.video.play();
    } catch (error) {
      throw new PlainError("The sample clip does not play", `The browser says: ${error instanceof Error ? error.message : error}`);
    }
    this.#stream = this.#capture();
    document.addEventListener("visibilitychange", this.#goOn);
    return this.#stream;
  }

  /** Browsers pause clips without sound in hidden pages. */
  #goOn = () => {
    if (!document.hidden && !this.#stopped) this.video.play().catch(() => undefined);
  };

  /** The clip is drawn on a canvas, since not every browser can capture a video element. */
  #capture() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    const context = canvas.getContext("2d", { alpha: false });
    const stream = canvas.captureStream(SAMPLE_FRAME_RATE);
    const draw = () => {
      if (this.#stopped) return;
      context?.drawImage(this.video, 0, 0);
      this.video.requestVideoFrameCallback(draw);
    };
    this.video.requestVideoFrameCallback(draw);
    return stream;
  }

  close() {
    this.#stopped = true;
    document.removeEventListener("visibilitychange", this.#goOn);
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.#stream?.getTracks().forEach((track) => track.stop());
  }
}

/**
 * Play the sample clip as if it were a camera.
 * @param {string} address of the clip
 * @returns {Promise<VideoSource>}
 * @throws {PlainError} if the clip cannot be played
 */
export async function openSample(address) {
  const clip = new SampleClip(address);
  const stream = await clip.open();
  return { stream, isCamera: false, close: () => clip.close() };
}
