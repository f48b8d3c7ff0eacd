/**
 * Dial of the head directions that keyframes cover. Its geometry is pure; `CoverageDial` draws it as SVG.
 *
 * Each cell is a patch of the sphere of head directions, seen from the viewer (orthographic), so that the dot on it is
 * where the nose points.
 */

/** @typedef {import("../server/messages.js").Direction} Direction */
/** @typedef {[number, number]} Point */

/** Spacing of cells in a dial with a single column or row, radians. */
const DEFAULT_SPACING = Math.PI / 12;
/** Points along each side of a cell, which is a curve. */
const SIDE_STEPS = 4;
/** Shrinks cells a little, radians, so that the ground shows between them. */
const GAP = 0.012;

/** A cell off the way counts as this much farther. */
const ASIDE_WEIGHT = 3;
/** @type {Readonly<Record<string, Point>>} direction in which each prompt turns the head: yaw, pitch */
const WAYS = Object.freeze({
  turn_left: [1, 0],
  turn_right: [-1, 0],
  look_up: [0, 1],
  look_down: [0, -1],
  look_straight: [0, 0],
});

/** Text of each prompt. Left and right are the person's own. */
export const PROMPTS = Object.freeze(/** @type {Record<string, string>} */ ({
  look_straight: "Look straight at the camera",
  turn_left: "Turn your head left",
  turn_right: "Turn your head right",
  look_up: "Look up a little",
  look_down: "Look down a little",
  smile: "Smile!",
  open_mouth: "Open your mouth",
  come_closer: "Come a little closer",
  move_back: "Move back a little",
  hold_still: "Hold still for a moment",
  more_light: "More light, please",
  less_light: "Less light, please",
  uncover_face: "Uncover your face",
  show_face: "Show your face to the camera",
  one_person: "One person at a time, please",
  same_person: "This is somebody else",
}));

/**
 * Least distance between different values, or the default if there is only one.
 * @param {number[]} values
 */
function spacingOf(values) {
  const sorted = [...new Set(values.map((value) => Math.round(value * 1e4)))].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((value, index) => (value - sorted[index]) / 1e4);
  return gaps.length ? Math.min(...gaps) : DEFAULT_SPACING;
}

/**
 * Where a direction of the head lies on the dial: x to the viewer's right, y up, the sphere's radius is 1.
 * @param {number} yaw radians
 * @param {number} pitch radians
 * @returns {Point}
 */
export function placeOf(yaw, pitch) {
  return [Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch)];
}

/**
 * Outlines of the cells.
 * @param {Direction[]} directions
 * @returns {Point[][]} one polygon a cell, on the sphere of radius 1
 */
export function outlines(directions) {
  const width = spacingOf(directions.map((cell) => cell.yaw)) / 2 - GAP;
  const height = spacingOf(directions.map((cell) => cell.pitch)) / 2 - GAP;
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
  return directions.map(({ yaw, pitch }) => {
    /** @type {Point[]} */
    const outline = [];
    corners.forEach(([x, y], index) => {
      const [nextX, nextY] = corners[(index + 1) % corners.length];
      for (let step = 0; step < SIDE_STEPS; step++) {
        const t = step / SIDE_STEPS;
        outline.push(placeOf(yaw + width * (x + (nextX - x) * t), pitch + height * (y + (nextY - y) * t)));
      }
    });
    return outline;
  });
}

/**
 * The cell that a person who follows the prompt reaches first.
 * @param {Direction[]} directions
 * @param {string | null} prompt
 * @param {{yaw: number, pitch: number}} here where the head points now
 * @returns {number} index of the cell, or -1 if the prompt asks for no direction or nothing is wanted there
 */
