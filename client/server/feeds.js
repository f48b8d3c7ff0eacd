/** What a page receives of an avatar, and whom each binary message is for. */

import { magicOf, parseRender } from "./messages.js";
import { PARAMETERS_MAGIC } from "./parameters.js";
import { PIECE_MAGIC } from "./pieces.js";

/** Of a page that draws the avatar. */
export const DRAWING_FEEDS = Object.freeze(["avatar", "parameters"]);
/** Of a page that shows what the server draws. */
export const RENDER_FEEDS = Object.freeze(["renders"]);

/**
 * @typedef {object} FeedListener
 * @property {(message: ArrayBuffer) => void} onPiece a packed piece of the avatar
 * @property {(message: ArrayBuffer) => void} onParameters packed parameters; the same ones may come twice
 * @property {(render: import("./messages.js").Render) => void} onRender its receiver acknowledges it once it is drawn or dropped
 * @property {() => import("./signalling.js").Wants} wants what the page receives
 */

/**
 * Hand on a binary message.
 * @param {ArrayBuffer} message
 * @param {FeedListener} listener
 * @throws {import("./messages.js").ProtocolError} if it is none of this version
 */
export function receiveBinary(message, listener) {
  const magic = magicOf(message);
  if (magic === PIECE_MAGIC) listener.onPiece(message);
  else if (magic === PARAMETERS_MAGIC) listener.onParameters(message);
  else listener.onRender(parseRender(message));
}
