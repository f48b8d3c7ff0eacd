/**
 * A view link's page inside another program, such as OBS: the avatar alone, before nothing or a plain colour.
 * The address has `?background=transparent`, or a colour as CSS has it.
 */

const TRANSPARENT = "transparent";

/**
 * Background that an address asks for; null for the page with its controls.
 * @param {string} search of the page's address
 * @returns {string | null}
 */
export function embeddedBackground(search) {
  const asked = new URLSearchParams(search).get("background");
  if (asked === null) return null;
  return CSS.supports("color", asked) ? asked : TRANSPARENT;
}

/**
 * Hide everything but the avatar.
 * @param {string} background a colour
 */
export function hideControls(background) {
  const root = document.documentElement;
  root.classList.add("embedded");
  root.style.backgroundColor = background;
  // A page with a dark scheme is dark where nothing is drawn.
  document.querySelector("meta[name='color-scheme']")?.setAttribute("content", "normal");
}
