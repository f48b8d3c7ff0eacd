/** Main module of the page: consent, a source of video, a session, and the actions of the page. */

import { listCameras, openCamera, openSample } from "./camera/capture.js";
import { listenToCheck, openCheck } from "./camera/check_dialog.js";
import { SceneControls } from "./controls/controls.js";
import { Notice, find, toast } from "./page/dom.js";
import { EnvironmentPicker } from "./controls/environment.js";
import { fullScreenButton } from "./controls/full_screen.js";
import { Guests } from "./controls/guests.js";
import { Programs } from "./controls/programs.js";
import { listenToTabs } from "./page/panels.js";
import { ControlQueue } from "./server/messages.js";
import { forgetKept, forgetTab, keptSession, rememberKept, rememberTab, rememberedSession } from "./server/remembered.js";
import { listenToSaving } from "./controls/saving.js";
import { LiveSession } from "./server/session.js";
import { deleteSession, enterKey, fetchConfig, setKept } from "./server/signalling.js";
import { SessionView } from "./page/session_view.js";
import { asPlainError, endedText } from "./page/texts.js";
import { VideoInput } from "./camera/video_input.js";
import { VoiceSwitch } from "./camera/voice_switch.js";
import { DEFAULT_SAMPLE, prepareWelcome, showPhase } from "./page/welcome.js";

/** @typedef {import("./server/messages.js").ServerEvent} ServerEvent */
/** @typedef {import("./server/session.js").ConnectionState} ConnectionState */

/** Shorter waits are not shown. */
const QUIET_WAIT_SECONDS = 0.9;

const button = (/** @type {string} */ selector) => /** @type {HTMLButtonElement} */ (find(selector));
const box = (/** @type {string} */ selector) => /** @type {HTMLInputElement} */ (find(selector));

/** @type {LiveSession | null} */
let session = null;
/** Counts starts and departures: what was begun under an earlier number is stopped as soon as it is there. */
let attempt = 0;
let kept = false;
let stored = false;
let sampleAddress = DEFAULT_SAMPLE;
let wasLive = false;
/** A request to erase everything is under way; its answer is shown, not the end of the session. */
let erasing = false;

const notice = new Notice();
const queue = new ControlQueue((message) => session?.send(message));
const controls = new SceneControls((type, fields) => {
  view.change(type, fields);
  queue.push(type, fields);
});
const view = new SessionView(controls, () => session?.renewFeeds());
const environment = new EnvironmentPicker(view.stage.view?.surroundings ?? null, (type, fields) => controls.send(type, fields));
const guests = new Guests(() => session?.id ?? null);
const programs = new Programs(() => session?.id ?? null);
const voice = new VoiceSwitch(box("#voice"), () => session);
const input = new VideoInput({
  onStopped: cameraStopped,
  onPicture: (text) => view.showPicture(text),
  onReplaced: async (stream) => {
    view.showCamera(stream, true);
    notice.hide();
    await session?.replaceStream(stream);
    await listVideoSources();
  },
});

/**
 * @param {string} text
 * @param {"idle" | "good" | "warn" | "bad"} tone
 */
function showConnection(text, tone) {
  find("#connection").textContent = text;
  find("#connection").dataset.tone = tone;
}

/** @param {string} [deviceId] */
async function startCamera(deviceId) {
  performance.mark("fitme:consent");
  const remembered = box("#resume").checked ? rememberedSession() : null;
  await start(() => openCamera(deviceId), true, remembered);
  await listVideoSources();
}

async function startSample() {
  performance.mark("fitme:consent");
  await start(() => openSample(new URL(sampleAddress, document.baseURI).href), false, null);
  await listVideoSources();
}

/**
 * Open a source of video and begin a session with it. The browser may ask the person for the camera meanwhile, who may
 * leave before answering.
 * @param {() => Promise<import("./camera/capture.js").VideoSource>} open
 * @param {boolean} flipped
 * @param {string | null} remembered session to go on with
 */
async function start(open, flipped, remembered) {
  leave();
  const current = attempt;
  // Until the server answers, so that leaving early does not erase what was kept.
  kept = remembered !== null && remembered === keptSession();
  showPhase("session");
  view.reset();
  view.showStatus("Opening the camera…");
  showConnection("Connecting", "idle");
  try {
    const opened = await open();
    if (current !== attempt) return opened.close();
    input.adopt(opened);
    view.showCamera(opened.stream, flipped);
    view.showStatus("Connecting…");
    await enterIfNeeded();
    const config = await fetchConfig();
    if (current !== attempt) return undefined;
    session = new LiveSession(config, opened.stream, remembered, {
      onConnectionState, onEvent, onRender, onSession,
      onPiece: (message) => view.stage.view?.pushPiece(message),
      onParameters: (message) => view.move(message),
      wants: () => view.wants,
    });
    session.start();
  } catch (error) {
    if (current !== attempt) return undefined;
    const problem = asPlainError(error);
    showConnection("Not connected", "bad");
    notice.show(problem.title, problem.text, [
      { label: "Try again", primary: true, run: () => (flipped ? startCamera() : startSample()) },
      ...(flipped ? [{ label: "Play the sample clip", run: startSample }] : []),
      { label: "Back", run: toWelcome },
    ]);
  }
  return undefined;
}