export function nextCell(directions, prompt, here) {
  const way = prompt === null ? undefined : WAYS[prompt];
  if (!way) return -1;
  let best = -1;
  let bestDistance = Infinity;
  directions.forEach((cell, index) => {
    const [yaw, pitch] = [cell.yaw - here.yaw, cell.pitch - here.pitch];
    const ahead = yaw * way[0] + pitch * way[1];
    const aside = Math.abs(yaw * way[1]) + Math.abs(pitch * way[0]);
    const aimless = way[0] === 0 && way[1] === 0;
    const distance = aimless ? Math.hypot(cell.yaw, cell.pitch) : Math.hypot(ahead, ASIDE_WEIGHT * aside);
    if (cell.wanted && !cell.seen && (aimless || ahead > 0) && distance < bestDistance) {
      best = index;
      bestDistance = distance;
    }
  });
  return best;
}

const SVG = "http://www.w3.org/2000/svg";
const HERE_RADIUS = 0.028;
const MARGIN = 0.05;

/** The dial on the page. */
export class CoverageDial {
  /** @type {Direction[]} */
  #directions = [];
  #here = { yaw: 0, pitch: 0 };
  /** @type {string | null} */
  #prompt = null;
  /** @type {SVGPolygonElement[]} */
  #cells = [];
  /** @type {SVGCircleElement | null} */
  #dot = null;
  #layout = "";

  /**
   * @param {HTMLElement} place where it is drawn
   * @param {boolean} flipped the person sees themselves as in a mirror
   */
  constructor(place, flipped = false) {
    this.place = place;
    this.flipped = flipped;
    place.setAttribute("role", "img");
  }

  /**
   * @param {Direction[]} directions
   * @param {string | null} prompt
   */
  update(directions, prompt) {
    const layout = JSON.stringify([this.flipped, directions.map((cell) => [cell.yaw, cell.pitch])]);
    this.#directions = directions;
    this.#prompt = prompt;
    if (layout !== this.#layout) this.#build();
    this.#layout = layout;
    const seen = directions.filter((cell) => cell.wanted && cell.seen).length;
    const wanted = directions.filter((cell) => cell.wanted).length;
    this.place.setAttribute("aria-label", `${seen} of ${wanted} directions seen`);
    this.#mark();
  }

  /**
   * Where the head points now.
   * @param {number} yaw radians
   * @param {number} pitch radians
   */
  point(yaw, pitch) {
    this.#here = { yaw, pitch };
    const [x, y] = placeOf(yaw, pitch);
    if (this.#dot) this.#dot.style.transform = `translate(${this.flipped ? -x : x}px, ${-y}px)`;
    this.#mark();
  }

  #mark() {
    const next = nextCell(this.#directions, this.#prompt, this.#here);
    this.#directions.forEach((cell, index) => {
      const kind = cell.seen ? "seen" : index === next ? "next" : cell.wanted ? "wanted" : "";
      const name = `cell ${kind}`.trim();
      if (this.#cells[index].getAttribute("class") !== name) this.#cells[index].setAttribute("class", name);
    });
  }

  #build() {
    if (this.#directions.length === 0) {
      this.#cells = [];
      this.#dot = null;
      this.place.replaceChildren();
      return;
    }
    const side = this.flipped ? -1 : 1;
    const polygons = outlines(this.#directions);
    const points = polygons.flat();
    const reach = (/** @type {0 | 1} */ axis) => Math.max(0.1, ...points.map((point) => Math.abs(point[axis]))) + MARGIN;
    const [width, height] = [reach(0), reach(1)];
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `${-width} ${-height} ${2 * width} ${2 * height}`);
    this.#cells = polygons.map((polygon) => {
      const cell = document.createElementNS(SVG, "polygon");
      cell.setAttribute("points", polygon.map(([x, y]) => `${(side * x).toFixed(4)},${(-y).toFixed(4)}`).join(" "));
      cell.setAttribute("vector-effect", "non-scaling-stroke");
      return cell;
    });
    this.#dot = document.createElementNS(SVG, "circle");
    this.#dot.setAttribute("r", String(HERE_RADIUS));
    this.#dot.setAttribute("class", "here");
    this.#dot.setAttribute("vector-effect", "non-scaling-stroke");
    drawing.append(...this.#cells, this.#dot);
    this.place.replaceChildren(drawing);
    this.point(this.#here.yaw, this.#here.pitch);
  }
}
