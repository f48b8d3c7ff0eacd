/** Texts of the page on what has gone wrong: what happened and what to do. */

/**
 * Text on a problem.
 * @typedef {object} ProblemText
 * @property {string} title
 * @property {string} text
 */

/** Error with a text for the person. */
export class PlainError extends Error {
  name = "PlainError";

  /**
   * @param {string} title
   * @param {string} text
   * @param {{code?: string, retryAfter?: number | null, place?: number}} [details] the server's code; seconds until it is
   *   worth trying again; number in the waiting line, 0 for none
   */
  constructor(title, text, { code = "", retryAfter = null, place = 0 } = {}) {
    super(`${title}: ${text}`);
    this.title = title;
    this.text = text;
    this.code = code;
    this.retryAfter = retryAfter;
    this.place = place;
  }
}

/** @type {Record<string, ProblemText>} */
const CAMERA = {
  NotAllowedError: {
    title: "The camera was refused",
    text: "Your browser, or the system, does not let this page use the camera. Click the camera symbol next to the address, "
      + "allow it, and try again. You can also play the sample clip.",
  },
  NotFoundError: {
    title: "No camera found",
    text: "Plug one in, or switch it on, and try again. Without a camera you can play the sample clip.",
  },
  NotReadableError: {
    title: "The camera is in use",
    text: "Another program or tab seems to hold it. Close that one and try again.",
  },
  OverconstrainedError: {
    title: "That camera is gone",
    text: "The chosen camera is no longer there. Pick another one.",
  },
};
CAMERA.SecurityError = CAMERA.NotAllowedError;
CAMERA.AbortError = CAMERA.NotReadableError;

/** Text for a page that may not use a camera because of its address. */
export const INSECURE_PAGE = Object.freeze({
  title: "This page is not secure",
  text: "Browsers give the camera only to pages that came over https, or from this very computer (http://localhost). Open "
    + "the page that way, or play the sample clip.",
});

/** Text for a browser that cannot send video. */
export const NO_WEBRTC = Object.freeze({
  title: "This browser has no WebRTC",
  text: "It may be switched off, by a setting or an extension, or the browser is too old. Switch it on, or open this page in "
    + "another browser.",
});

/** Text for an error that nothing else is known about. */
export const UNEXPECTED_TITLE = "Something went wrong";

/**
 * An error as a text for the person.
 * @param {unknown} error
 */
export function asPlainError(error) {
  if (error instanceof PlainError) return error;
  console.error(error);
  return new PlainError(UNEXPECTED_TITLE, error instanceof Error ? error.message : String(error), { code: "unexpected" });
}

/**
 * @param {unknown} error what getUserMedia threw
 * @returns {PlainError}
 */
export function cameraError(error) {
  const name = error instanceof Error ? error.name : "";
  const words = CAMERA[name] ?? {
    title: "The camera does not work",
    text: `The browser says: ${error instanceof Error ? error.message : error}. Try another camera or the sample clip.`,
  };
  return new PlainError(words.title, words.text, { code: name });
}

/**
 * @param {unknown} error what getUserMedia threw
 * @returns {PlainError}
 */
export function microphoneError(error) {
  const name = error instanceof Error ? error.name : "";
  const refused = name === "NotAllowedError" || name === "SecurityError";
  const text = refused ? "Allow it by the symbol next to the address." : "Plug one in, or close the program that uses it.";
  return new PlainError(refused ? "The microphone was refused" : "No microphone", text, { code: name });
}

