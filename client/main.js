/** Main module of the page: consent, a source of video, a session, and the actions of the page. */

import { cameraObstacle, listCameras, openCamera, openMicrophone, openSample } from "./capture.js";
import { SceneControls } from "./controls.js";
import { Notice, find, toast } from "./dom.js";
import { EnvironmentPicker } from "./environment.js";
import { fullScreenButton } from "./full_screen.js";
import { Guests } from "./guests.js";
import { listenToTabs } from "./panels.js";
import { canRecord, recordClip, saveFile, takePicture } from "./recording.js";
import { ControlQueue } from "./messages.js";
import { LiveSession } from "./session.js";
import { deleteSession, enterKey, fetchAvatar, fetchConfig, setKept } from "./signalling.js";
import { SessionView } from "./session_view.js";
import { PlainError, endedText } from "./texts.js";

/** @typedef {import("./messages.js").ServerEvent} ServerEvent */
/** @typedef {import("./session.js").ConnectionState} ConnectionState */

const KEPT_KEY = "fitme.kept-session";
const TAB_KEY = "fitme.tab-session";
const DEFAULT_SAMPLE = "assets/sample.webm";
/** Shorter waits are not shown. */
const QUIET_WAIT_SECONDS = 0.9;

const button = (/** @type {string} */ selector) => /** @type {HTMLButtonElement} */ (find(selector));
const box = (/** @type {string} */ selector) => /** @type {HTMLInputElement} */ (find(selector));

/** @type {LiveSession | null} */
let session = null;
/** @type {import("./capture.js").VideoSource | null} */
let source = null;
/** Counts starts and departures: what was begun under an earlier number is stopped as soon as it is there. */
let attempt = 0;
let kept = false;
let stored = false;
let sampleAddress = DEFAULT_SAMPLE;
let wasLive = false;
/** A request to erase everything is under way; its answer is shown, not the end of the session. */
let erasing = false;

/** @type {MediaStreamTrack | null} microphone that the guests hear */
let voice = null;

const notice = new Notice();
const queue = new ControlQueue((message) => session?.send(message));
const controls = new SceneControls((type, fields) => {
  view.change(type, fields);
  queue.push(type, fields);
});
const view = new SessionView(controls, () => session?.renewFeeds());
const environment = new EnvironmentPicker(view.stage.view?.surroundings ?? null, (type, fields) => controls.send(type, fields));
const guests = new Guests(() => session?.id ?? null);

/** @param {unknown} error */
function asPlainError(error) {
  if (error instanceof PlainError) return error;
  console.error(error);
  return new PlainError("Something went wrong", error instanceof Error ? error.message : String(error));
}

/**
 * Show one part of the page, with the focus where the eye goes.
 * @param {"welcome" | "session"} phase
 */
