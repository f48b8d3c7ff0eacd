/**
 * Sessions that this browser remembers: the one that its person keeps, and that of this tab. Where the browser gives the
 * page no storage, the page itself remembers them until it is closed.
 */

const KEPT_KEY = "fitme.kept-session";
const TAB_KEY = "fitme.tab-session";
const PROBE_KEY = "fitme.probe";

/** Storage of the page itself. */
class PageMemory {
  /** @type {Map<string, string>} */
  #values = new Map();

  /** @param {string} key */
  getItem(key) {
    return this.#values.get(key) ?? null;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  setItem(key, value) {
    this.#values.set(key, value);
  }

  /** @param {string} key */
  removeItem(key) {
    this.#values.delete(key);
  }
}

/**
 * A storage of the browser, or a substitute where it is blocked or full.
 * @param {"localStorage" | "sessionStorage"} name
 */
function storageOf(name) {
  try {
    const found = window[name];
    found.setItem(PROBE_KEY, "");
    found.removeItem(PROBE_KEY);
    return found;
  } catch {
    return new PageMemory();
  }
}

const lasting = storageOf("localStorage");
const ofTab = storageOf("sessionStorage");

/** The session that this person keeps. */
export function keptSession() {
  return lasting.getItem(KEPT_KEY);
}

/** The session that this person may go on with: the one they kept, or the one of this tab before it was reloaded. */
export function rememberedSession() {
  return keptSession() ?? ofTab.getItem(TAB_KEY);
}

/** @param {string} id of this tab's session */
export function rememberTab(id) {
  ofTab.setItem(TAB_KEY, id);
}

export function forgetTab() {
  ofTab.removeItem(TAB_KEY);
}

/** @param {string} id of a session that is kept from now on */
export function rememberKept(id) {
  lasting.setItem(KEPT_KEY, id);
}

export function forgetKept() {
  lasting.removeItem(KEPT_KEY);
}