/** @type {Record<string, ProblemText>} */
const SERVER = {
  erase_failed: { title: "Not everything is erased yet", text: "The server tries again until all of it is gone." },
  store_failed: { title: "The server cannot store anything now", text: "Its disk may be full." },
  full: { title: "The server is full", text: "Everyone gets a place of their own, and all are taken just now." },
  too_many: { title: "You have other sessions", text: "Leave one of them, in another tab or window." },
  motion_taken: { title: "That program is taken", text: "Another session uses it, or another program has its port." },
  unknown_motion: { title: "That is not offered", text: "The server’s operator has taken it away: reload the page." },
  too_many_links: { title: "There are many links", text: "End one of them first." },
  no_key: { title: "This server asks for a key", text: "Go back and enter the access key that its operator gave you." },
  bad_key: { title: "That is not the key", text: "Check the access key that the operator of this server gave you." },
  no_user: { title: "You are not signed in", text: "Open this page through the address at which you sign in." },
  forbidden: { title: "That session is not yours", text: "It was begun in another browser." },
  engine_gone: { title: "The server is restarting", text: "The part that builds heads has to start again." },
  unknown_session: { title: "That session is gone", text: "It was erased or has run out. You can start a new one." },
  protocol: { title: "This page is out of date", text: "The server has a newer version. Reload the page." },
  too_many_checks: { title: "Many check their connection now", text: "Try again in a moment." },
  bad_offer: { title: "The connection was not understood", text: "The server could not read this browser’s offer." },
};

/**
 * @param {number} status
 * @param {{code?: string, message?: string, place?: number}} body
 * @param {number | null} retryAfter seconds
 */
export function serverError(status, body, retryAfter) {
  const words = SERVER[body.code ?? ""] ?? { title: "The server refused", text: `It answered ${status}.` };
  const detail = body.code === "full" || !body.message ? "" : ` (${body.message})`;
  const place = body.place ?? 0;
  const line = place ? ` You are number ${place} in the line; leave this page open and it begins by itself.` : "";
  return new PlainError(words.title, words.text + line + detail, { code: body.code ?? `http_${status}`, retryAfter, place });
}

/** @type {Record<string, ProblemText>} */
const ENDED = {
  not_erased: {
    title: "Not everything is erased yet",
    text: "Something of your session could not be removed. The server tries again until all of it is gone.",
  },
  deleted: { title: "Everything is erased", text: "No image, measurement or head of yours is left on the server." },
  expired: { title: "The session has ended", text: "Nobody was there for a while, so it was closed." },
  shutdown: { title: "The server is closing", text: "It was stopped by the one who runs it. A kept session can be continued later." },
};

/**
 * @param {string} reason
 * @returns {ProblemText}
 */
export function endedText(reason) {
  return ENDED[reason] ?? { title: "The session has ended", text: "You can start a new one." };
}

/** @type {Record<string, {text: string, tone: string}>} */
const FACES = {
  ok: { text: "face found", tone: "good" },
  no_face: { text: "no face", tone: "warn" },
  several_faces: { text: "several faces", tone: "warn" },
  other_person: { text: "someone else", tone: "bad" },
};

/**
 * @param {string} status of tracking
 */
export function faceText(status) {
  return FACES[status] ?? { text: status, tone: "idle" };
}

/** Labels of the stages of an avatar that are shown as steps. */
export const STAGE_LABELS = Object.freeze(/** @type {Record<string, string>} */ ({
  landmarks: "Shape",
  skin: "Skin",
  inversion: "Likeness",
  tuning: "Detail",
}));

/**
 * What a viewer is told about a view link: in the pill, in place of the avatar, and in a notice if there is a title.
 * @type {Readonly<Record<import("../server/view_link.js").ViewState, {pill: string, tone: string, text: string, title?: string, action?: string}>>}
 */
export const VIEW_STATES = Object.freeze({
  connecting: { pill: "Connecting", tone: "warn", text: "Connecting…" },
  live: { pill: "Live", tone: "good", text: "Waiting for the first picture…" },
  away: { pill: "Nobody here", tone: "warn", text: "The owner is not here now, or the link is no longer valid. This page goes on looking." },
  lost: { pill: "Reconnecting", tone: "warn", text: "The connection was lost. Trying again…" },
  ended: { pill: "Ended", tone: "idle", title: "The session has ended", text: "Its owner has left.", action: "Look again" },
  revoked: { pill: "Ended", tone: "bad", title: "This link has ended", text: "Its owner has revoked it, or its time is over. Ask for another one." },
  outdated: { pill: "Out of date", tone: "bad", title: "This page is out of date", text: "The server has a newer version.", action: "Reload the page" },
});
