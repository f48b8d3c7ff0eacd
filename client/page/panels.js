/** Tabs of small windows: each opens its panel below or beside the avatar, and a second press closes it. */

/**
 * @param {HTMLElement} tabs with buttons that name their panels in `data-panel`
 * @param {HTMLElement} session whose `data-panel` is the open panel
 */
export function listenToTabs(tabs, session) {
  const buttons = /** @type {HTMLButtonElement[]} */ ([...tabs.querySelectorAll("button")]);
  const show = (/** @type {string} */ open) => {
    session.dataset.panel = open;
    for (const button of buttons) button.setAttribute("aria-expanded", String(button.dataset.panel === open));
  };
  for (const button of buttons) {
    button.addEventListener("click", () => show(session.dataset.panel === button.dataset.panel ? "" : button.dataset.panel ?? ""));
  }
}
