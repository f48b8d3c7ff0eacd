/** Main module of a view link's page: shows somebody's avatar, and sends nothing but what asks for the next render. */

import { Notice, find, toast } from "./dom.js";
import { hexOf } from "./directions.js";
import { fullScreenButton } from "./full_screen.js";
import { Sound } from "./sound.js";
import { VIEW_STATES } from "./texts.js";
import { Viewer } from "./viewer.js";
import { ViewLink, tokenOf } from "./view_link.js";

/** @typedef {import("./view_link.js").ViewState} ViewState */

const notice = new Notice();
const stage = find("#stage");
const viewer = new Viewer(/** @type {HTMLCanvasElement} */ (find("#avatar")), () => stage.classList.add("live"));
const link = new ViewLink(tokenOf(location.pathname), {
  onState,
  onEvent: (event) => {
    if (event.type === "scene") stage.style.backgroundColor = hexOf(event.background);
    else if (event.type === "voice") sound.offer(event.on);
  },
  onRender: (render) => viewer.show(render, (sequence) => link.acknowledge(sequence)),
});

const sound = new Sound(tokenOf(location.pathname), /** @type {HTMLButtonElement} */ (find("#sound")), find("#audio"), toast);

/** @param {ViewState} state */
function onState(state) {
  const { pill, tone, title, text, action } = VIEW_STATES[state];
  find("#connection").textContent = pill;
  find("#connection").dataset.tone = tone;
  find("#waiting-words").textContent = text;
  if (state === "connecting") return;
  if (state !== "live") {
    viewer.reset();
    sound.offer(false);
    stage.classList.remove("live");
  }
  if (!title) return notice.hide();
  const again = () => { notice.hide(); link.start(); };
  const reload = () => location.reload();
  return notice.show(title, text, action ? [{ label: action, primary: true, run: state === "outdated" ? reload : again }] : []);
}

fullScreenButton(find("#fullscreen"), stage);
window.addEventListener("pagehide", () => link.close());
link.start();
