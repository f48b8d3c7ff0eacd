/** A session with the server, kept alive: a peer connection that sends video and a websocket that receives the avatar. */

import { CLOSE_ENDED, CLOSE_FORBIDDEN, CLOSE_FULL, CLOSE_OTHER_VERSION, CLOSE_TOO_LARGE, CLOSE_UNKNOWN_SESSION, ProtocolError, parseEvent } from "./messages.js";
import { receiveBinary } from "./feeds.js";
import { Peer, deleteSession, socketAddress } from "./signalling.js";
import { PlainError, asPlainError, serverError } from "../page/texts.js";

/** @typedef {import("./messages.js").ServerEvent} ServerEvent */
/** @typedef {import("./messages.js").Render} Render */
/** @typedef {import("./signalling.js").Config} Config */

/**
 * State of a session's connection.
 * @typedef {object} ConnectionState
 * @property {"connecting" | "live" | "waiting" | "over"} state `waiting` tries again by itself after `seconds`
 * @property {PlainError | null} error why it waits or is over
 * @property {number} seconds until the next try
 */

/**
 * @typedef {object} Listener
 * @property {(state: ConnectionState) => void} onConnectionState
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(render: Render) => void} onRender its receiver calls `acknowledge` once it is drawn or dropped
 * @property {(message: ArrayBuffer) => void} onPiece a packed piece of the avatar
 * @property {(message: ArrayBuffer) => void} onParameters packed parameters; the same ones may come twice
 * @property {() => import("./signalling.js").Wants} wants what the page receives
 * @property {(session: string, resumed: boolean) => void} onSession called when a session's id is known, or has changed
 */

const FIRST_WAIT_SECONDS = 0.5;
const LONGEST_WAIT_SECONDS = 10;
/** A connection that is interrupted often recovers within this time. */
const INTERRUPTION_MS = 4000;
const CONNECT_LIMIT_MS = 15_000;
/** A data channel that has brought no parameters for this long does not work: the websocket brings them. */
const CHANNEL_SILENCE_MS = 2000;
const CHANNEL_CHECK_MS = 500;
/** Codes of errors that another try does not mend. */
const FINAL_CODES = new Set(["bad_offer", "protocol", "bad_message", "too_large", "http_405", "http_404", "no_key", "no_user", "no_webrtc", "unexpected"]);
/** Codes of errors after which a new session begins: the old one has ended, or this browser no longer owns it. */
const GONE_CODES = new Set(["unknown_session", "forbidden"]);

export class LiveSession {
  /** @type {string | null} */
  id = null;
  #over = false;
  /** The person has left for good: a session of which the server tells only now is erased. */
  #abandoned = false;
  #repairing = false;
  #waitSeconds = FIRST_WAIT_SECONDS;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {(() => void) | null} */
  #wake = null;
  #sendsVideo = true;
  /** @type {MediaStreamTrack | null} microphone that the guests hear */
  #voice = null;
  /** When parameters last came over the data channel. */
  #channelTime = -Infinity;
  #channelWorks = false;
  #channelTimer = 0;
  /** Pixels of a camera's frame that the server takes. */
  #maxPixels = Infinity;

  /**
   * @param {Config} config
   * @param {MediaStream} stream
   * @param {string | null} id of a session to join
   * @param {Listener} listener
   */
  constructor(config, stream, id, listener) {
    this.config = config;
    this.stream = stream;
    this.id = id;
    this.listener = listener;
  }

  /** Connect, and stay connected until `close`. */
  start() {
    this.#repair();
  }

