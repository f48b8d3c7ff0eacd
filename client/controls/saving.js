/** Buttons that save the avatar: as a GLB, a picture or a clip. */

import { find, toast } from "../page/dom.js";
import { canRecord, recordClip, saveFile, takePicture } from "../avatar/recording.js";
import { fetchAvatar } from "../server/signalling.js";
import { asPlainError } from "../page/texts.js";

const button = (/** @type {string} */ selector) => /** @type {HTMLButtonElement} */ (find(selector));

/**
 * Let the buttons work.
 * @param {() => string | null} session id of the running session
 * @param {() => HTMLCanvasElement} image of the avatar as it is shown
 * @param {import("./controls.js").SceneControls} controls
 */
export function listenToSaving(session, image, controls) {
  button("#download").addEventListener("click", () => download(session()));
  button("#picture").addEventListener("click", () => savePicture(image));
  button("#clip").addEventListener("click", () => saveClip(image, controls));
  button("#clip").hidden = !canRecord();
}

/** @param {string | null} session */
async function download(session) {
  if (!session) return;
  button("#download").disabled = true;
  button("#download").textContent = "Preparing…";
  try {
    saveFile(await fetchAvatar(session), "avatar");
    performance.mark("fitme:glb");
  } catch (error) {
    const problem = asPlainError(error);
    toast(problem.code === "not_ready" ? "Your head is not ready yet: some seconds more." : `${problem.title}. ${problem.text}`);
  } finally {
    button("#download").disabled = false;
    button("#download").textContent = "Download GLB";
  }
}

/** @param {() => HTMLCanvasElement} image */
async function savePicture(image) {
  try {
    saveFile(await takePicture(image), "avatar");
  } catch (error) {
    toast(asPlainError(error).text);
  }
}

/**
 * Record the avatar as it turns by itself under a light that goes round it, then put all back.
 * @param {() => HTMLCanvasElement} image
 * @param {import("./controls.js").SceneControls} controls
 */
async function saveClip(image, controls) {
  const clip = button("#clip");
  clip.disabled = true;
  const restore = controls.beginShow();
  try {
    const recorded = await recordClip(image, (share) => {
      clip.textContent = `${Math.round(share * 100)} %`;
      controls.showAt(share);
    });
    saveFile(recorded, "avatar");
  } catch (error) {
    toast(asPlainError(error).text);
  } finally {
    restore();
    clip.disabled = false;
    clip.textContent = "Clip";
  }
}
