/** View of a running session: camera, dial, avatar, progress. It changes nothing on the server. */

import { AvatarStage } from "../avatar/avatar_stage.js";
import { CoverageDial, PROMPTS } from "../camera/coverage.js";
import { find } from "./dom.js";
import { drawLandmarks } from "../camera/landmark_overlay.js";
import { ProgressPanel } from "./progress.js";
import { faceText } from "./texts.js";

/** @typedef {import("../server/messages.js").ServerEvent} ServerEvent */
/** @typedef {import("../server/messages.js").TrackingEvent} TrackingEvent */
/** @typedef {import("../server/messages.js").CoverageEvent} CoverageEvent */
/** @typedef {import("../server/messages.js").Render} Render */

/** A prompt stays at least this long, so that it can be read. */
const PROMPT_MS = 700;
const TICK_MS = 500;
/** Prompts about the camera image as a whole, not about where to look. */
const URGENT_PROMPTS = new Set(["more_light", "less_light", "uncover_face", "show_face", "one_person", "same_person"]);

/** Shows one session after the other on the page. */
export class SessionView {
  #video = /** @type {HTMLVideoElement} */ (find("#camera"));
  #overlay = /** @type {HTMLCanvasElement} */ (find("#landmarks"));
  #points = /** @type {HTMLInputElement} */ (find("#show-landmarks"));
  #dial = new CoverageDial(find("#dial"));
  #progress = new ProgressPanel();
  /** This page has set the light of its session. */
  #lightSet = false;
  #promptTime = -Infinity;
  #promptTimer = 0;
  /** @type {TrackingEvent | null} */
  #tracking = null;
  /** @type {CoverageEvent | null} */
  #coverage = null;

  /**
   * @param {import("../controls/controls.js").SceneControls} controls
   * @param {() => void} onFeedsChanged the page wants other feeds from now on
   */
  constructor(controls, onFeedsChanged) {
    this.controls = controls;
    this.stage = new AvatarStage((stage) => this.#shown(stage), onFeedsChanged);
    this.#points.addEventListener("change", () => {
      this.#drawPoints();
      onFeedsChanged();
    });
    setInterval(() => this.#tick(), TICK_MS);
  }

  reset() {
    this.stage.reset();
    this.#progress.reset();
    this.#lightSet = false;
    this.#tracking = null;
    this.#coverage = null;
    find("#light-handle").hidden = true;
    find("#coverage-share").textContent = "0 %";
    find("#kept").textContent = "erased when you leave";
    for (const name of ["#download", "#invite", "#picture", "#clip", "#keep", "#delete"]) /** @type {HTMLButtonElement} */ (find(name)).disabled = true;
    this.#dial.update([], null);
    this.#video.srcObject = null;
    drawLandmarks(this.#overlay, null, this.#video);
    this.#showFace("waiting", "idle");
    this.showPicture("");
  }

  /** @param {string} text what is wrong with the camera's picture; "" when nothing is */
  showPicture(text) {
    find("#picture-words").textContent = text;
    find("#picture-words").hidden = text === "";
  }

  /** @param {string} text in place of the avatar, until there is one */
  showStatus(text) {
    find("#waiting-words").textContent = text;
  }

  /**
   * @param {MediaStream} stream
   * @param {boolean} flipped shown as in a mirror
   */
  showCamera(stream, flipped) {
    this.#video.srcObject = stream;
    find("#mirror").classList.toggle("flipped", flipped);
    this.#dial.flipped = flipped;
    this.controls.flip(flipped);
  }

  /** @returns {import("../server/signalling.js").Wants} what the page receives; landmarks if they are shown */
  get wants() {
    const { feeds, held } = this.stage.wants;
    return { feeds: this.#points.checked || !this.stage.draws ? [...feeds, "landmarks"] : feeds, held };
  }

  /**
   * @param {Render} render
   * @param {(sequence: number) => void} acknowledge
   */
  show(render, acknowledge) {
    this.stage.show(render, acknowledge);
  }

  /** @param {ArrayBuffer} message packed parameters */
  move(message) {
    const parameters = this.stage.view?.pushParameters(message);
    if (!parameters?.tracked) return;
    const [x, y, z, w] = parameters.rotation;
    // Where the head's +Z axis looks.
    const [right, up, out] = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)];
    this.#dial.point(Math.atan2(right, out), Math.asin(Math.min(Math.max(up, -1), 1)));
  }