/** Give the server the access key that was entered, if there is a field for it. */
async function enterIfNeeded() {
  if (find("#key-choice").hidden) return;
  await enterKey(box("#access-key").value);
  find("#key-choice").hidden = true;
}

/** Stop camera and connections, those that are still being opened, too; the session's data on the server stays. */
function leave() {
  attempt += 1;
  session?.close();
  session = null;
  input.close();
  kept = false;
  stored = false;
  wasLive = false;
  notice.hide();
  guests.reset();
  voice.reset();
  showConnection("Not connected", "idle");
}

function toWelcome() {
  leave();
  find("#resume-choice").hidden = rememberedSession() === null;
  showPhase("welcome");
}

/** Leaving on purpose erases at once what is not kept. */
function leaveForGood() {
  if (session && !kept) {
    session.abandon();
    forgetTab();
  }
  toWelcome();
}

/** @param {boolean} permitted the browser would give the camera again */
function cameraStopped(permitted) {
  const [title, text] = permitted
    ? ["The camera has stopped", "It was unplugged, or went to sleep. Your head stays; plug the camera in again or pick another."]
    : ["The camera’s permission was taken back", "Your head stays. Allow the camera by the symbol next to the address, then use it again."];
  notice.show(title, text, [
    { label: "Use it again", primary: true, run: () => switchCamera(box("#camera-picker").value) },
    { label: "Leave", run: leaveForGood },
  ]);
}

/** @param {string} deviceId */
async function switchCamera(deviceId) {
  try {
    await input.exchange(deviceId);
  } catch (error) {
    const problem = asPlainError(error);
    toast(`${problem.title}. ${problem.text}`);
  }
  await listVideoSources();
}

/** Cameras have come or gone. */
async function camerasChanged() {
  if (!session) return;
  await listVideoSources();
  const cameras = await listCameras();
  await input.recover(cameras.map(({ id }) => id)).catch(() => undefined); // its notice goes on asking
}

async function listVideoSources() {
  const picker = /** @type {HTMLSelectElement} */ (find("#camera-picker"));
  const sources = input.source && !input.source.isCamera ? [{ id: "sample", label: "Sample clip" }] : await listCameras();
  picker.replaceChildren(...sources.map(({ id, label }) => new Option(label, id)));
  picker.disabled = sources.length < 2;
  if (input.device) picker.value = input.device;
}

/**
 * @param {string} id
 * @param {boolean} resumed
 */
function onSession(id, resumed) {
  const before = rememberedSession();
  const isCamera = input.source?.isCamera === true;
  if (before && before !== id && isCamera && keptSession() === before && box("#resume").checked) {
    forgetKept();
    toast("The head that you kept is no longer there: a new one begins.");
  }
  if (isCamera) rememberTab(id);
  if (resumed && wasLive) toast("Connected again: your head goes on.");
}

/** @param {ConnectionState} change */
function onConnectionState({ state, error, seconds }) {
  if (state === "connecting") return showConnection(wasLive ? "Reconnecting" : "Connecting", "warn");
  if (state === "live") {
    wasLive = true;
    notice.hide();
    view.showStatus("Looking for your face…");
    return showConnection("Live", "good");
  }
  if (state === "waiting" && error) {
    showConnection(error.code === "full" ? (error.place ? `Number ${error.place} in the line` : "Waiting for a place") : wasLive ? "Reconnecting" : "Connecting", "warn");
    if (seconds < QUIET_WAIT_SECONDS) return undefined;
    const wait = { seconds, text: (/** @type {number} */ left) => (left ? `Trying again in ${left} s.` : "Trying again…") };
    return notice.show(error.title, error.text, [
      { label: "Try now", primary: true, run: () => session?.retry() },
      ...(error.code === "no_route" ? [{ label: "Check the connection", run: openCheck }] : []),
      { label: "Leave", run: leaveForGood },
    ], wait);
  }
  showConnection("Not connected", "bad");
  if (error) {
    notice.show(error.title, error.text, [
      { label: "Reload the page", primary: true, run: () => location.reload() },
      { label: "Back", run: toWelcome },
    ]);
  }
  return undefined;
}

