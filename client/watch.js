/** Main module of a view link's page: shows somebody's avatar, and sends nothing but what asks for the next render. */

import { Notice, find, toast } from "./page/dom.js";
import { hexOf } from "./controls/directions.js";
import { embeddedBackground, hideControls } from "./page/embedded.js";
import { fullScreenButton } from "./controls/full_screen.js";
import { OwnLook } from "./avatar/own_look.js";
import { Sound } from "./avatar/sound.js";
import { VIEW_STATES } from "./page/texts.js";
import { AvatarStage } from "./avatar/avatar_stage.js";
import { ViewLink, tokenOf } from "./server/view_link.js";

/** @typedef {import("./server/view_link.js").ViewState} ViewState */

/** Nobody is there to reload a page inside another program. */
const RELOAD_MS = 3000;
/** Background of a page inside another program, which shows the avatar alone; null for one with controls. */
const background = embeddedBackground(location.search);
if (background !== null) hideControls(background);

const notice = new Notice();
const stage = find("#stage");
const avatar = new AvatarStage(() => undefined, () => link.renewFeeds());
const link = new ViewLink(tokenOf(location.pathname), {
  onState,
  onEvent: (event) => {
    avatar.update(event);
    if (event.type === "voice") sound.offer(event.on);
    if (event.type === "scene") look.follow(event);
  },
  onPiece: (message) => avatar.view?.pushPiece(message),
  onParameters: (message) => avatar.view?.pushParameters(message),
  onRender: (render) => avatar.show(render, (sequence) => link.acknowledge(sequence)),
  wants: () => avatar.wants,
}, { patient: background !== null });
if (avatar.view) avatar.view.transparent = background !== null;

/** @param {import("./server/messages.js").SceneEvent} scene */
function showScene(scene) {
  if (background === null || !avatar.draws) stage.style.backgroundColor = hexOf(scene.background);
  avatar.view?.setScene(scene);
}

const look = new OwnLook(find("#avatar"), stage, find("#owners-light"), showScene, () => avatar.draws);
const sound = new Sound(tokenOf(location.pathname), /** @type {HTMLButtonElement} */ (find("#sound")), find("#audio"), toast);

/** @param {ViewState} state */
function onState(state) {
  const { pill, tone, title, text, action } = VIEW_STATES[state];
  find("#connection").textContent = pill;
  find("#connection").dataset.tone = tone;
  find("#waiting-words").textContent = text;
  if (background !== null && state === "outdated") return void setTimeout(() => location.reload(), RELOAD_MS);
  if (state === "connecting") return undefined;
  if (state !== "live") sound.offer(false);
  if (state !== "live" && state !== "lost") avatar.reset();
  if (!title) return notice.hide();
  const again = () => { notice.hide(); link.start(); };
  const reload = () => location.reload();
  return notice.show(title, text, action ? [{ label: action, primary: true, run: state === "outdated" ? reload : again }] : []);
}

fullScreenButton(find("#fullscreen"), stage);
window.addEventListener("pagehide", () => link.close());
link.start();
