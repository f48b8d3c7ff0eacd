/** A button that shows an element on the whole screen. */

/**
 * @param {HTMLElement} button hidden where the browser has no full screen
 * @param {HTMLElement} element
 */
export function fullScreenButton(button, element) {
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener("click", () => {
    const change = document.fullscreenElement ? document.exitFullscreen() : element.requestFullscreen();
    change.catch(() => undefined); // refused: the page stays as it is
  });
  document.addEventListener("fullscreenchange", () => {
    const label = document.fullscreenElement ? "Leave full screen" : "Full screen";
    if (button.textContent?.trim()) button.textContent = label;
    button.setAttribute("aria-label", label);
  });
}
