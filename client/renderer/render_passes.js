/**
 * Passes of one draw on the GPU: uploads, shadow maps, the image in linear light, and its encoding. They hold what one
 * WebGL2 context has beside the parts' own buffers and textures.
 */

import { PartBuffers } from "./buffers.js";
import { BLEND_FRAGMENT, BLEND_VERTEX } from "./correctives.js";
import { partNamed } from "./drawn_part.js";
import { Program } from "./gl.js";
import { FINISH_FRAGMENT } from "./shaders/finish_glsl.js";
import { EMPTY_FRAGMENT, SHADOW_VERTEX, VERTEX } from "./shaders/shading_glsl.js";
import { BlendTarget, ImageTarget, ReflectionTextures, ShadowTarget } from "./targets.js";

/** @typedef {import("./correctives.js").CorrectiveBlend} CorrectiveBlend */
/** @typedef {import("./drawn_part.js").DrawnPart} DrawnPart */
/** @typedef {import("./materials.js").Material} Material */
/** @typedef {import("./projection.js").Camera} Camera */
/** @typedef {import("./rotations.js").Vector} Vector */
/** @typedef {import("./textures.js").Texture} Texture */

/**
 * @typedef {object} Reflections
 * @property {Float32Array[]} levels of `reflectionsOf`
 * @property {number} turn radians
 * @property {number} [intensity] scale of what is mirrored, 1 if left out
 */

/**
 * All that one draw shows.
 * @typedef {object} Frame
 * @property {ReadonlyMap<string, DrawnPart>} parts by name, morphed
 * @property {import("./rotations.js").Matrix} rotation
 * @property {Vector} translation
 * @property {Camera} camera of the canvas
 * @property {Float32Array} projection
 * @property {DrawnPart[]} casting parts that cast shadows
 * @property {import("./projection.js").ShadowFrame[]} shadows one a directional light
 * @property {import("./scene.js").Light} light
 * @property {Float32Array} sh (9 * 3) of the light, times the norms of the basis
 * @property {Vector | "surroundings" | null} background
 * @property {Reflections | null} reflections
 */

/** Draws frames in one context, until that is lost. */
export class RenderPasses {
  /** @type {ImageTarget | null} */
  #image = null;
  /** @type {ReflectionTextures | null} */
  #reflections = null;
  #shadows;
  #programs;

