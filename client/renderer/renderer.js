/**
 * The avatar drawn in the page with WebGL2: the image of `fitme/hair/head_renderer.py`, by the same formulas, at the rate
 * of the screen. Setters keep what they are given and touch no GPU; `draw` uploads what has changed, so that a lost
 * context is made up for by the next draw.
 */

import { DrawnPart, partNamed } from "./drawn_part.js";
import { WebGL2Missing } from "./gl.js";
import { MATERIALS } from "./materials.js";
import { boundingSphere, fittedCamera, projectionOf, shadowFrame } from "./projection.js";
import { SH_COUNT, SH_NORMS } from "./reflection.js";
import { RenderPasses } from "./render_passes.js";
import { matrixOfQuaternion } from "./rotations.js";
import { MAX_LIGHTS } from "./shaders/shading_glsl.js";

export { ShaderError, WebGL2Missing } from "./gl.js";

/** @typedef {import("./mesh.js").Part} Part */
/** @typedef {import("./rotations.js").Vector} Vector */
/** @typedef {import("./scene.js").Light} Light */
/** @typedef {import("./scene.js").Pose} Pose */
/** @typedef {import("./projection.js").Camera} Camera */
/** @typedef {import("./textures.js").TextureSource} TextureSource */
/** @typedef {import("./correctives.js").Correctives} Correctives */
/** @typedef {import("./render_passes.js").Frame} Frame */
/** @typedef {import("./render_passes.js").Reflections} Reflections */

const EXPRESSION_COUNT = 52;
const DEFAULT_SAMPLES = 4;

/** Draws an avatar's parts on one canvas. */
export class AvatarRenderer {
  /** @type {() => void} the context was lost: nothing is drawn until it is restored */
  onLost = () => undefined;
  /** @type {() => void} */
  onRestored = () => undefined;
  /** Milliseconds of the last draw without calls of WebGL: expression, normals, matrices. */
  computeMs = 0;

  /** @type {Map<string, DrawnPart>} */
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
  /** @type {RenderPasses | null} */
  #passes = null;

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
    before?.buffers?.delete();
    this.#parts.set(part.name, new DrawnPart(part, material, before));
    for (const [slot, source] of Object.entries(part.textures ?? {})) this.setTexture(part.name, slot, source);
    this.#changed = true;
  }

  /** @param {string} name */
  removePart(name) {
    const drawn = this.#parts.get(name);
    if (!drawn) return;
    drawn.delete(this.gl);
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
    const drawn = this.#part(name);
    drawn.texture(slot).set(source);
    drawn.repainted = true;
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
    const drawn = this.#part(name);
    drawn.texture(slot).setRegion({ x, y, source });
    drawn.repainted = true;
    this.#changed = true;
  }

  /**
   * @param {string} name of a part with a `diffuse` texture
   * @param {Correctives | null} correctives
   */
  setCorrectives(name, correctives) {
    this.#part(name).setCorrectives(correctives);
    this.#changed = true;
  }

  /** @param {Float32Array} weights (52) in the order of `EXPRESSION_NAMES`, in [0, 1] */
  setExpression(weights) {
    if (weights.length !== EXPRESSION_COUNT) throw new RangeError(`an expression has 52 weights, not ${weights.length}`);
    this.#expression = weights;
    for (const drawn of this.#parts.values()) drawn.moved ||= drawn.expressive;
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
    if (reflections?.levels !== this.#reflections?.levels) this.#passes?.dropReflections();
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
    const passes = (this.#passes ??= new RenderPasses(gl, this.#samples));
    if (passes.hasImageOf(canvas.width, canvas.height) && !this.#changed) return false;
    passes.draw(this.#compute());
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
    this.#passes?.delete();
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  #lose = (/** @type {Event} */ event) => {
    event.preventDefault(); // without it the context is never restored
    this.#passes = null;
    for (const drawn of this.#parts.values()) drawn.lose();
    this.onLost();
  };

  #restore = () => {
    this.#changed = true;
    this.onRestored();
  };

  /** @param {string} name */
  #part(name) {
    return partNamed(this.#parts, name);
  }

  /**
   * What does not need the GPU: morphed vertices, matrices, weights of correctives.
   * @returns {Frame}
   */
  #compute() {
    const start = performance.now();
    const parts = [...this.#parts.values()];
    // Parts that follow others come after those.
    for (const drawn of parts) if (drawn.part.bound?.to === undefined) drawn.morph(this.#expression);
    for (const drawn of parts)
      if (drawn.part.bound?.to !== undefined) drawn.morph(this.#expression, this.#part(drawn.part.bound.to));
    const rotation = matrixOfQuaternion(this.#pose.rotation);
    const casting = parts.filter(({ part, material }) => part.castsShadow ?? material.castsShadow);
    const sphere = boundingSphere(casting.map(({ mesh }) => mesh.positions), rotation, this.#pose.translation);
    const camera = fittedCamera(this.#camera, this.canvas.width, this.canvas.height);
    const frame = {
      parts: this.#parts,
      rotation,
      translation: this.#pose.translation,
      camera,
      projection: projectionOf(camera),
      casting,
      shadows: casting.length ? this.#light.directions.map((direction) => shadowFrame(direction, sphere)) : [],
      light: this.#light,
      sh: this.#light.sh.map((value, index) => value * SH_NORMS[Math.floor(index / 3)]),
      background: this.#background,
      reflections: this.#reflections,
    };
    this.computeMs = performance.now() - start;
    return frame;
  }
}