  /** Ask for what the page wants now. */
  renewFeeds() {
    this.send({ type: "receive", feeds: this.#feeds() });
  }

  /** Number of this page's peer in the session. */
  get peer() {
    return this.#peer?.peer ?? -1;
  }

  /** Try now instead of waiting. */
  retry() {
    this.#wake?.();
  }

  /** Another page sends the video of this session now; this one only looks on. */
  yieldCamera() {
    this.#sendsVideo = false;
    this.#dropPeer();
  }

  /** Send video again after `yieldCamera`. */
  takeCamera() {
    this.#sendsVideo = true;
    this.#repair();
  }

  /** @param {Record<string, unknown>} message */
  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** @param {number} sequence of a render that has been drawn or dropped */
  acknowledge(sequence) {
    this.send({ type: "ack", sequence });
  }

  /** @param {MediaStream} stream */
  async replaceStream(stream) {
    this.stream = stream;
    await this.#peer?.replaceStream(stream);
    await this.#peer?.limit(this.#maxPixels);
  }

  /**
   * Send frames of no more pixels than this from now on: the server cannot decode more.
   * @param {number} pixels
   */
  async limitCamera(pixels) {
    this.#maxPixels = Math.min(this.#maxPixels, pixels);
    await this.#peer?.limit(this.#maxPixels);
  }

  /**
   * Let the guests hear a microphone, or none; the camera connects anew with it.
   * @param {MediaStreamTrack | null} track
   */
  setVoice(track) {
    this.#voice = track;
    if (!this.#sendsVideo) return;
    this.#dropPeer();
    this.#repair();
  }

  /** Leave for good: the server erases the session at once, and one that is still being begun as soon as it is known. */
  abandon() {
    this.#abandoned = true;
    if (this.id) erase(this.id);
    this.close();
  }

  /** Leave. The server erases a session that is not kept once nobody has come back for a while. */
  close() {
    this.#over = true;
    this.#wake?.();
    clearInterval(this.#channelTimer);
    this.#dropPeer();
    this.#dropSocket();
  }

  /** Loop: connect whatever is not connected, until all is or the session is over. One such loop runs at a time. */
  async #repair() {
    if (this.#repairing) return;
    this.#repairing = true;
    while (!this.#over && !this.#isConnected()) {
      try {
        this.#report("connecting");
        if (this.#sendsVideo && !this.#peer) await this.#connectPeer();
        if (!this.#over && !this.#socket) await this.#connectSocket();
        this.#waitSeconds = FIRST_WAIT_SECONDS;
      } catch (error) {
        await this.#waitBeforeRetry(error);
      }
    }
    this.#repairing = false;
    if (!this.#over) this.#report("live");
  }

  #isConnected() {
    return this.#socket !== null && (this.#peer !== null || !this.#sendsVideo);
  }

  async #connectPeer() {
    const peer = new Peer(this.config, this.stream, this.#voice, (message) => this.#moved(message));
    try {
      await peer.connect(this.id);
      await peer.limit(this.#maxPixels);
      if (this.#over) {
        if (this.#abandoned && peer.session) erase(peer.session);
        return peer.close();
      }
      if (peer.session !== this.id) this.#dropSocket();
      this.id = peer.session;
      await connected(peer.connection);
    } catch (error) {
      peer.close();
      throw error;
    }
    if (this.#over) return peer.close();
    this.#peer = peer;
    this.listener.onSession(/** @type {string} */ (peer.session), peer.resumed);
    let interruption = 0;
    peer.connection.addEventListener("connectionstatechange", () => {
      clearTimeout(interruption);
      const state = peer.connection.connectionState;
      if (this.#peer !== peer || state === "connected") return;
      if (state === "failed") this.#lose(peer);
      else interruption = Number(setTimeout(() => this.#lose(peer), INTERRUPTION_MS));
    });
  }

  /** @param {Peer} peer */
  #lose(peer) {
    if (this.#peer !== peer) return;
    this.#dropPeer();
    this.#repair();
  }

  async #connectSocket() {
    const wants = { ...this.listener.wants(), feeds: this.#feeds() };
    const socket = new WebSocket(socketAddress(`session/${this.id}/view`, wants));
    socket.binaryType = "arraybuffer";
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = (event) => reject(closeError(event));
    });
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (event.code === CLOSE_ENDED) this.#finish(null);
      else if (event.code === CLOSE_UNKNOWN_SESSION || event.code === CLOSE_FORBIDDEN) this.#forget();
      else if (event.code === CLOSE_TOO_LARGE || event.code === CLOSE_OTHER_VERSION) this.#finish(closeError(event));
      else if (event.code === CLOSE_FULL) this.#dropPeer(); // the session goes on at another server, with a new connection
      if (!this.#over) this.#repair();
    };
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    try {
      if (typeof data !== "string") return receiveBinary(data, this.listener);
      const event = parseEvent(data);
      if (event.type === "ended") this.#over = true;
      this.listener.onEvent(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const text = `The page could not read a message of the server: ${error.message}. Reload the page.`;
      this.#finish(new PlainError("Page and server do not understand each other", text, { code: "protocol" }));
    }
  }

  /** @param {ArrayBuffer} message that the data channel has brought */
  #moved(message) {
    if (this.#over) return;
    this.#channelTime = performance.now();
    this.#channelTimer ||= Number(setInterval(() => this.#checkChannel(), CHANNEL_CHECK_MS));
    if (!this.#channelWorks) this.#checkChannel();
    this.listener.onParameters(message);
  }

  /** Receive parameters over the websocket if, and only if, the data channel does not work. */
  #checkChannel() {
    const works = performance.now() - this.#channelTime < CHANNEL_SILENCE_MS;
    if (works === this.#channelWorks) return;
    this.#channelWorks = works;
    this.renewFeeds();
  }

  #feeds() {
    return this.listener.wants().feeds.filter((feed) => feed !== "parameters" || !this.#channelWorks);
  }

  /** The server does not know the session (any more): begin a new one. */
  #forget() {
    this.id = null;
    this.#dropPeer();
    this.#dropSocket();
  }

  /** @param {unknown} cause */
  async #waitBeforeRetry(cause) {
    const error = asPlainError(cause);
    if (GONE_CODES.has(error.code)) this.#forget();
    else if (FINAL_CODES.has(error.code)) return this.#finish(error);
    if (this.#over) return;
    const seconds = GONE_CODES.has(error.code) ? FIRST_WAIT_SECONDS : error.retryAfter ?? this.#waitSeconds;
    this.#waitSeconds = Math.min(this.#waitSeconds * 2, LONGEST_WAIT_SECONDS);
    this.#report("waiting", error, seconds);
    await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  /** @param {PlainError | null} error */
  #finish(error) {
    this.close();
    this.#report("over", error);
  }

  /**
   * @param {ConnectionState["state"]} state
   * @param {PlainError | null} error
   * @param {number} seconds
   */
  #report(state, error = null, seconds = 0) {
    this.listener.onConnectionState({ state, error, seconds });
  }

  #dropPeer() {
    const peer = this.#peer;
    this.#peer = null;
    peer?.close();
  }

  #dropSocket() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }
}

/** @param {string} session that nobody needs any more; the server erases it anyway once nobody comes back */
function erase(session) {
  deleteSession(session).catch(() => undefined);
}

/**
 * Wait until a connection is established.
 * @param {RTCPeerConnection} connection
 * @returns {Promise<void>}
 * @throws {PlainError} with code "no_route"
 */
function connected(connection) {
  return new Promise((resolve, reject) => {
    const text = "The camera’s video does not get through to the server: a firewall may block it.";
    const fail = () => reject(new PlainError("No connection for video", text, { code: "no_route" }));
    const timer = setTimeout(fail, CONNECT_LIMIT_MS);
    const check = () => {
      if (connection.connectionState === "connected") resolve();
      else if (connection.connectionState === "failed") fail();
      else return;
      clearTimeout(timer);
      connection.removeEventListener("connectionstatechange", check);
    };
    connection.addEventListener("connectionstatechange", check);
    check();
  });
}

/**
 * @param {CloseEvent} event
 * @returns {PlainError}
 */
function closeError({ code, reason }) {
  if (code === CLOSE_UNKNOWN_SESSION || code === CLOSE_FORBIDDEN) return new PlainError("That session is gone", "A new one begins.", { code: "unknown_session" });
  if (code === CLOSE_OTHER_VERSION) return serverError(400, { code: "protocol" }, null);
  if (code === CLOSE_TOO_LARGE) {
    return new PlainError("A message was too large", "Reload the page; if it happens again, tell the person who runs the server.", { code: "too_large" });
  }
  return new PlainError("The connection was lost", reason || "The page reconnects to the same session by itself.", { code: "lost" });
}
