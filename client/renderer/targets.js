/** Framebuffers of the renderer: the multisampled image, its resolved copy, shadow maps and the blended albedo. */

import { COLUMNS, ROWS } from "./environment/panorama.js";
import { TABLE_SIZE, splitSumTable } from "./reflections.js";
import { SHADOW_MAP_PX } from "./reflection.js";
import { MAX_LIGHTS } from "./shaders/shading_glsl.js";

/**
 * A texture that shaders read texel by texel.
 * @param {WebGL2RenderingContext} gl
 * @param {number} target
 * @param {number} filter
 */
function clampedTexture(gl, target, filter) {
  const texture = gl.createTexture();
  gl.bindTexture(target, texture);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, name, filter);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(target, name, gl.CLAMP_TO_EDGE);
  return texture;
}

/**
 * Format of linear colours: half floats where the browser draws into them, else 8 bits that the GPU encodes as sRGB.
 * Both blend and average linear light.
 * @param {WebGL2RenderingContext} gl
 */
export function linearFormat(gl) {
  const float = gl.getExtension("EXT_color_buffer_float") ?? gl.getExtension("EXT_color_buffer_half_float");
  return float ? gl.RGBA16F : gl.SRGB8_ALPHA8;
}

/** Blurred panoramas of the surroundings and the table of the BRDF. */
export class ReflectionTextures {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {Float32Array[]} levels of `reflectionsOf`
   */
  constructor(gl, levels) {
    this.gl = gl;
    this.lastLevel = levels.length - 1;
    this.panoramas = clampedTexture(gl, gl.TEXTURE_2D, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.REPEAT);
    gl.texStorage2D(gl.TEXTURE_2D, levels.length, gl.RGBA16F, COLUMNS, ROWS);
    levels.forEach((level, index) => {
      const texels = new Float32Array((level.length / 3) * 4).fill(1);
      for (let at = 0, to = 0; at < level.length; at += 3, to += 4) texels.set(level.subarray(at, at + 3), to);
      const [width, height] = [COLUMNS >> index, ROWS >> index];
      gl.texSubImage2D(gl.TEXTURE_2D, index, 0, 0, width, height, gl.RGBA, gl.FLOAT, texels);
    });
    this.table = clampedTexture(gl, gl.TEXTURE_2D, gl.LINEAR);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RG16F, TABLE_SIZE, TABLE_SIZE);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TABLE_SIZE, TABLE_SIZE, gl.RG, gl.FLOAT, splitSumTable());
  }

  delete() {
    for (const texture of [this.panoramas, this.table]) this.gl.deleteTexture(texture);
  }
}

/** The image in linear light, premultiplied: drawn with several samples a pixel, then resolved. */
export class ImageTarget {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {number} width
   * @param {number} height
   * @param {number} samples
   */
  constructor(gl, width, height, samples) {
    this.gl = gl;
    this.width = width;
    this.height = height;
    const format = linearFormat(gl);
    const most = Math.max(0, ...gl.getInternalformatParameter(gl.RENDERBUFFER, format, gl.SAMPLES));
    const count = Math.min(samples, most);
    this.buffers = [gl.createRenderbuffer(), gl.createRenderbuffer()];
    this.samplesFramebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.samplesFramebuffer);
    const formats = [[format, gl.COLOR_ATTACHMENT0], [gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT]];
    formats.forEach(([internal, attachment], index) => {
      gl.bindRenderbuffer(gl.RENDERBUFFER, this.buffers[index]);
      gl.renderbufferStorageMultisample(gl.RENDERBUFFER, count, internal, width, height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, attachment, gl.RENDERBUFFER, this.buffers[index]);
    });
    this.texture = clampedTexture(gl, gl.TEXTURE_2D, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    this.framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.texture, 0);
  }

  /** Begin an empty image. */
  begin() {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.samplesFramebuffer);
    gl.viewport(0, 0, this.width, this.height);
    gl.depthMask(true);
    gl.colorMask(true, true, true, true);
    gl.clearColor(0, 0, 0, 0);
    gl.clearDepth(1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  }

  /** Average the samples into `texture`. */
  resolve() {
    const { gl, width, height } = this;
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.samplesFramebuffer);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, this.framebuffer);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.invalidateFramebuffer(gl.READ_FRAMEBUFFER, [gl.COLOR_ATTACHMENT0, gl.DEPTH_ATTACHMENT]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  delete() {
    for (const buffer of this.buffers) this.gl.deleteRenderbuffer(buffer);
    for (const framebuffer of [this.samplesFramebuffer, this.framebuffer]) this.gl.deleteFramebuffer(framebuffer);
    this.gl.deleteTexture(this.texture);
  }
}

/** Depth maps of the directional lights, one layer each. */
export class ShadowTarget {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    this.texture = clampedTexture(gl, gl.TEXTURE_2D_ARRAY, gl.NEAREST);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.DEPTH_COMPONENT24, SHADOW_MAP_PX, SHADOW_MAP_PX, MAX_LIGHTS);
    this.framebuffer = gl.createFramebuffer();
  }

  /** Begin the empty map of one light. @param {number} light */
  begin(light) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, this.texture, 0, light);
    gl.viewport(0, 0, SHADOW_MAP_PX, SHADOW_MAP_PX);
    gl.depthMask(true);
    gl.clearDepth(1);
    gl.clear(gl.DEPTH_BUFFER_BIT);
  }
}

/** A diffuse map with the correctives of an expression, and the layers of differences that it is blended from. */
export class BlendTarget {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {number} width
   * @param {number} height
   * @param {import("./correctives.js").Correctives} correctives
   */
  constructor(gl, width, height, { size, deltas, scales }) {
    this.gl = gl;
    this.width = width;
    this.height = height;
    this.texture = clampedTexture(gl, gl.TEXTURE_2D, gl.LINEAR);
    gl.texStorage2D(gl.TEXTURE_2D, 1, linearFormat(gl), width, height);
    this.framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.texture, 0);
    this.deltas = clampedTexture(gl, gl.TEXTURE_2D_ARRAY, gl.LINEAR);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage3D(
      gl.TEXTURE_2D_ARRAY, 0, gl.RGB8_SNORM, size, size, scales.length, 0, gl.RGB, gl.BYTE, deltas,
    );
  }

  delete() {
    this.gl.deleteFramebuffer(this.framebuffer);
    for (const texture of [this.texture, this.deltas]) this.gl.deleteTexture(texture);
  }
}
