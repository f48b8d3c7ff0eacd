/** Dialog of the view links: makes them, shows how many watch by each, and ends them. */

import { find, toast } from "../page/dom.js";
import { addLink, fetchLinks, revokeLink } from "../server/signalling.js";
import { PlainError } from "../page/texts.js";

/** @typedef {import("../server/signalling.js").ViewLinkState} ViewLinkState */

/** How often the numbers are asked for while the dialog is open. */
const REFRESH_MS = 2000;

/**
 * @param {number} count of viewers
 */
export function viewersText(count) {
  return count === 0 ? "nobody watches" : count === 1 ? "1 watches" : `${count} watch`;
}

export class Guests {
  /** Addresses of the links that this page has made; the server keeps none. @type {Map<string, string>} */
  #addresses = new Map();
  #dialog = /** @type {HTMLDialogElement} */ (find("#guests"));
  #list = find("#links");
  #timer = 0;

  /** @param {() => string | null} session id of the running session */
  constructor(session) {
    this.session = session;
    find("#new-link").addEventListener("click", () => this.#run(() => this.#add()));
    find("#close-guests").addEventListener("click", () => this.#dialog.close());
    find("#beside-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const address = /** @type {HTMLInputElement} */ (find("#beside-address")).value;
      this.#run(async () => {
        showBeside(address);
        this.#dialog.close();
      });
    });
    find("#close-beside").addEventListener("click", hideBeside);
    this.#dialog.addEventListener("close", () => clearInterval(this.#timer));
  }

  /** Forget the last session's links, and close. */
  reset() {
    this.#addresses.clear();
    this.#list.replaceChildren();
    this.#dialog.close();
    hideBeside();
    this.count(0);
  }

  open() {
    this.#dialog.showModal();
    this.#run(() => this.#refresh());
    this.#timer = Number(setInterval(() => this.#run(() => this.#refresh()), REFRESH_MS));
  }

  /** @param {number} count of viewers of the session */
  count(count) {
    const pill = find("#viewers");
    pill.hidden = count === 0;
    pill.textContent = viewersText(count);
  }

  async #add() {
    const session = this.session();
    if (!session) return;
    const time = /** @type {HTMLSelectElement} */ (find("#link-time")).value;
    const link = await addLink(session, time ? Number(time) : null);
    this.#addresses.set(link.id, new URL(link.path, document.baseURI).href);
    await this.#refresh();
    await this.#copy(link.id);
  }

  async #refresh() {
    const session = this.session();
    if (!session) return;
    const links = await fetchLinks(session);
    const known = new Map([...this.#list.children].map((item) => [/** @type {HTMLElement} */ (item).dataset.link, item]));
    const items = links.map((link) => {
      const item = known.get(link.id) ?? this.#item(link.id);
      const text = item.querySelector("span");
      if (text) text.textContent = viewersText(link.viewers);
      return item;
    });
    if (items.length !== known.size || items.some((item) => !item.isConnected)) this.#list.replaceChildren(...items);
  }

  /** @param {string} id of a link */
  #item(id) {
    const item = document.createElement("li");
    item.dataset.link = id;
    const address = this.#addresses.get(id);
    const field = document.createElement("input");
    Object.assign(field, { type: "url", readOnly: true, value: address ?? "made earlier: its address is not kept" });
    field.setAttribute("aria-label", "Address of the link");
    field.addEventListener("focus", () => field.select());
    const actions = document.createElement("div");
    actions.className = "choices";
    if (address) actions.append(button("Copy", () => this.#run(() => this.#copy(id))));
    actions.append(button("End", () => this.#run(() => this.#revoke(id))));
    item.append(field, document.createElement("span"), actions);
    return item;
  }

  /** @param {string} id of a link */
  async #copy(id) {
    const address = this.#addresses.get(id) ?? "";
    try {
      await navigator.clipboard.writeText(address);
      toast("The link is copied: send it to a guest.");
    } catch {
      toast("The link is made: copy it from its field.");
    }
  }

  /** @param {string} id of a link */
  async #revoke(id) {
    const session = this.session();
    if (!session) return;
    await revokeLink(session, id);
    await this.#refresh();
    toast("The link has ended.");
  }

  /** @param {() => Promise<void>} action */
  async #run(action) {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof PlainError)) throw error;
      toast(`${error.title}. ${error.text}`);
    }
  }
}

/**
 * Show somebody else's avatar beside the own one.
 * @param {string} address of a view link of this server
 * @throws {PlainError} if it is none
 */
function showBeside(address) {
  const url = URL.canParse(address) ? new URL(address) : null;
  const view = new URL("view/", document.baseURI);
  if (url?.origin !== view.origin || !url.pathname.startsWith(view.pathname)) {
    throw new PlainError("This is no link of this server", `It has to begin with ${view.href}`);
  }
  hideBeside();
  const frame = document.createElement("iframe");
  Object.assign(frame, { src: url.href, title: "Somebody else’s avatar", allow: "autoplay; fullscreen" });
  find("#beside").prepend(frame);
  find("#beside").hidden = false;
}

function hideBeside() {
  find("#beside").hidden = true;
  find("#beside").querySelector("iframe")?.remove();
}

/**
 * @param {string} label
 * @param {() => void} run
 */
function button(label, run) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", className: "button small", textContent: label });
  element.addEventListener("click", run);
  return element;
}
