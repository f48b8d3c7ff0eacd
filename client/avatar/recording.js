/** Picture and clip of the avatar as the stage shows it: over its background, mirrored if the stage is. */

const CLIP_SECONDS = 8;
const CLIP_FPS = 30;
const CLIP_BITRATE_BPS = 6_000_000;
const CLIP_SIZE_PX = 720;
/** In order of preference. */
const CLIP_TYPES = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

/** Whether this browser can record a canvas. */
export function canRecord() {
  return typeof MediaRecorder !== "undefined" && typeof HTMLCanvasElement.prototype.captureStream === "function";
}

/**
 * Draw what the stage shows.
 * @param {HTMLCanvasElement} source of the avatar, on the stage
 * @param {HTMLCanvasElement} target square
 */
function draw(source, target) {
  const context = target.getContext("2d", { alpha: false });
  if (!context) return;
  const stage = /** @type {HTMLElement} */ (source.parentElement);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = getComputedStyle(stage).backgroundColor;
  context.fillRect(0, 0, target.width, target.height);
  if (stage.classList.contains("flipped")) context.setTransform(-1, 0, 0, 1, target.width, 0);
  context.drawImage(source, 0, 0, target.width, target.height);
}

/**
 * @param {() => HTMLCanvasElement} image gives the canvas of the avatar, to be read at once
 * @returns {Promise<Blob>} PNG
 */
export function takePicture(image) {
  const source = image();
  const target = document.createElement("canvas");
  target.width = target.height = source.width;
  draw(source, target);
  return new Promise((resolve, reject) => {
    target.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser made no picture"))), "image/png");
  });
}

/**
 * Record a clip of some seconds.
 * @param {() => HTMLCanvasElement} image gives the canvas of the avatar, to be read at once
 * @param {(share: number) => void} onProgress called for each frame with 0 to 1
 * @returns {Promise<Blob>} WebM or MP4
 */
export function recordClip(image, onProgress) {
  const target = document.createElement("canvas");
  target.width = target.height = CLIP_SIZE_PX;
  draw(image(), target);
  const stream = target.captureStream(CLIP_FPS);
  const mimeType = CLIP_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: CLIP_BITRATE_BPS });
  /** @type {Blob[]} */
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const step = () => {
      if (recorder.state !== "recording") return;
      const share = (performance.now() - start) / (CLIP_SECONDS * 1000);
      draw(image(), target);
      onProgress(Math.min(share, 1));
      if (share >= 1) recorder.stop();
      else requestAnimationFrame(step);
    };
    recorder.onerror = () => reject(new Error("the browser cannot record the avatar"));
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      resolve(new Blob(parts, { type: recorder.mimeType.split(";")[0] }));
    };
    recorder.start();
    requestAnimationFrame(step);
  });
}

/**
 * @param {Blob} blob
 * @param {string} name of the file, without its ending
 */
export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  const ending = blob.type.split("/").pop()?.replace("gltf-binary", "glb");
  Object.assign(document.createElement("a"), { href: address, download: `${name}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
