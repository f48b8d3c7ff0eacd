/** The viewer's end of a view link: a websocket that receives the avatar, kept alive. */

import { CLOSE_ENDED, CLOSE_OTHER_VERSION, CLOSE_REVOKED, CLOSE_UNKNOWN_SESSION, ProtocolError, parseEvent } from "./messages.js";
import { receiveBinary } from "./feeds.js";
import { socketAddress } from "./signalling.js";

/** @typedef {import("./messages.js").Render} Render */
/** @typedef {import("./messages.js").ServerEvent} ServerEvent */

/**
 * What a view link leads to: `away` and `lost` try again by themselves.
 * @typedef {"connecting" | "live" | "away" | "lost" | "ended" | "revoked" | "outdated"} ViewState
 */

/**
 * @typedef {object} ViewListener
 * @property {(state: ViewState) => void} onState
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(message: ArrayBuffer) => void} onPiece a packed piece of the avatar
 * @property {(message: ArrayBuffer) => void} onParameters packed parameters
 * @property {() => import("./signalling.js").Wants} wants what the page receives
 * @property {(render: Render) => void} onRender its receiver calls `acknowledge` once it is drawn or dropped
 */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const AWAY_WAIT_MS = 3000;
/** @type {Record<number, ViewState>} close codes after which there is no other try */
const FINAL = { [CLOSE_ENDED]: "ended", [CLOSE_REVOKED]: "revoked", [CLOSE_OTHER_VERSION]: "outdated" };

/**
 * Token of the view link at which this page is.
 * @param {string} path of the page's address
 */
export function tokenOf(path) {
  return path.split("/").filter(Boolean).pop() ?? "";
}

export class ViewLink {
  /** @type {WebSocket | null} */
  #socket = null;
  #waitMs = FIRST_WAIT_MS;
  #timer = 0;

  /**
   * @param {string} token
   * @param {ViewListener} listener
   * @param {{patient?: boolean}} [options] patient: try again after the session has ended, too; it may be resumed
   */
  constructor(token, listener, { patient = false } = {}) {
    this.token = token;
    this.listener = listener;
    this.patient = patient;
  }

  /** Connect, and stay connected until the session or the link ends. */
  start() {
    clearTimeout(this.#timer);
    this.listener.onState("connecting");
    const socket = new WebSocket(socketAddress(`view/${this.token}/socket`, this.listener.wants()));
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => {
      if (this.#socket === socket) this.#closed(code);
    };
  }

  /** @param {number} sequence of a render that has been drawn or dropped */
  acknowledge(sequence) {
    this.#send({ type: "ack", sequence });
  }

  /** Ask for what the page wants now. */
  renewFeeds() {
    this.#send({ type: "receive", feeds: this.listener.wants().feeds });
  }

  /** @param {Record<string, unknown>} message */
  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    try {
      if (typeof data !== "string") return receiveBinary(data, this.listener);
      const event = parseEvent(data);
      if (event.type === "hello") {
        this.#waitMs = FIRST_WAIT_MS;
        this.listener.onState("live");
      }
      return this.listener.onEvent(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close();
      return this.listener.onState("outdated");
    }
  }

  /** @param {number} code */
  #closed(code) {
    this.#socket = null;
    const final = FINAL[code];
    const ended = final === "ended" && this.patient;
    if (final && !ended) return this.listener.onState(final);
    const away = code === CLOSE_UNKNOWN_SESSION || ended;
    this.listener.onState(away ? "away" : "lost");
    this.#timer = Number(setTimeout(() => this.start(), away ? AWAY_WAIT_MS : this.#waitMs));
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
    return undefined;
  }
}