function showPhase(phase) {
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

/**
 * @param {string} text
 * @param {"idle" | "good" | "warn" | "bad"} tone
 */
function showConnection(text, tone) {
  find("#connection").textContent = text;
  find("#connection").dataset.tone = tone;
}

/** The session that this person may go on with: the one they kept, or the one of this tab before it was reloaded. */
function rememberedSession() {
  return localStorage.getItem(KEPT_KEY) ?? sessionStorage.getItem(TAB_KEY);
}

function forgetSession() {
  localStorage.removeItem(KEPT_KEY);
  sessionStorage.removeItem(TAB_KEY);
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
 * @param {() => Promise<import("./capture.js").VideoSource>} open
 * @param {boolean} flipped
 * @param {string | null} remembered session to go on with
 */
async function start(open, flipped, remembered) {
  leave();
  const current = attempt;
  // Until the server answers, so that leaving early does not erase what was kept.
  kept = remembered !== null && remembered === localStorage.getItem(KEPT_KEY);
  showPhase("session");
  view.reset();
  view.showStatus("Opening the camera…");
  showConnection("Connecting", "idle");
  try {
    const opened = await open();
    if (current !== attempt) return opened.close();
    source = opened;
    if (opened.isCamera) opened.stream.getVideoTracks()[0].addEventListener("ended", cameraStopped);
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
  source?.close();
  source = null;
  kept = false;
  stored = false;
  wasLive = false;
  notice.hide();
  guests.reset();
  voice?.stop();
  voice = null;
  box("#voice").checked = false;
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
    sessionStorage.removeItem(TAB_KEY);
  }
  toWelcome();
}

function cameraStopped() {
  const text = "It was unplugged, or its permission was taken back. Your head stays; plug the camera in again or pick another.";
  notice.show("The camera has stopped", text, [
    { label: "Use it again", primary: true, run: () => switchCamera(box("#camera-picker").value) },
    { label: "Leave", run: leaveForGood },
  ]);
}

/** @param {string} deviceId */
async function switchCamera(deviceId) {
  if (!session || !source?.isCamera) return;
  const current = session;
  try {
    const next = await openCamera(deviceId || undefined);
    if (current !== session) return next.close();
    source.close();
    source = next;
    next.stream.getVideoTracks()[0].addEventListener("ended", cameraStopped);
    await session.replaceStream(next.stream);
    view.showCamera(next.stream, true);
    notice.hide();
    await listVideoSources();
  } catch (error) {
    const problem = asPlainError(error);
    toast(`${problem.title}. ${problem.text}`);
  }
  return undefined;
}

async function listVideoSources() {
  const picker = /** @type {HTMLSelectElement} */ (find("#camera-picker"));
  const sources = source && !source.isCamera ? [{ id: "sample", label: "Sample clip" }] : await listCameras();
  picker.replaceChildren(...sources.map(({ id, label }) => new Option(label, id)));
  picker.disabled = sources.length < 2;
  const current = source?.isCamera ? source.stream.getVideoTracks()[0]?.getSettings().deviceId : undefined;
  if (current) picker.value = current;
}

/**
 * @param {string} id
 * @param {boolean} resumed
 */
function onSession(id, resumed) {
  const before = rememberedSession();
  if (before && before !== id && source?.isCamera && localStorage.getItem(KEPT_KEY) === before && box("#resume").checked) {
    localStorage.removeItem(KEPT_KEY);
    toast("The head that you kept is no longer there: a new one begins.");
  }
  if (source?.isCamera) sessionStorage.setItem(TAB_KEY, id);
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

/** @param {import("./messages.js").Render} render */
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
  else if (event.type === "ended" && !erasing) showEnded(event.reason);
  else if (event.type === "peer" && event.state === "replaced" && event.peer === session?.peer) showReplaced();
  else if (event.type === "error") {
    console.warn("the server reports", event.code, event.message);
    if (event.code !== "bad_message") toast(event.message);
  }
}

/** @param {string} reason */
function showEnded(reason) {
  if (reason === "deleted" || reason === "not_erased" || (reason === "expired" && !kept)) forgetSession();
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
  if (kept && session?.id) localStorage.setItem(KEPT_KEY, session.id);
  else if (session?.id === localStorage.getItem(KEPT_KEY)) localStorage.removeItem(KEPT_KEY);
}

async function download() {
  if (!session?.id) return;
  button("#download").disabled = true;
  button("#download").textContent = "Preparing…";
  try {
    saveFile(await fetchAvatar(session.id), "avatar");
    performance.mark("fitme:glb");
  } catch (error) {
    const problem = asPlainError(error);
    toast(problem.code === "not_ready" ? "Your head is not ready yet: some seconds more." : `${problem.title}. ${problem.text}`);
  } finally {
    button("#download").disabled = false;
    button("#download").textContent = "Download GLB";
  }
}

/** Let the guests hear the microphone, or no longer. */
async function switchVoice() {
  const current = session;
  voice?.stop();
  voice = null;
  try {
    if (box("#voice").checked) {
      const opened = await openMicrophone();
      if (current !== session || !box("#voice").checked) return opened.stop();
      voice = opened;
    }
  } catch (error) {
    const problem = asPlainError(error);
    box("#voice").checked = false;
    toast(`${problem.title}. ${problem.text}`);
  }
  current?.setVoice(voice);
  return undefined;
}

const avatarImage = () => view.stage.image();

async function savePicture() {
  try {
    saveFile(await takePicture(avatarImage), "avatar");
  } catch (error) {
    toast(asPlainError(error).text);
  }
}

/** Record the avatar as it turns by itself under a light that goes round it, then put all back. */
async function saveClip() {
  const clip = button("#clip");
  clip.disabled = true;
  const restore = controls.beginShow();
  try {
    const recorded = await recordClip(avatarImage, (share) => {
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

async function prepareWelcome() {
  find("#server-name").textContent = location.host;
  const obstacle = cameraObstacle();
  const agree = box("#agree");
  const update = () => { button("#start-camera").disabled = !agree.checked || obstacle !== null; };
  agree.addEventListener("change", update);
  update();
  if (obstacle) {
    find("#welcome-hint").textContent = `${obstacle.title}. ${obstacle.text}`;
    find("#welcome-hint").dataset.tone = "bad";
  }
  find("#resume-choice").hidden = rememberedSession() === null;
  find("#portrait").addEventListener("error", () => { find(".portrait").hidden = true; });
  try {
    const config = await fetchConfig();
    sampleAddress = config.sample ?? DEFAULT_SAMPLE;
    button("#start-sample").hidden = config.sample === null;
    find("#key-choice").hidden = !config.key_needed;
    const days = config.limits.kept_days;
    find("#kept-days").textContent = days === null ? "" : `: then ${days} days after you last used it`;
    find("#grace").textContent = ` (at the latest ${Math.ceil(config.limits.grace_seconds)} s after the page is closed)`;
  } catch (error) {
    showConnection(asPlainError(error).title, "bad");
  }
}

find("#start").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!button("#start-camera").disabled) startCamera();
});
button("#start-sample").addEventListener("click", startSample);
button("#leave").addEventListener("click", leaveForGood);
button("#download").addEventListener("click", download);
box("#voice").addEventListener("change", switchVoice);
button("#invite").addEventListener("click", () => guests.open());
button("#picture").addEventListener("click", savePicture);
button("#clip").addEventListener("click", saveClip);
button("#clip").hidden = !canRecord();
fullScreenButton(button("#fullscreen"), find("#stage"));
listenToTabs(find("#tabs"), find("#session"));
button("#keep").addEventListener("click", toggleKept);
button("#delete").addEventListener("click", askToDelete);
find("#camera-picker").addEventListener("change", () => switchCamera(box("#camera-picker").value));
navigator.mediaDevices?.addEventListener("devicechange", () => { if (session) listVideoSources(); });
await prepareWelcome();
