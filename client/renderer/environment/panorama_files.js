/**
 * Panoramas from files: Radiance's `.hdr`, and ordinary images, as `fitme/render/environment/files.py` reads them. Sizes are
 * checked before anything is decoded.
 */

import { LUMINANCE } from "./panorama.js";
import { linearOf } from "../scene.js";

/** @typedef {import("./panorama.js").Panorama} Panorama */
/** @typedef {{width: number, height: number}} Size */

export const MAX_PIXELS = 100_000_000;
export const ASPECT_RANGE = Object.freeze([1.8, 2.2]);
export const EXPANSION = 8;
export const EXPANSION_POWER = 6;
/** Bytes of a file at most: an .hdr of `MAX_PIXELS` has no more. */
const MAX_BYTES = 400_000_000;
/** Ordinary images are decoded at this size. */
const DECODED_WIDTH = 1024;
/** Shortest and longest row that Radiance's run lengths describe. */
const RUN_WIDTHS = Object.freeze([8, 32767]);

/** A file that is no panorama; `title` and `message` are for the person. */
export class PanoramaError extends Error {
  /**
   * @param {"no_image" | "too_large" | "no_panorama"} code
   * @param {string} title
   * @param {string} message
   */
  constructor(code, title, message) {
    super(message);
    this.code = code;
    this.title = title;
  }
}

const notAnImage = () =>
  new PanoramaError("no_image", "This file is not an image", "Drop a panorama: .hdr, .jpg, .png or .webp. The file may also be damaged.");

/**
 * @param {Blob} file
 * @returns {Promise<Panorama>}
 * @throws {PanoramaError}
 */
