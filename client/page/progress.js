/** Progress of the fit: its stages, the loss over rounds, counts and times. */

import { find } from "./dom.js";
import { STAGES } from "../server/messages.js";
import { STAGE_LABELS } from "./texts.js";

/** @typedef {import("../server/messages.js").RoundEvent} RoundEvent */
/** @typedef {{index: number, loss: number, stage: string}} Mark one round on the sparkline */

const MAX_MARKS = 240;
/** Losses shown for a round, in order of preference; else its first one. */
const MAIN_LOSSES = ["total", "photometric", "landmark", "landmarks"];
const SPARK_WIDTH = 240;
const SPARK_HEIGHT = 54;
const SPARK_MARGIN = 3;

/**
 * The one loss that is shown of a round.
 * @param {Record<string, number>} losses
 * @returns {number | null}
 */
export function mainLoss(losses) {
  const name = MAIN_LOSSES.find((candidate) => candidate in losses) ?? Object.keys(losses)[0];
  const value = name === undefined ? NaN : losses[name];
  return Number.isFinite(value) ? value : null;
}

/**
 * Heights of a sparkline, 0 (best) to 1 (worst). Losses of different stages measure different things, so each stage has
 * its own scale, logarithmic where all losses are positive.
 * @param {Mark[]} marks
 * @returns {number[]}
 */
export function heights(marks) {
  /** @type {Map<string, {low: number, high: number}>} */
  const ranges = new Map();
  const scaled = (/** @type {number} */ loss) => (loss > 0 ? Math.log(loss) : loss);
  for (const { loss, stage } of marks) {
    const range = ranges.get(stage) ?? { low: Infinity, high: -Infinity };
    ranges.set(stage, { low: Math.min(range.low, scaled(loss)), high: Math.max(range.high, scaled(loss)) });
  }
  return marks.map(({ loss, stage }) => {
    const { low, high } = /** @type {{low: number, high: number}} */ (ranges.get(stage));
    return high > low ? (scaled(loss) - low) / (high - low) : 0.5;
  });
}

/**
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
}

/** The fit's card and the steps on the stage. */
export class ProgressPanel {
  /** @type {Mark[]} */
  #marks = [];
  #began = 0;
  /** @type {HTMLElement[]} */
  #steps;

  constructor() {
    this.#steps = STAGES.slice(1).map((stage) => {
      const step = document.createElement("li");
      step.textContent = STAGE_LABELS[stage];
      return step;
    });
    find("#stages").replaceChildren(...this.#steps);
    this.reset();
  }

  reset() {
    this.#marks = [];
    this.#began = 0;
    find("#fact-loss").textContent = "–";
    find("#fact-frames").textContent = "0";
    find("#fact-time").textContent = "0 s";
    find("#round").textContent = "not started";
    this.stage("waiting");
    this.#spark();
  }

  /** The first image of the face has come: start the clock. */
  begin() {
    this.#began ||= performance.now();
  }

  /** Once a second. */
  tick() {
    if (this.#began) find("#fact-time").textContent = duration((performance.now() - this.#began) / 1000);
  }

  /** @param {string} name one of `STAGES` */
  stage(name) {
    const current = STAGES.indexOf(name) - 1;
    this.#steps.forEach((step, index) => {
      step.classList.toggle("done", index < current);
      if (index === current) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    });
  }

  /** @param {number} count of keyframes */
  frames(count) {
    find("#fact-frames").textContent = String(count);
  }

  /** @param {RoundEvent} round */
  round(round) {
    find("#round").textContent = `round ${round.index + 1} · ${round.seconds.toFixed(1)} s`;
    this.frames(round.keyframes);
    const loss = mainLoss(round.losses);
    if (loss === null || this.#marks.some((mark) => mark.index === round.index)) return;
    find("#fact-loss").textContent = loss.toPrecision(3);
    this.#marks.push({ index: round.index, loss, stage: round.stage });
    this.#marks.splice(0, this.#marks.length - MAX_MARKS);
    this.#spark();
  }

  #spark() {
    const place = find("#spark");
    const count = this.#marks.length;
    const base = SPARK_HEIGHT - 1;
    const points = heights(this.#marks).map((height, index) => {
      const x = count === 1 ? SPARK_WIDTH : (index / (count - 1)) * SPARK_WIDTH;
      const y = base - SPARK_MARGIN - height * (SPARK_HEIGHT - 3 * SPARK_MARGIN);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    if (points.length === 1) points.unshift(points[0].replace(/^[^,]*/, "0"));
    place.setAttribute("aria-label", count ? `Loss over ${count} rounds` : "No rounds yet");
    place.innerHTML = `<svg viewBox="0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
      <defs><linearGradient id="spark-fill" x1="0" x2="0" y1="0" y2="1"><stop offset="0" stop-color="#ffb968" stop-opacity=".32"/>
      <stop offset="1" stop-color="#ffb968" stop-opacity="0"/></linearGradient></defs>
      <line class="floor" x1="0" x2="${SPARK_WIDTH}" y1="${base}" y2="${base}"/>
      ${count ? `<polygon class="area" points="0,${base} ${points.join(" ")} ${SPARK_WIDTH},${base}"/>
      <polyline class="line" points="${points.join(" ")}"/>` : ""}</svg>`;
  }
}
