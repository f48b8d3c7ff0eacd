/**
 * The avatar drawn in the page with WebGL2: the image of `fitme/hair/head_renderer.py`, by the same formulas, at the rate
 * of the screen. Setters keep what they are given and touch no GPU; `draw` uploads what has changed, so that a lost
 * context is made up for by the next draw.
 */

import { BLEND_FRAGMENT, BLEND_VERTEX, CorrectiveBlend } from "./correctives.js";
import { FINISH_FRAGMENT } from "./shaders/finish_glsl.js";
import { Program, WebGL2Missing } from "./gl.js";
import { MATERIALS } from "./materials.js";
import { PartMesh } from "./mesh.js";
import { PartBuffers } from "./buffers.js";
import { boundingSphere, fittedCamera, projectionOf, shadowFrame } from "./projection.js";
import { SH_COUNT, SH_NORMS } from "./reflection.js";
import { matrixOfQuaternion } from "./rotations.js";
import { EMPTY_FRAGMENT, MAX_LIGHTS, SHADOW_VERTEX, VERTEX } from "./shaders/shading_glsl.js";
import { BlendTarget, ImageTarget, ReflectionTextures, ShadowTarget } from "./targets.js";
import { Texture } from "./textures.js";

export { ShaderError, WebGL2Missing } from "./gl.js";

/** @typedef {import("./mesh.js").Part} Part */
/** @typedef {import("./materials.js").Material} Material */
/** @typedef {import("./rotations.js").Vector} Vector */
/** @typedef {import("./scene.js").Light} Light */
/** @typedef {import("./scene.js").Pose} Pose */
/** @typedef {import("./projection.js").Camera} Camera */
/** @typedef {import("./textures.js").TextureSource} TextureSource */
/** @typedef {import("./correctives.js").Correctives} Correctives */

const EXPRESSION_COUNT = 52;
const DEFAULT_SAMPLES = 4;

/**
 * A part as it is drawn.
 * @typedef {object} Drawn
 * @property {Part} part
 * @property {Material} material
 * @property {PartMesh} mesh
 * @property {Map<string, Texture>} textures
 * @property {PartBuffers | null} buffers
 * @property {CorrectiveBlend | null} blend
 * @property {BlendTarget | null} blended
 * @property {boolean} moved its vertices have to be computed
 * @property {boolean} repainted its albedo has to be blended
 */

/**
 * @typedef {object} Reflections
 * @property {Float32Array[]} levels of `reflectionsOf`
 * @property {number} turn radians
 * @property {number} [intensity] scale of what is mirrored, 1 if left out
 */

/**
 * What one draw has computed.
 * @typedef {object} Frame
 * @property {import("./rotations.js").Matrix} rotation
 * @property {Vector} translation
 * @property {Camera} camera of the canvas
 * @property {Float32Array} projection
 * @property {Drawn[]} casting parts that cast shadows
 * @property {import("./projection.js").ShadowFrame[]} shadows one a directional light
 * @property {Float32Array} sh (9 * 3) times the norms of the basis
 */

/** Draws an avatar's parts on one canvas. */
export class AvatarRenderer {
  /** @type {() => void} the context was lost: nothing is drawn until it is restored */
  onLost = () => undefined;
  /** @type {() => void} */
  onRestored = () => undefined;
  /** Milliseconds of the last draw without calls of WebGL: expression, normals, matrices. */
  computeMs = 0;

