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
   * @param {{code?: string, retryAfter?: number | null}} [details] the server's code; seconds until it is worth trying again
   */
  constructor(title, text, { code = "", retryAfter = null } = {}) {
    super(`${title}: ${text}`);
    this.title = title;
    this.text = text;
    this.code = code;
    this.retryAfter = retryAfter;
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

/** @type {Record<string, ProblemText>} */
const SERVER = {
  erase_failed: { title: "Not everything is erased yet", text: "The server tries again until all of it is gone." },
  store_failed: { title: "The server cannot store anything now", text: "Its disk may be full." },
  full: { title: "The server is full", text: "Everyone gets a place of their own, and all are taken just now." },
  engine_gone: { title: "The server is restarting", text: "The part that builds heads has to start again." },
  unknown_session: { title: "That session is gone", text: "It was erased or has run out. You can start a new one." },
  protocol: { title: "This page is out of date", text: "The server has a newer version. Reload the page." },
  bad_offer: { title: "The connection was not understood", text: "The server could not read this browser’s offer." },
};

/**
 * @param {number} status
 * @param {{code?: string, message?: string}} body
 * @param {number | null} retryAfter seconds
 */
export function serverError(status, body, retryAfter) {
  const words = SERVER[body.code ?? ""] ?? { title: "The server refused", text: `It answered ${status}.` };
  const detail = body.code === "full" || !body.message ? "" : ` (${body.message})`;
  return new PlainError(words.title, words.text + detail, { code: body.code ?? `http_${status}`, retryAfter });
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
