/** Textures of parts: what is set stays in memory, and goes to the GPU before the next draw or after a lost context. */

/** @typedef {{width: number, height: number, data: Uint8Array | Uint8ClampedArray}} TexelArray rows from the top */
/** @typedef {ImageBitmap | ImageData | TexelArray} TextureSource */
/** @typedef {{x: number, y: number, source: TextureSource}} Region texels from the top left */

/**
 * How a slot of a material is stored and sampled.
 * @typedef {object} TextureFormat
 * @property {1 | 3 | 4} channels of a `TexelArray`
 * @property {boolean} encoded colours are sRGB-encoded; alpha is linear
 * @property {number[]} initial one texel, drawn before the slot is set
 * @property {boolean} [wraps] closed in u
 * @property {boolean} [nearest] not interpolated
 * @property {boolean} [reduced] sampled at halved sizes where it is seen small
 */

/** @param {TextureSource} source @returns {source is TexelArray} */
const isArray = (source) => source.constructor === Object;

/**
 * Internal format and format of the uploads, for arrays and decoded images alike.
 * @param {WebGL2RenderingContext} gl
 * @param {TextureFormat} format
 */
function layoutOf(gl, { channels, encoded }) {
  if (channels === 1) return { internal: gl.R8, format: gl.RED };
  if (channels === 3) return { internal: encoded ? gl.SRGB8 : gl.RGB8, format: gl.RGB };
  return { internal: encoded ? gl.SRGB8_ALPHA8 : gl.RGBA8, format: gl.RGBA };
}

/** One texture of one part. */
export class Texture {
  /** @type {TextureSource | null} */
  #source = null;
  /** @type {Region[]} */
  #regions = [];
  /** @type {Region[]} not on the GPU yet */
  #pending = [];
  #stale = true;
  /** @type {WebGLTexture | null} */
  #texture = null;

  /** @param {TextureFormat} format */
  constructor(format) {
    this.format = format;
  }

  get width() {
    return this.#source?.width ?? 1;
  }

  get height() {
    return this.#source?.height ?? 1;
  }

  /** @param {TextureSource} source */
  set(source) {
    this.#check(source);
    this.#source = source;
    this.#regions = [];
    this.#pending = [];
    this.#stale = true;
  }

  /** @param {Region} region inside the texture */
  setRegion(region) {
    const { x, y, source } = region;
    this.#check(source);
    const right = x + source.width;
    const bottom = y + source.height;
    if (!this.#source || x < 0 || y < 0 || right > this.width || bottom > this.height)
      throw new RangeError(`a region of ${source.width} x ${source.height} at ${x}, ${y} lies outside the texture`);
    // What the region covers is not needed again, not even after a lost context.
    const seen = (/** @type {Region} */ old) =>
      old.x < x || old.y < y || old.x + old.source.width > right || old.y + old.source.height > bottom;
    this.#regions = [...this.#regions.filter(seen), region];
    this.#pending = [...this.#pending.filter(seen), region];
  }

  /** Forget what was on the GPU: the context was lost. */
  lose() {
    this.#texture = null;
    this.#stale = true;
  }

  /** @param {WebGL2RenderingContext} gl */
  delete(gl) {
    gl.deleteTexture(this.#texture);
    this.lose();
  }

  /**
   * The texture on the GPU, after an upload of what has changed.
   * @param {WebGL2RenderingContext} gl
   * @returns {WebGLTexture | null}
   */
  upload(gl) {
    if (!this.#stale && this.#pending.length === 0) return this.#texture;
    const { internal, format } = layoutOf(gl, this.format);
    const fresh = this.#texture === null;
    this.#texture ??= gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.#texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    if (fresh) this.#setSampling(gl);
    if (this.#stale) {
      const source = this.#source ?? { width: 1, height: 1, data: Uint8Array.from(this.format.initial) };
      if (isArray(source))
        gl.texImage2D(gl.TEXTURE_2D, 0, internal, source.width, source.height, 0, format, gl.UNSIGNED_BYTE, bytes(source));
      else gl.texImage2D(gl.TEXTURE_2D, 0, internal, format, gl.UNSIGNED_BYTE, source);
      this.#pending = this.#regions;
    }
    for (const { x, y, source } of this.#pending) {
      if (isArray(source))
        gl.texSubImage2D(gl.TEXTURE_2D, 0, x, y, source.width, source.height, format, gl.UNSIGNED_BYTE, bytes(source));
      else gl.texSubImage2D(gl.TEXTURE_2D, 0, x, y, format, gl.UNSIGNED_BYTE, source);
    }
    if (this.format.reduced) gl.generateMipmap(gl.TEXTURE_2D);
    this.#pending = [];
    this.#stale = false;
    return this.#texture;
  }

  /** @param {TextureSource} source */
  #check(source) {
    const { channels } = this.format;
    if (isArray(source) && source.data.length !== source.width * source.height * channels)
      throw new RangeError(`${source.data.length} bytes are not ${source.width} x ${source.height} texels of ${channels}`);
  }

  /** @param {WebGL2RenderingContext} gl */
  #setSampling(gl) {
    const filter = this.format.nearest ? gl.NEAREST : gl.LINEAR;
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, this.format.reduced ? gl.LINEAR_MIPMAP_LINEAR : filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, this.format.wraps ? gl.REPEAT : gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }
}

/** @param {TexelArray} source */
function bytes({ data }) {
  return data instanceof Uint8Array ? data : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