  /** @type {Map<string, Drawn>} */
  #parts = new Map();
  #expression = new Float32Array(EXPRESSION_COUNT);
  /** @type {Pose} */
  #pose = { rotation: [0, 0, 0, 1], translation: [0, 0, -0.6] };
  /** @type {Camera} */
  #camera = { focal: 1.55, centerX: 0.5, centerY: 0.45, width: 1, height: 1 };
  /** @type {Light} */
  #light = { sh: new Float32Array(SH_COUNT * 3), directions: [], colors: [] };
  /** @type {Vector | "surroundings" | null} */
  #background = null;
  /** @type {Reflections | null} */
  #reflections = null;
  #changed = true;
  #samples;
  /** @type {{image: ImageTarget | null, shadows: ShadowTarget, reflections: ReflectionTextures | null, programs: Map<string, Program>} | null} */
  #gpu = null;

  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {{samples?: number}} [options] samples a pixel, for smooth edges
   * @throws {WebGL2Missing}
   */
  constructor(canvas, { samples = DEFAULT_SAMPLES } = {}) {
    this.canvas = canvas;
    this.#samples = samples;
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, depth: false, premultipliedAlpha: true });
    if (!gl) throw new WebGL2Missing();
    this.gl = /** @type {WebGL2RenderingContext} */ (gl);
    canvas.addEventListener("webglcontextlost", this.#lose);
    canvas.addEventListener("webglcontextrestored", this.#restore);
  }

  /** Names of the parts, in the order in which they were set. */
  get partNames() {
    return [...this.#parts.keys()];
  }

  /** @param {Part} part replaces the part of the same name */
  setPart(part) {
    const material = MATERIALS[part.material];
    if (!material) throw new RangeError(`no material ${part.material}; there are ${Object.keys(MATERIALS).join(", ")}`);
    const before = this.#parts.get(part.name);
    if (part.texturesOf !== undefined && MATERIALS[this.#part(part.texturesOf).part.material].textures !== material.textures)
      throw new RangeError(`the textures of ${part.texturesOf} are not those of ${part.material}`);
    const textures = new Map(Object.entries(material.textures).map(([slot, format]) => {
      const kept = before?.material === material ? before.textures.get(slot) : undefined;
      return [slot, kept ?? new Texture(format)];
    }));
    before?.buffers?.delete();
    this.#parts.set(part.name, {
      part, material, textures, mesh: new PartMesh(part, material.shininess), buffers: null, moved: true,
      blend: before?.blend ?? null, blended: before?.blended ?? null, repainted: true,
    });
    for (const [slot, source] of Object.entries(part.textures ?? {})) this.setTexture(part.name, slot, source);
    this.#changed = true;
  }

  /** @param {string} name */
  removePart(name) {
    const drawn = this.#parts.get(name);
    if (!drawn) return;
    drawn.buffers?.delete();
    drawn.blended?.delete();
    for (const texture of drawn.textures.values()) texture.delete(this.gl);
    this.#parts.delete(name);
    this.#changed = true;
  }

  /**
   * @param {string} name
   * @param {Float32Array} positions (V * 3) of another identity
   */
  setPositions(name, positions) {
    const drawn = this.#part(name);
    drawn.mesh.setNeutral(positions);
    drawn.moved = true;
    this.#changed = true;
  }

  /**
   * @param {string} name
   * @param {string} slot
   * @param {TextureSource} source
   */
  setTexture(name, slot, source) {
    this.#texture(name, slot).set(source);
    this.#part(name).repainted = true;
    this.#changed = true;
  }

  /**
   * @param {string} name
   * @param {string} slot
   * @param {number} x texels from the left
   * @param {number} y texels from the top
   * @param {TextureSource} source
   */
  setTextureRegion(name, slot, x, y, source) {
    this.#texture(name, slot).setRegion({ x, y, source });
    this.#part(name).repainted = true;
    this.#changed = true;
  }

  /**
   * @param {string} name of a part with a `diffuse` texture
   * @param {Correctives | null} correctives
   */
  setCorrectives(name, correctives) {
    const drawn = this.#part(name);
    drawn.blended?.delete();
    drawn.blended = null;
    drawn.blend = correctives && new CorrectiveBlend(correctives);
    drawn.repainted = true;
    this.#changed = true;
  }

  /** @param {Float32Array} weights (52) in the order of `EXPRESSION_NAMES`, in [0, 1] */
  setExpression(weights) {
    if (weights.length !== EXPRESSION_COUNT) throw new RangeError(`an expression has 52 weights, not ${weights.length}`);
    this.#expression = weights;
    for (const drawn of this.#parts.values())
      drawn.moved ||= Boolean(drawn.part.morphs ?? drawn.part.eyeballs ?? drawn.part.turnsWith);
    this.#changed = true;
  }

  /** @param {Pose} pose */
  setPose(pose) {
    this.#pose = pose;
    this.#changed = true;
  }

  /** @param {Camera} camera */
  setCamera(camera) {
    this.#camera = camera;
    this.#changed = true;
  }

  /** @param {Light} light at most `MAX_LIGHTS` directional ones */
  setLight(light) {
    if (light.directions.length > MAX_LIGHTS)
      throw new RangeError(`at most ${MAX_LIGHTS} directional lights, not ${light.directions.length}`);
    this.#light = light;
    this.#changed = true;
  }

  /**
   * Mirror surroundings; `setLight` is to be given their light, `environmentLight` with the same turn.
   * @param {Reflections | null} reflections null: the light's harmonics alone describe the surroundings
   */
  setEnvironment(reflections) {
    if (reflections?.levels !== this.#reflections?.levels && this.#gpu) {
      this.#gpu.reflections?.delete();
      this.#gpu.reflections = null;
    }
    this.#reflections = reflections;
    this.#changed = true;
  }

  /** @param {Vector | "surroundings" | null} background linear; "surroundings": those of `setEnvironment`; null: transparent */
  setBackground(background) {
    this.#background = background;
    this.#changed = true;
  }

  /**
   * Draw if anything has changed since the last draw.
   * @returns {boolean} whether it drew
   */
  draw() {
    const { gl, canvas } = this;
    if (gl.isContextLost()) return false;
    const { image } = this.#resources();
    if (image && image.width === canvas.width && image.height === canvas.height && !this.#changed) return false;
    const frame = this.#compute();
    this.#upload();
    this.#drawShadows(frame);
    this.#drawImage(frame);
    this.#changed = false;
    return true;
  }

  /**
   * The image of the last draw, to be called in the same task: rows from the top.
   * @returns {ImageData}
   */
  read() {
    const { gl } = this;
    const { width, height } = this.canvas;
    const rows = new Uint8Array(width * height * 4);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rows);
    const image = new ImageData(width, height);
    for (let row = 0; row < height; row++)
      image.data.set(rows.subarray((height - 1 - row) * width * 4, (height - row) * width * 4), row * width * 4);
    return image;
  }

  /** Release the GPU's memory; nothing can be drawn afterwards. */
  close() {
    this.canvas.removeEventListener("webglcontextlost", this.#lose);
    this.canvas.removeEventListener("webglcontextrestored", this.#restore);
    for (const name of [...this.#parts.keys()]) this.removePart(name);
    this.#gpu?.image?.delete();
    this.#gpu?.reflections?.delete();
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  #lose = (/** @type {Event} */ event) => {
    event.preventDefault(); // without it the context is never restored
    this.#gpu = null;
    for (const drawn of this.#parts.values()) {
      drawn.buffers = null;
      drawn.blended = null;
      drawn.moved = true;
      drawn.repainted = true;
      for (const texture of drawn.textures.values()) texture.lose();
    }
    this.onLost();
  };

  #restore = () => {
    this.#changed = true;
    this.onRestored();
  };

  /** @param {string} name */
  #part(name) {
    const drawn = this.#parts.get(name);
    if (!drawn) throw new RangeError(`there is no part ${name}`);
    return drawn;
  }

  /** @param {string} name @param {string} slot */
  #texture(name, slot) {
    const texture = this.#part(name).textures.get(slot);
    if (!texture) throw new RangeError(`a part of ${this.#part(name).part.material} has no texture ${slot}`);
    return texture;
  }

  #resources() {
    const { gl } = this;
    this.#gpu ??= {
      image: null,
      shadows: new ShadowTarget(gl),
      reflections: null,
      programs: new Map([
        ["shadow", new Program(gl, SHADOW_VERTEX, EMPTY_FRAGMENT)],
        ["blend", new Program(gl, BLEND_VERTEX, BLEND_FRAGMENT)],
        ["finish", new Program(gl, BLEND_VERTEX, FINISH_FRAGMENT)],
        ["depth", new Program(gl, VERTEX, EMPTY_FRAGMENT)],
      ]),
    };
    return this.#gpu;
  }

  /** @param {string} name @param {string} [fragment] of a material, compiled at its first use */
  #program(name, fragment) {
    const { programs } = this.#resources();
    let program = programs.get(name);
    if (!program) programs.set(name, program = new Program(this.gl, VERTEX, /** @type {string} */ (fragment)));
    program.use();
    return program;
  }

  /**
   * What does not need the GPU: morphed vertices, matrices, weights of correctives.
   * @returns {Frame}
   */
  #compute() {
    const start = performance.now();
    const parts = [...this.#parts.values()];
    const following = parts.filter(({ part }) => part.bound?.to !== undefined);
    for (const drawn of parts.filter(({ part }) => part.bound?.to === undefined)) if (drawn.moved) drawn.mesh.morph(this.#expression);
    for (const drawn of following) {
      const followed = this.#part(/** @type {string} */ (drawn.part.bound?.to));
      drawn.moved ||= followed.moved;
      if (drawn.moved) drawn.mesh.morph(this.#expression, followed.mesh.positions);
    }
    for (const drawn of this.#parts.values())
      if (drawn.blend && drawn.blend.update(this.#expression)) drawn.repainted = true;
    const rotation = matrixOfQuaternion(this.#pose.rotation);
    const casting = [...this.#parts.values()].filter(({ part, material }) => part.castsShadow ?? material.castsShadow);
    const sphere = boundingSphere(casting.map(({ mesh }) => mesh.positions), rotation, this.#pose.translation);
    const camera = fittedCamera(this.#camera, this.canvas.width, this.canvas.height);
    const frame = {
      rotation,
      translation: this.#pose.translation,
      camera,
      projection: projectionOf(camera),
      casting,
      shadows: casting.length ? this.#light.directions.map((direction) => shadowFrame(direction, sphere)) : [],
      sh: this.#light.sh.map((value, index) => value * SH_NORMS[Math.floor(index / 3)]),
    };
    this.computeMs = performance.now() - start;
    return frame;
  }

  /** Bring to the GPU what has changed. Binds textures, so that nothing else may be bound before. */
  #upload() {
    const { gl } = this;
    const gpu = this.#resources();
    if (this.#reflections) gpu.reflections ??= new ReflectionTextures(gl, this.#reflections.levels);
    for (const drawn of this.#parts.values()) {
      drawn.buffers ??= new PartBuffers(gl, drawn.mesh);
      if (drawn.moved) drawn.buffers.update();
      drawn.moved = false;
      const textures = new Map([...drawn.textures].map(([slot, texture]) => [slot, texture.upload(gl)]));
      if (drawn.blend && drawn.repainted) this.#blendAlbedo(drawn, drawn.blend, textures.get("diffuse") ?? null);
      drawn.repainted = false;
    }
  }

  /**
   * @param {Drawn} drawn
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
      this.#resources().shadows.begin(light);
      program.vec4("uFrame", rows);
      program.vec2("uDepthRange", [nearest, range]);
      for (const { buffers } of casting) buffers?.drawCasting();
    });
  }

  /** @param {Frame} frame */
  #drawImage(frame) {
    const { gl } = this;
    const { width, height } = this.canvas;
    const gpu = this.#resources();
    if (gpu.image && (gpu.image.width !== width || gpu.image.height !== height)) {
      gpu.image.delete();
      gpu.image = null;
    }
    const image = (gpu.image ??= new ImageTarget(gl, width, height, this.#samples));
    image.begin();
    gl.enable(gl.DEPTH_TEST);
    const ofPass = (/** @type {Material["pass"]} */ pass) => [...this.#parts.values()].filter(({ material }) => material.pass === pass);
    for (const drawn of ofPass("solid")) this.#drawSolid(drawn, frame);
    gl.disable(gl.CULL_FACE);
    for (const drawn of ofPass("cover")) this.#drawCover(drawn, frame);
    for (const drawn of ofPass("layer")) this.#drawLayer(drawn, frame);
    image.resolve();
    this.#finish(image, frame.camera);
  }

  /** @param {Drawn} drawn @param {Frame} frame */
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
   * @param {Drawn} drawn
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
   * @param {Drawn} drawn
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

  /** @param {Program} program @param {Drawn} drawn @param {Frame} frame */
  #place(program, { material }, { rotation, translation, projection }) {
    program.mat3("uRotation", rotation);
    program.vec3("uTranslation", translation);
    program.mat4("uProjection", projection);
    program.float("uDepthOffset", material.depthOffset);
    program.float("uTowardsCamera", material.towardsCamera);
  }

  /** @param {Drawn} drawn @param {Frame} frame */
  #prepare(drawn, frame) {
    const { gl } = this;
    const program = this.#program(drawn.part.material, drawn.material.fragment);
    this.#place(program, drawn, frame);
    const { directions, colors } = this.#light;
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
    bind(gl, 0, gl.TEXTURE_2D_ARRAY, this.#resources().shadows.texture);
    program.int("uShadowMaps", 0);
    const owner = drawn.part.texturesOf === undefined ? drawn : this.#part(drawn.part.texturesOf);
    let unit = 1;
    for (const [slot, texture] of owner.textures) {
      const blended = slot === "diffuse" ? owner.blended?.texture : null;
      bind(gl, unit, gl.TEXTURE_2D, blended ?? texture.upload(gl));
      program.int(samplerOf(slot), unit++);
    }
    this.#bindReflections(program, unit);
  }

  /** @param {ImageTarget} image @param {Camera} camera */
  #finish(image, { focal, centerX, centerY }) {
    const { gl } = this;
    gl.viewport(0, 0, image.width, image.height);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.disable(gl.CULL_FACE);
    const program = this.#program("finish");
    bind(gl, 1, gl.TEXTURE_2D, image.texture);
    program.int("uImage", 1);
    const background = this.#background;
    const backdrop = background === "surroundings" && this.#reflections !== null;
    program.int("uBackdrop", backdrop ? 1 : 0);
    program.vec4("uBackground", background && background !== "surroundings" ? [...background, 1] : [0, 0, 0, 0]);
    program.vec3("uCamera", [focal, centerX, image.height - centerY]);
    this.#bindReflections(program, 2);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** @param {Program} program @param {number} unit first free texture unit */
  #bindReflections(program, unit) {
    const { gl } = this;
    const textures = this.#resources().reflections;
    program.int("uEnvironment", textures ? 1 : 0);
    program.float("uTurn", (this.#reflections?.turn ?? 0) / (2 * Math.PI));
    program.float("uLevel", this.#reflections?.intensity ?? 1);
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