  /**
   * Show the person's change of a control at once.
   * @param {string} type
   * @param {Record<string, unknown>} fields
   */
  change(type, fields) {
    this.stage.view?.change(type, fields);
  }

  /** @param {ServerEvent} event */
  update(event) {
    this.stage.update(event);
    if (event.type === "tracking") this.#track(event);
    else if (event.type === "coverage") this.#cover(event);
    else if (event.type === "progress") this.#progress.stage(event.stage);
    else if (event.type === "round") this.#progress.round(event);
    else if (event.type === "scene") {
      if (this.controls.update(event)) this.stage.view?.setScene(event);
    } else if (event.type === "hello" && !event.resumed && !this.#lightSet) {
      this.#lightSet = true;
      this.controls.begin();
    }
  }

  /** @param {TrackingEvent} tracking */
  #track(tracking) {
    this.#tracking = tracking;
    const face = faceText(tracking.status);
    this.#showFace(face.text, face.tone);
    if (tracking.status === "ok") this.#progress.begin();
    if (tracking.pose) this.#dial.point(tracking.pose[0], tracking.pose[1]);
    this.#drawPoints();
    this.#prompt();
  }

  /** @param {CoverageEvent} coverage */
  #cover(coverage) {
    this.#coverage = coverage;
    this.#dial.update(coverage.directions, coverage.prompt);
    find("#coverage-share").textContent = `${Math.round(coverage.fraction * 100)} %`;
    this.#progress.frames(coverage.keyframes);
    this.#prompt();
  }

  #drawPoints() {
    drawLandmarks(this.#overlay, this.#points.checked ? this.#tracking : null, this.#video);
  }

  /**
   * @param {string} text
   * @param {string} tone
   */
  #showFace(text, tone) {
    const tag = find("#face-status");
    if (tag.textContent !== text) tag.textContent = text;
    tag.dataset.tone = tone;
  }

  #prompt() {
    const wait = this.#promptTime + PROMPT_MS - performance.now();
    if (wait > 0) {
      this.#promptTimer ||= Number(setTimeout(() => {
        this.#promptTimer = 0;
        this.#prompt();
      }, wait));
      return;
    }
    const code = this.#tracking?.prompt ?? this.#coverage?.prompt ?? null;
    const complete = code === null && (this.#coverage?.fraction ?? 0) >= 1;
    const text = code === null ? (complete ? "All directions seen" : "Keep moving slowly") : PROMPTS[code] ?? code;
    const element = find("#prompt");
    if (element.textContent === text) return;
    element.textContent = text;
    element.dataset.tone = complete ? "good" : code !== null && URGENT_PROMPTS.has(code) ? "warn" : "";
    this.#promptTime = performance.now();
  }

  /** @param {string} stage of the avatar that is shown */
  #shown(stage) {
    const name = `fitme:${stage}`;
    if (performance.getEntriesByName(name, "mark").length === 0) performance.mark(name);
    for (const name of ["#picture", "#clip"]) /** @type {HTMLButtonElement} */ (find(name)).disabled = false;
    find("#light-handle").hidden = false;
  }

  #tick() {
    this.#progress.tick();
    const figures = this.stage.figures;
    const delay = figures?.delayMs == null ? "" : ` · ${figures.delayMs.toFixed(0)} ms`;
    const { frame_width: width, frame_height: height } = this.#tracking ?? {};
    const camera = width && height ? ` · camera ${width} × ${height}` : "";
    find("#figures").textContent = figures ? `${figures.rate.toFixed(0)} frames/s${delay}${camera}` : "";
  }
}