/** @param {import("./server/messages.js").Render} render */
function onRender(render) {
  const current = session;
  view.show(render, (sequence) => current?.acknowledge(sequence));
}

/** @param {ServerEvent} event */
function onEvent(event) {
  view.update(event);
  if (event.type === "scene") environment.update(event);
  if (event.type === "kept") showKept(event.kept, stored);
  else if (event.type === "stored") showKept(kept, event.stored);
  else if (event.type === "viewers") guests.count(event.count);
  else if (event.type === "progress") button("#download").disabled = !event.avatar;
  else if (event.type === "camera" && event.peer === session?.peer) {
    toast("The server cannot keep up with pictures of this size: smaller ones are sent.");
    session.limitCamera(event.max_pixels).catch(console.error);
  } else if (event.type === "ended" && !erasing) showEnded(event.reason);
  else if (event.type === "peer" && event.state === "replaced" && event.peer === session?.peer) showReplaced();
  else if (event.type === "error") {
    console.warn("the server reports", event.code, event.message);
    if (event.code !== "bad_message") toast(event.message);
  }
}

/** @param {string} reason */
function showEnded(reason) {
  if (reason === "deleted" || reason === "not_erased" || (reason === "expired" && !kept)) {
    forgetKept();
    forgetTab();
  }
  leave();
  view.reset();
  const problem = endedText(reason);
  notice.show(problem.title, problem.text, [{ label: "Back to the start", primary: true, run: toWelcome }]);
}

function showReplaced() {
  session?.yieldCamera();
  const text = "A session has one camera at a time. This page goes on showing the head.";
  notice.show("Another page sends the video now", text, [
    { label: "Send them from here", primary: true, run: () => { notice.hide(); session?.takeCamera(); } },
    { label: "Look on", run: () => notice.hide() },
  ]);
}

/**
 * @param {boolean} isKept the person asked to keep the session
 * @param {boolean} isStored the newest round is on the server's disk
 */
function showKept(isKept, isStored) {
  kept = isKept;
  stored = isStored;
  find("#kept").textContent = !kept ? "erased when you leave" : stored ? "kept on the server" : "not stored yet";
  button("#keep").setAttribute("aria-pressed", String(kept));
  button("#keep").textContent = kept ? "Kept" : "Keep";
  for (const name of ["#keep", "#delete", "#invite"]) button(name).disabled = false;
  if (kept && session?.id) rememberKept(session.id);
  else if (session?.id === keptSession()) forgetKept();
}

async function toggleKept() {
  if (!session?.id) return;
  try {
    const answer = await setKept(session.id, !kept);
    showKept(answer.kept, answer.stored);
    if (!kept) toast("Not kept: it is erased when you leave.");
    else toast(stored ? "Kept. Come back on this browser and go on." : "It will be kept once the server has stored it.");
  } catch (error) {
    toast(asPlainError(error).text);
  }
}

function askToDelete() {
  const id = session?.id;
  if (!id) return;
  const erase = async () => {
    erasing = true;
    notice.show("Erasing…", "A step of the fit that is under way may have to end first.", []);
    try {
      await deleteSession(id);
      showEnded("deleted");
    } catch (error) {
      const problem = asPlainError(error);
      if (problem.code === "erase_failed") return showEnded("not_erased");
      notice.hide();
      toast(`It is not certain that all was erased. ${problem.title}. ${problem.text}`);
    } finally {
      erasing = false;
    }
    return undefined;
  };
  notice.show("Erase everything?", "Your images, measurements and head are removed from the server. This cannot be undone.", [
    { label: "Erase", primary: true, run: erase },
    { label: "Go on", run: () => notice.hide() },
  ]);
}

find("#start").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!button("#start-camera").disabled) startCamera();
});
button("#start-sample").addEventListener("click", startSample);
button("#leave").addEventListener("click", leaveForGood);
button("#invite").addEventListener("click", () => { guests.open(); programs.open(); });
listenToSaving(() => session?.id ?? null, () => view.stage.image(), controls);
listenToCheck();
button("#open-check").addEventListener("click", openCheck);
fullScreenButton(button("#fullscreen"), find("#stage"));
listenToTabs(find("#tabs"), find("#session"));
button("#keep").addEventListener("click", toggleKept);
button("#delete").addEventListener("click", askToDelete);
find("#camera-picker").addEventListener("change", () => switchCamera(box("#camera-picker").value));
navigator.mediaDevices?.addEventListener("devicechange", camerasChanged);
try {
  sampleAddress = await prepareWelcome();
} catch (error) {
  showConnection(asPlainError(error).title, "bad");
}
