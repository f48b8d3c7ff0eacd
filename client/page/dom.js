/** Elements of the page: look-up, a notice over the avatar, a toast at the bottom. */

/**
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(selector) {
  const element = document.querySelector(selector);
  if (!(element instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return element;
}

/** @typedef {{label: string, primary?: boolean, run: () => void}} Action */

const TOAST_MS = 4000;
let toastTimer = 0;

/** @param {string} text shown for some seconds */
export function toast(text) {
  const element = find("#toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = Number(setTimeout(() => { element.hidden = true; }, TOAST_MS));
}

/** Box over the avatar with an error or a question. */
export class Notice {
  #countdown = 0;
  #element = find("#notice");

  /**
   * @param {string} title
   * @param {string} text
   * @param {Action[]} actions
   * @param {{seconds: number, text: (left: number) => string}} [wait] a countdown below the text
   */
  show(title, text, actions, wait) {
    clearInterval(this.#countdown);
    find("#notice-title").textContent = title;
    const element = find("#notice-words");
    element.textContent = text;
    if (wait) {
      const end = performance.now() + wait.seconds * 1000;
      const update = () => {
        const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
        element.textContent = `${text}\n${wait.text(left)}`;
      };
      update();
      this.#countdown = Number(setInterval(update, 500));
    }
    const had = this.#element.contains(document.activeElement) || this.#element.hidden;
    find("#notice-actions").replaceChildren(...actions.map(({ label, primary, run }) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: primary ? "button primary" : "button", textContent: label });
      button.addEventListener("click", run);
      return button;
    }));
    this.#element.hidden = false;
    if (had) this.#element.querySelector("button")?.focus({ preventScroll: true });
  }

  hide() {
    clearInterval(this.#countdown);
    this.#element.hidden = true;
  }
}
