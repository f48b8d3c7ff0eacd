/**
 * Surroundings that light the avatar: those of a scene's preset, the same for everybody who watches, or a panorama that the
 * person has opened, for this page alone. Panoramas are read and blurred by a worker.
 */

import { environmentLight } from "./panorama.js";
import { PRESETS } from "./environment_presets.js";
import { linearColor, sceneLight } from "../scene.js";

/** @typedef {import("./panorama.js").Environment} Environment */
/** @typedef {{environment: Environment, levels: Float32Array[]}} Blurred */

/** Begins the names of scenes' presets that are panoramas. */
export const PANORAMA_PREFIX = "panorama-";

/** A panorama that could not be read; `title` and `message` are for the person. */
export class SurroundingsError extends Error {
  /** @param {{code: string, title: string, message: string}} problem */
  constructor({ code, title, message }) {
    super(message);
    this.code = code;
    this.title = title;
  }
}

/**
 * Name of the panorama of a scene's preset, null for other presets.
 * @param {string} preset
 */
export function panoramaOf(preset) {
  const name = preset.startsWith(PANORAMA_PREFIX) ? preset.slice(PANORAMA_PREFIX.length) : "";
  return name in PRESETS ? name : null;
}

export class SurroundingsLight {
  /** The surroundings are seen behind the avatar. */
  shown = true;
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Map<number, {resolve: (blurred: Blurred) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();
  #count = 0;
  /** @type {Map<string, Blurred | null>} presets; null while the worker has one */
  #presets = new Map();
  /** @type {Blurred | null} */
  #own = null;
  /** @type {{environment: Environment, turn: number, light: import("../scene.js").Light} | null} */
  #lit = null;

  /** @param {() => void} onChanged another light is to be applied */
  constructor(onChanged) {
    this.onChanged = onChanged;
  }

  /** Whether a panorama of this page takes the place of the scene's preset. */
  get isOwn() {
    return this.#own !== null;
  }

  /**
   * Light the avatar by a panorama's file from now on.
   * @param {Blob} file
   * @throws {SurroundingsError}
   */
  async open(file) {
    this.#own = await this.#ask({ file });
    this.onChanged();
  }

  /** Light the avatar as the scene says. */
  forget() {
    this.#own = null;
    this.onChanged();
  }

  /** @param {boolean} shown behind the avatar */
  show(shown) {
    this.shown = shown;
    this.onChanged();
  }

  /**
   * Give a renderer the light of a scene.
   * @param {import("../renderer.js").AvatarRenderer} renderer
   * @param {import("../scene.js").Scene & {background: import("../rotations.js").Vector}} scene
   * @param {Float32Array | null} fittedSh
   */
  apply(renderer, scene, fittedSh) {
    const blurred = this.#own ?? this.#preset(panoramaOf(scene.preset));
    const turn = scene.turn ?? 0;
    renderer.setLight(sceneLight(scene, fittedSh, blurred && this.#light(blurred.environment, turn)));
    renderer.setEnvironment(blurred && { levels: blurred.levels, turn, intensity: scene.ambient });
    renderer.setBackground(blurred && this.shown ? "surroundings" : linearColor(scene.background));
  }

  /** Stop the worker. */
  close() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#waiting.clear();
  }

  /** @param {Environment} environment @param {number} turn */
  #light(environment, turn) {
    if (this.#lit?.environment !== environment || this.#lit.turn !== turn)
      this.#lit = { environment, turn, light: environmentLight(environment, turn) };
    return this.#lit.light;
  }

  /**
   * A preset's surroundings, or null until they are made.
   * @param {string | null} name
   */
  #preset(name) {
    if (name === null) return null;
    const known = this.#presets.get(name);
    if (known !== undefined) return known;
    this.#presets.set(name, null);
    this.#ask({ preset: name }).then(
      (blurred) => {
        this.#presets.set(name, blurred);
        this.onChanged();
      },
      (error) => console.error(error), // the preset's soft light stays
    );
    return null;
  }

  /**
   * @param {{preset?: string, file?: Blob}} request
   * @returns {Promise<Blurred>}
   */
  #ask(request) {
    const worker = (this.#worker ??= this.#start());
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, ...request });
    });
  }

  #start() {
    const worker = new Worker(new URL("./environment_worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data: { id, environment, levels, problem } }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (problem) waiting?.reject(new SurroundingsError(problem));
      else waiting?.resolve({ environment, levels });
    };
    worker.onerror = () => {
      const problem = { code: "failed", title: "The panorama could not be read", message: "The browser has stopped its reader." };
      for (const { reject } of this.#waiting.values()) reject(new SurroundingsError(problem));
      this.close();
    };
    return worker;
  }
}