export async function readPanorama(file) {
  if (file.size > MAX_BYTES) throw tooLarge(`It has ${Math.round(file.size / 1e6)} MB.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const radiance = radianceSize(bytes);
  checkSize(radiance?.size ?? imageSize(bytes));
  if (radiance) return decodeRadiance(bytes, radiance);
  return decodeImage(file);
}

/** @param {string} what */
function tooLarge(what) {
  return new PanoramaError("too_large", "This panorama is too large", `${what} Reduce it to 8192 × 4096 pixels or less.`);
}

/**
 * @param {Size | null} size of the file's header
 * @throws {PanoramaError}
 */
export function checkSize(size) {
  if (!size || size.width < 1 || size.height < 1) throw notAnImage();
  const { width, height } = size;
  if (width * height > MAX_PIXELS) throw tooLarge(`It has ${width} × ${height} pixels, ${Math.round((width * height) / 1e6)} million.`);
  const aspect = width / height;
  if (aspect < ASPECT_RANGE[0] || aspect > ASPECT_RANGE[1])
    throw new PanoramaError("no_panorama", "This image is not a panorama",
      `It has ${width} × ${height} pixels. A panorama of all directions is twice as wide as high.`);
}

/**
 * Size of a PNG, JPEG, WebP or GIF file by its header; null for anything else.
 * @param {Uint8Array} bytes
 * @returns {Size | null}
 */
export function imageSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (/** @type {number} */ at, /** @type {number} */ length) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (bytes.length < 32) return null;
  if (text(1, 3) === "PNG") return { width: view.getUint32(16), height: view.getUint32(20) };
  if (text(0, 3) === "GIF") return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webpSize(view, text(12, 4));
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegSize(view);
  return null;
}

/** @param {DataView} view @param {string} kind @returns {Size | null} */
function webpSize(view, kind) {
  const threeBytes = (/** @type {number} */ at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
  if (kind === "VP8X") return { width: threeBytes(24) + 1, height: threeBytes(27) + 1 };
  if (kind === "VP8 ") return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (kind !== "VP8L") return null;
  const bits = view.getUint32(21, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
}

/** @param {DataView} view @returns {Size | null} */
function jpegSize(view) {
  let at = 2;
  while (at + 9 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    // Start of frame, but for the tables 0xc4, 0xc8 and 0xcc.
    if (marker >= 0xc0 && marker <= 0xcf && marker % 4 !== 0 || marker === 0xc0)
      return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return null;
}

/**
 * Size of a Radiance file, and where its texels begin; null for anything else.
 * @param {Uint8Array} bytes
 * @returns {{size: Size, begin: number, flipped: boolean} | null}
 */
export function radianceSize(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 4096));
  if (!head.startsWith("#?")) return null;
  const match = /\n([-+])Y (\d+) \+X (\d+)\n/.exec(head);
  if (!match) return null;
  const size = { width: Number(match[3]), height: Number(match[2]) };
  return { size, begin: match.index + match[0].length, flipped: match[1] === "+" };
}

/**
 * @param {Uint8Array} bytes
 * @param {{size: Size, begin: number, flipped: boolean}} header
 * @returns {Panorama}
 */
export function decodeRadiance(bytes, { size, begin, flipped }) {
  const { width, height } = size;
  const data = new Float32Array(width * height * 3);
  const row = new Uint8Array(width * 4);
  let at = begin;
  for (let index = 0; index < height; index++) {
    at = readRow(bytes, at, row, width);
    const into = (flipped ? height - 1 - index : index) * width * 3;
    for (let column = 0; column < width; column++) {
      const exponent = row[column + 3 * width];
      const scale = exponent ? 2 ** (exponent - 136) : 0;
      for (let channel = 0; channel < 3; channel++) data[into + column * 3 + channel] = row[column + channel * width] * scale;
    }
  }
  return { width, height, data };
}

/**
 * Read one row into four planes of `width` bytes: red, green, blue, exponent.
 * @param {Uint8Array} bytes
 * @param {number} begin
 * @param {Uint8Array} row
 * @param {number} width
 * @returns {number} where the next row begins
 */
function readRow(bytes, begin, row, width) {
  let at = begin;
  const encoded = bytes[at] === 2 && bytes[at + 1] === 2 && ((bytes[at + 2] << 8) | bytes[at + 3]) === width;
  if (!encoded || width < RUN_WIDTHS[0] || width > RUN_WIDTHS[1]) {
    if (at + width * 4 > bytes.length) throw notAnImage();
    for (let column = 0; column < width; column++)
      for (let channel = 0; channel < 4; channel++) row[column + channel * width] = bytes[at + column * 4 + channel];
    return at + width * 4;
  }
  at += 4;
  let into = 0;
  while (into < width * 4) {
    const count = bytes[at++];
    if (count === undefined || count === 0) throw notAnImage();
    const length = count > 128 ? count - 128 : count;
    if (into + length > width * 4) throw notAnImage();
    if (count > 128) row.fill(bytes[at++], into, into + length);
    else {
      row.set(bytes.subarray(at, at + length), into);
      at += length;
    }
    into += length;
  }
  if (at > bytes.length) throw notAnImage();
  return at;
}

/**
 * @param {Blob} file
 * @returns {Promise<Panorama>}
 */
async function decodeImage(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { resizeWidth: DECODED_WIDTH, resizeHeight: DECODED_WIDTH / 2, resizeQuality: "high" });
  } catch {
    throw notAnImage(); // the browser says no more than that
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return expanded(context.getImageData(0, 0, canvas.width, canvas.height));
}

/**
 * Radiance of an 8-bit image, with its highlights brighter than the file could hold.
 * @param {{width: number, height: number, data: ArrayLike<number>}} image sRGB, RGBA
 * @returns {Panorama}
 */
export function expanded({ width, height, data }) {
  const decoded = Float32Array.from({ length: 256 }, (_, code) => linearOf(code / 255));
  const out = new Float32Array(width * height * 3);
  for (let at = 0, from = 0; at < out.length; at += 3, from += 4) {
    const [red, green, blue] = [decoded[data[from]], decoded[data[from + 1]], decoded[data[from + 2]]];
    const luminance = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue;
    const factor = 1 + EXPANSION * luminance ** EXPANSION_POWER;
    out[at] = red * factor;
    out[at + 1] = green * factor;
    out[at + 2] = blue * factor;
  }
  return { width, height, data: out };
}
