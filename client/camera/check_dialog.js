/** Dialog of the connection check: which of camera, server, UDP and TURN fails. */

import { checkAll } from "./connection_check.js";
import { find } from "../page/dom.js";

/** @type {Record<import("./connection_check.js").CheckState, string>} */
const TONES = { running: "idle", good: "good", bad: "bad", none: "idle" };
/** @type {Record<import("./connection_check.js").CheckState, string>} */
const MARKS = { running: "…", good: "works", bad: "fails", none: "–" };

let busy = false;

/** Open the dialog and check. */
export async function openCheck() {
  const dialog = /** @type {HTMLDialogElement} */ (find("#check"));
  if (!dialog.open) dialog.showModal();
  if (busy) return;
  busy = true;
  /** @type {HTMLButtonElement} */ (find("#check-again")).disabled = true;
  try {
    await checkAll((name, state, text) => {
      const row = find(`#check-${name}`);
      const tag = row.querySelector(".tag");
      if (tag instanceof HTMLElement) {
        tag.textContent = MARKS[state];
        tag.dataset.tone = TONES[state];
      }
      const words = row.querySelector("p");
      if (words) words.textContent = text;
    });
  } finally {
    busy = false;
    /** @type {HTMLButtonElement} */ (find("#check-again")).disabled = false;
  }
}

/** Let the dialog's buttons work. */
export function listenToCheck() {
  find("#check-again").addEventListener("click", openCheck);
  find("#close-check").addEventListener("click", () => /** @type {HTMLDialogElement} */ (find("#check")).close());
}