  /**
   * @param {WebGL2RenderingContext} gl
   * @param {number} samples a pixel
   */
  constructor(gl, samples) {
    this.gl = gl;
    this.samples = samples;
    this.#shadows = new ShadowTarget(gl);
    this.#programs = new Map([
      ["shadow", new Program(gl, SHADOW_VERTEX, EMPTY_FRAGMENT)],
      ["blend", new Program(gl, BLEND_VERTEX, BLEND_FRAGMENT)],
      ["finish", new Program(gl, BLEND_VERTEX, FINISH_FRAGMENT)],
      ["depth", new Program(gl, VERTEX, EMPTY_FRAGMENT)],
    ]);
  }

  /** Whether the last image has this size. @param {number} width @param {number} height */
  hasImageOf(width, height) {
    return this.#image?.width === width && this.#image.height === height;
  }

  /** @param {Frame} frame */
  draw(frame) {
    this.#upload(frame);
    this.#drawShadows(frame);
    this.#drawImage(frame);
  }

  /** Release the mirrored surroundings: the next frame has other ones, or none. */
  dropReflections() {
    this.#reflections?.delete();
    this.#reflections = null;
  }

  /** Release the textures that depend on the canvas and on the surroundings. */
  delete() {
    this.#image?.delete();
    this.dropReflections();
  }

  /** @param {string} name @param {string} [fragment] of a material, compiled at its first use */
  #program(name, fragment) {
    let program = this.#programs.get(name);
    if (!program) this.#programs.set(name, program = new Program(this.gl, VERTEX, /** @type {string} */ (fragment)));
    program.use();
    return program;
  }

  /**
   * Bring to the GPU what has changed. Binds textures, so that nothing else may be bound before.
   * @param {Frame} frame
   */
  #upload({ parts, reflections }) {
    const { gl } = this;
    if (reflections) this.#reflections ??= new ReflectionTextures(gl, reflections.levels);
    for (const drawn of parts.values()) {
      drawn.buffers ??= new PartBuffers(gl, drawn.mesh);
      if (drawn.moved) drawn.buffers.update();
      drawn.moved = false;
      const textures = new Map([...drawn.textures].map(([slot, texture]) => [slot, texture.upload(gl)]));
      if (drawn.blend && drawn.repainted) this.#blendAlbedo(drawn, drawn.blend, textures.get("diffuse") ?? null);
      drawn.repainted = false;
    }
  }

  /**
   * @param {DrawnPart} drawn
   * @param {CorrectiveBlend} blend
   * @param {WebGLTexture | null} diffuse
   */
  #blendAlbedo(drawn, blend, diffuse) {
    const { gl } = this;
    const { width, height } = /** @type {Texture} */ (drawn.textures.get("diffuse"));
    if (drawn.blended && (drawn.blended.width !== width || drawn.blended.height !== height)) {
      drawn.blended.delete();
      drawn.blended = null;
    }
    drawn.blended ??= new BlendTarget(gl, width, height, blend.correctives);
    gl.bindFramebuffer(gl.FRAMEBUFFER, drawn.blended.framebuffer);
    gl.viewport(0, 0, width, height);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.disable(gl.CULL_FACE);
    const program = this.#program("blend");
    bind(gl, 1, gl.TEXTURE_2D, diffuse);
    bind(gl, 0, gl.TEXTURE_2D_ARRAY, drawn.blended.deltas);
    program.int("uDiffuse", 1);
    program.int("uDeltas", 0);
    program.int("uCount", blend.shares.length);
    program.floats("uShares", blend.shares);
    program.float("uCovered", blend.correctives.share ?? 1);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** @param {Frame} frame */
  #drawShadows({ casting, shadows, rotation, translation }) {
    const { gl } = this;
    if (shadows.length === 0) return;
    const program = this.#program("shadow");
    program.mat3("uRotation", rotation);
    program.vec3("uTranslation", translation);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LESS);
    gl.disable(gl.BLEND);
    // A closed mesh has a front face nearer to the light than any back face.
    gl.enable(gl.CULL_FACE);
    shadows.forEach(({ rows, nearest, range }, light) => {
      this.#shadows.begin(light);
      program.vec4("uFrame", rows);
      program.vec2("uDepthRange", [nearest, range]);
      for (const { buffers } of casting) buffers?.drawCasting();
    });
  }

  /** @param {Frame} frame */
  #drawImage(frame) {
    const { gl } = this;
    const { width, height } = frame.camera;
    if (!this.hasImageOf(width, height)) {
      this.#image?.delete();
      this.#image = null;
    }
    const image = (this.#image ??= new ImageTarget(gl, width, height, this.samples));
    image.begin();
    gl.enable(gl.DEPTH_TEST);
    const ofPass = (/** @type {Material["pass"]} */ pass) => [...frame.parts.values()].filter(({ material }) => material.pass === pass);
    for (const drawn of ofPass("solid")) this.#drawSolid(drawn, frame);
    gl.disable(gl.CULL_FACE);
    for (const drawn of ofPass("cover")) this.#drawCover(drawn, frame);
    for (const drawn of ofPass("layer")) this.#drawLayer(drawn, frame);
    image.resolve();
    this.#finish(image, frame);
  }

  /** @param {DrawnPart} drawn @param {Frame} frame */
  #drawSolid(drawn, frame) {
    const { gl } = this;
    this.#prepare(drawn, frame);
    gl.disable(gl.BLEND);
    gl.depthFunc(gl.LESS);
    gl.disable(gl.CULL_FACE);
    drawn.buffers?.drawOuter();
    // Back faces of the mouth's lining would be seen where it penetrates the skin.
    gl.enable(gl.CULL_FACE);
    drawn.buffers?.drawLining();
  }

  /**
   * A closed surface with soft edges: its inner side, then its outer one, through whose gaps the former is seen. Of each
   * the depths are first, so that of each pixel only the nearest surface is blended.
   * @param {DrawnPart} drawn
   * @param {Frame} frame
   */
  #drawLayer(drawn, frame) {
    const { gl } = this;
    gl.enable(gl.CULL_FACE);
    for (const culled of [gl.FRONT, gl.BACK]) {
      gl.cullFace(culled);
      gl.disable(gl.BLEND);
      gl.depthFunc(gl.LESS);
      gl.colorMask(false, false, false, false);
      this.#place(this.#program("depth"), drawn, frame);
      drawn.buffers?.drawAll();
      gl.colorMask(true, true, true, true);
      gl.depthFunc(gl.EQUAL);
      this.#drawCover(drawn, frame);
      gl.depthFunc(gl.LESS);
    }
    gl.disable(gl.CULL_FACE);
  }

  /**
   * Blend over what has been drawn; depths are tested and not written.
   * @param {DrawnPart} drawn
   * @param {Frame} frame
   */
  #drawCover(drawn, frame) {
    const { gl } = this;
    this.#prepare(drawn, frame);
    gl.depthMask(false);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    drawn.buffers?.drawAll();
    gl.disable(gl.BLEND);
    gl.depthMask(true);
  }

  /** @param {Program} program @param {DrawnPart} drawn @param {Frame} frame */
  #place(program, { material }, { rotation, translation, projection }) {
    program.mat3("uRotation", rotation);
    program.vec3("uTranslation", translation);
    program.mat4("uProjection", projection);
    program.float("uDepthOffset", material.depthOffset);
    program.float("uTowardsCamera", material.towardsCamera);
  }

  /** @param {DrawnPart} drawn @param {Frame} frame */
  #prepare(drawn, frame) {
    const { gl } = this;
    const program = this.#program(drawn.part.material, drawn.material.fragment);
    this.#place(program, drawn, frame);
    const { directions, colors } = frame.light;
    program.vec3("uSh", frame.sh);
    program.int("uLightCount", directions.length);
    if (directions.length) {
      program.vec3("uDirections", directions.flat());
      program.vec3("uColors", colors.flat());
    }
    program.int("uShadows", frame.shadows.length ? 1 : 0);
    if (frame.shadows.length) {
      program.vec4("uFrames", frame.shadows.flatMap(({ rows }) => [...rows]));
      program.vec2("uDepthRanges", frame.shadows.flatMap(({ nearest, range }) => [nearest, range]));
    }
    bind(gl, 0, gl.TEXTURE_2D_ARRAY, this.#shadows.texture);
    program.int("uShadowMaps", 0);
    const owner = drawn.part.texturesOf === undefined ? drawn : partNamed(frame.parts, drawn.part.texturesOf);
    let unit = 1;
    for (const [slot, texture] of owner.textures) {
      const blended = slot === "diffuse" ? owner.blended?.texture : null;
      bind(gl, unit, gl.TEXTURE_2D, blended ?? texture.upload(gl));
      program.int(samplerOf(slot), unit++);
    }
    this.#bindReflections(program, unit, frame.reflections);
  }

  /** @param {ImageTarget} image @param {Frame} frame */
  #finish(image, { camera, background, reflections }) {
    const { gl } = this;
    const { focal, centerX, centerY } = camera;
    gl.viewport(0, 0, image.width, image.height);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.disable(gl.CULL_FACE);
    const program = this.#program("finish");
    bind(gl, 1, gl.TEXTURE_2D, image.texture);
    program.int("uImage", 1);
    const backdrop = background === "surroundings" && reflections !== null;
    program.int("uBackdrop", backdrop ? 1 : 0);
    program.vec4("uBackground", background && background !== "surroundings" ? [...background, 1] : [0, 0, 0, 0]);
    program.vec3("uCamera", [focal, centerX, image.height - centerY]);
    this.#bindReflections(program, 2, reflections);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** @param {Program} program @param {number} unit first free texture unit @param {Reflections | null} reflections */
  #bindReflections(program, unit, reflections) {
    const { gl } = this;
    const textures = this.#reflections;
    program.int("uEnvironment", textures ? 1 : 0);
    program.float("uTurn", (reflections?.turn ?? 0) / (2 * Math.PI));
    program.float("uLevel", reflections?.intensity ?? 1);
    program.float("uLastLevel", textures?.lastLevel ?? 0);
    bind(gl, unit, gl.TEXTURE_2D, textures?.panoramas ?? null);
    bind(gl, unit + 1, gl.TEXTURE_2D, textures?.table ?? null);
    program.int("uReflections", unit);
    program.int("uSplitSum", unit + 1);
  }
}

/** @param {string} slot */
function samplerOf(slot) {
  return `u${slot[0].toUpperCase()}${slot.slice(1)}`;
}

/**
 * @param {WebGL2RenderingContext} gl
 * @param {number} unit
 * @param {number} target
 * @param {WebGLTexture | null} texture
 */
function bind(gl, unit, target, texture) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(target, texture);
}
