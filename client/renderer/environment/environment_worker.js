/** Worker that reads a panorama, or makes a preset's, and blurs it: some tenths of a second off the page's thread. */

import { environmentOf } from "./panorama.js";
import { readPanorama } from "./panorama_files.js";
import { presetEnvironment } from "./environment_presets.js";
import { reflectionsOf } from "../reflections.js";

/** @param {MessageEvent<{id: number, preset?: string, file?: Blob}>} event */
self.onmessage = async ({ data: { id, preset, file } }) => {
  try {
    const environment = preset ? presetEnvironment(preset) : environmentOf(await readPanorama(/** @type {Blob} */ (file)));
    self.postMessage({ id, environment, levels: reflectionsOf(environment.panorama) });
  } catch (error) {
    const { code = "failed", title = "The panorama could not be read", message } = /** @type {any} */ (error);
    self.postMessage({ id, problem: { code, title, message } });
  }
};
