/** The start of the page: consent, and what this browser and this server allow. */

import { cameraObstacle } from "../camera/capture.js";
import { find } from "./dom.js";
import { rememberedSession } from "../server/remembered.js";
import { fetchConfig, peerObstacle } from "../server/signalling.js";

export const DEFAULT_SAMPLE = "assets/sample.webm";

const button = (/** @type {string} */ selector) => /** @type {HTMLButtonElement} */ (find(selector));

/**
 * Show what is possible here.
 * @returns {Promise<string>} address of the sample clip, relative to the page
 * @throws {import("./texts.js").PlainError} if the server cannot be reached
 */
export async function prepareWelcome() {
  find("#server-name").textContent = location.host;
  const camera = cameraObstacle(), peer = peerObstacle();
  const agree = /** @type {HTMLInputElement} */ (find("#agree"));
  const update = () => { button("#start-camera").disabled = !agree.checked || (peer ?? camera) !== null; };
  agree.addEventListener("change", update);
  update();
  button("#start-sample").disabled = peer !== null;
  const obstacle = peer ?? camera;
  if (obstacle) {
    find("#welcome-hint").textContent = `${obstacle.title}. ${obstacle.text}`;
    find("#welcome-hint").dataset.tone = "bad";
  }
  find("#resume-choice").hidden = rememberedSession() === null;
  find("#portrait").addEventListener("error", () => { find(".portrait").hidden = true; });
  const config = await fetchConfig();
  button("#start-sample").hidden = config.sample === null;
  find("#key-choice").hidden = !config.key_needed;
  const days = config.limits.kept_days;
  find("#kept-days").textContent = days === null ? "" : `: then ${days} days after you last used it`;
  find("#grace").textContent = ` (at the latest ${Math.ceil(config.limits.grace_seconds)} s after the page is closed)`;
  return config.sample ?? DEFAULT_SAMPLE;
}

/**
 * Show one part of the page, with the focus where the eye goes.
 * @param {"welcome" | "session"} phase
 */
export function showPhase(phase) {
  const changed = document.body.dataset.phase !== phase;
  document.body.dataset.phase = phase;
  find("#welcome").hidden = phase !== "welcome";
  find("#session").hidden = phase !== "session";
  find("#leave").hidden = phase !== "session";
  const portrait = /** @type {HTMLVideoElement} */ (find("#portrait"));
  if (phase === "welcome") portrait.play().catch(() => undefined); // decoration: it may stay a still image
  else portrait.pause();
  if (!changed) return;
  window.scrollTo(0, 0);
  find(phase === "session" ? "#avatar" : "#welcome").focus({ preventScroll: true });
}
