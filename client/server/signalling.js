/** The HTTP half of the protocol: configuration, offer and answer, trickled candidates, keeping, deleting, the GLB. */

import { PROTOCOL_VERSION } from "./messages.js";
import { NO_WEBRTC, PlainError, serverError } from "../page/texts.js";

/**
 * @typedef {object} Config
 * @property {number} protocol
 * @property {RTCIceServer[]} iceServers
 * @property {{sessions: number, message_bytes: number, render_size: number, grace_seconds: number, kept_days: number | null}} limits
 * @property {string | null} sample address of the sample clip, relative to the page
 * @property {boolean} key_needed the server asks for its access key before a session begins
 */

/**
 * Whether this browser can send video at all.
 * @returns {PlainError | null} why not
 */
export function peerObstacle() {
  return typeof RTCPeerConnection === "function" ? null : new PlainError(NO_WEBRTC.title, NO_WEBRTC.text, { code: "no_webrtc" });
}

/** Image quality from the first second on, instead of a slow start: the avatar starts from the first frames. */
const START_BITRATE_KBPS = 2500;
const MAX_BITRATE_BPS = 4_000_000;

/**
 * A request to the server, relative to the page.
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} with a status of 2xx
 * @throws {PlainError} with code "unreachable", or the server's own
 */
async function request(path, options) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { cache: "no-store", ...options });
  } catch {
    throw new PlainError("The server cannot be reached", "It may be restarting, or the network is down.", { code: "unreachable" });
  }
  if (response.ok) return response;
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const body = await response.json().catch(() => ({}));
  throw serverError(response.status, body?.error ?? {}, Number.isFinite(retryAfter) ? retryAfter : null);
}

/**
 * @param {unknown} content
 * @param {string} [method]
 * @returns {RequestInit}
 */
function json(content, method = "POST") {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
}

/** @returns {Promise<Config>} */
export async function fetchConfig() {
  const config = await (await request("config")).json();
  if (config.protocol !== PROTOCOL_VERSION) {
    throw new PlainError(
      "This page and its server do not match",
      `The page speaks protocol ${PROTOCOL_VERSION}, the server ${config.protocol}. Reload the page.`,
      { code: "protocol" },
    );
  }
  return config;
}

/**
 * Give the server its access key; this browser is then let in.
 * @param {string} key
 * @throws {PlainError} with code "bad_key"
 */
export async function enterKey(key) {
  await request("access", json({ key }));
}

/**
 * @param {string} session
 * @returns {Promise<Blob>} the avatar as glTF binary
 */
export async function fetchAvatar(session) {
  return (await request(`session/${session}/avatar.glb`)).blob();
}

/**
 * @param {string} session
 * @param {boolean} keep
 * @returns {Promise<{kept: boolean, stored: boolean}>}
 */
export async function setKept(session, keep) {
  return (await request(`session/${session}/keep`, json({ keep }))).json();
}

/** Candidates are waited for at most this long: the description is sent with those that are known by then. */
const GATHERING_MS = 2000;

/**
 * Hear the owner of a view link's session.
 * @param {string} token of the link
 * @param {RTCPeerConnection} connection receives the audio
 * @throws {PlainError}
 */
export async function listen(token, connection) {
  connection.addTransceiver("audio", { direction: "recvonly" });
  await offerTo(`view/${token}/voice`, connection);
}

/**
 * Connect to the server by a data channel alone: whether that succeeds says whether UDP gets through.
 * @param {RTCPeerConnection} connection
 * @throws {PlainError}
 */
export async function checkConnection(connection) {
  connection.createDataChannel("check");
  await offerTo("check", connection);
}

/**
 * @param {string} path that answers offers which hold all of their candidates
 * @param {RTCPeerConnection} connection
 * @throws {PlainError}
 */
async function offerTo(path, connection) {
  await connection.setLocalDescription(await connection.createOffer());
  await gathered(connection);
  const body = { protocol: PROTOCOL_VERSION, sdp: connection.localDescription?.sdp, type: "offer" };
  await connection.setRemoteDescription(await (await request(path, json(body))).json());
}

/**
 * Wait until a connection has found its candidates, or for as long as is worth waiting.
 * @param {RTCPeerConnection} connection
 * @returns {Promise<void>}
 */
export function gathered(connection) {
  return new Promise((resolve) => {
    setTimeout(resolve, GATHERING_MS);
    const check = () => { if (connection.iceGatheringState === "complete") resolve(); };
    connection.addEventListener("icegatheringstatechange", check);
    check();
  });
}

/** @typedef {{id: string, viewers: number, expires_s: number | null}} ViewLinkState */

/**
 * Make a link by which others may watch a session.
 * @param {string} session
 * @param {number | null} seconds how long it lasts; null: as long as the session
 * @returns {Promise<{id: string, path: string}>} its name, and its address relative to the page
 */
export async function addLink(session, seconds) {
  return (await request(`session/${session}/links`, json(seconds === null ? {} : { seconds }))).json();
}

/**
 * Motion to and from other programs.
 * @typedef {{outputs: string[], sources: string[], send: boolean, source: string | null, trouble: string | null}} MotionState
 */

/**
 * @param {string} session
 * @returns {Promise<MotionState>}
 */
export async function fetchMotion(session) {
  return (await request(`session/${session}/motion`)).json();
}

/**
 * @param {string} session
 * @param {{send?: boolean, source?: string | null}} change
 * @returns {Promise<MotionState>}
 */
export async function changeMotion(session, change) {
  return (await request(`session/${session}/motion`, json(change))).json();
}

/**
 * @param {string} session
 * @returns {Promise<ViewLinkState[]>}
 */
export async function fetchLinks(session) {
  return (await (await request(`session/${session}/links`)).json()).links;
}

/**
 * @param {string} session
 * @param {string} link
 */
export async function revokeLink(session, link) {
  await request(`session/${session}/links/${link}`, { method: "DELETE" });
}

/**
 * End a session and erase its data. Outlives the page that asks for it.
 * @param {string} session
 */
export async function deleteSession(session) {
  await request(`session/${session}`, { method: "DELETE", keepalive: true });
}

/**
 * @param {string} digest of a piece that is everybody's; the browser keeps it
 * @returns {Promise<ArrayBuffer>}
 */
export async function fetchPiece(digest) {
  return (await request(`piece/${digest}`, { cache: "default" })).arrayBuffer();
}

/**
 * What a page asks of its websocket.
 * @typedef {object} Wants
 * @property {readonly string[]} feeds
 * @property {string | null} held what it has of the avatar
 */

/**
 * Address of a websocket.
 * @param {string} path
 * @param {Wants} wants
 */
export function socketAddress(path, { feeds, held }) {
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  address.searchParams.set("protocol", String(PROTOCOL_VERSION));
  address.searchParams.set("receive", feeds.join(","));
  if (held) address.searchParams.set("have", held);
  return address;
}

/**
 * Let the sender start at the bitrate that it would reach after some seconds (a hint that Chromium reads).
 * @param {string} sdp the server's answer
 */
export function withStartBitrate(sdp) {
  const codec = /^a=rtpmap:(\d+) (?:VP8|H264|VP9)\/90000\r?$/m.exec(sdp);
  if (!codec) return sdp;
  const hint = `x-google-start-bitrate=${START_BITRATE_KBPS}`;
  const format = new RegExp(`^(a=fmtp:${codec[1]} [^\\r\\n]*)`, "m");
  if (format.test(sdp)) return sdp.replace(format, `$1;${hint}`);
  return sdp.replace(codec[0], `${codec[0].trimEnd()}\r\na=fmtp:${codec[1]} ${hint}\r`);
}

/** Label of the data channel over which parameters come. */
const PARAMETERS_CHANNEL = "parameters";

/** One peer connection that sends a stream to a session, and receives parameters. */
export class Peer {
  /** @type {string | null} */
  session = null;
  peer = -1;
  resumed = false;
  /** @type {RTCIceCandidateInit[]} candidates that were found before the session's id was known */
  #early = [];

  /**
   * @param {Config} config
   * @param {MediaStream} stream
   * @param {MediaStreamTrack | null} voice microphone that the guests hear
   * @param {(message: ArrayBuffer) => void} onParameters packed parameters, some of which get lost
   * @throws {PlainError} with code "no_webrtc"
   */
  constructor(config, stream, voice, onParameters) {
    const obstacle = peerObstacle();
    if (obstacle) throw obstacle;
    this.connection = new RTCPeerConnection({ iceServers: config.iceServers, bundlePolicy: "max-bundle" });
    const channel = this.connection.createDataChannel(PARAMETERS_CHANNEL, { ordered: false, maxRetransmits: 0 });
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }) => onParameters(data));
    const [track] = stream.getVideoTracks();
    this.sender = this.connection.addTrack(track, stream);
    if (voice) this.connection.addTrack(voice, stream);
    this.connection.addEventListener("icecandidate", ({ candidate }) => this.#trickle(candidate));
  }

  /**
   * @param {string | null} session to join, or null for a new one
   * @throws {PlainError}
   */
  async connect(session) {
    const offer = await this.connection.createOffer();
    await this.connection.setLocalDescription(offer);
    const body = { protocol: PROTOCOL_VERSION, sdp: offer.sdp, type: "offer", ...(session ? { session } : {}) };
    const answer = await (await request("offer", json(body))).json();
    this.session = answer.session;
    this.peer = answer.peer;
    this.resumed = answer.resumed;
    for (const candidate of this.#early.splice(0)) this.#patch(candidate);
    await this.connection.setRemoteDescription({ type: "answer", sdp: withStartBitrate(answer.sdp) });
  }

  /**
   * Bound what the camera sends; the browser shrinks larger pictures.
   * @param {number} maxPixels width times height of a frame
   */
  async limit(maxPixels) {
    const { width = 0, height = 0 } = this.sender.track?.getSettings() ?? {};
    const parameters = this.sender.getParameters();
    for (const encoding of parameters.encodings) {
      encoding.maxBitrate = MAX_BITRATE_BPS;
      encoding.scaleResolutionDownBy = Math.max(1, Math.sqrt((width * height) / maxPixels));
    }
    parameters.degradationPreference = "maintain-resolution";
    await this.sender.setParameters(parameters).catch(() => undefined); // a hint: browsers without it send all the same
  }

  /** @param {RTCIceCandidate | null} candidate */
  #trickle(candidate) {
    const description = candidate?.toJSON() ?? { candidate: "" };
    if (this.session === null) this.#early.push(description);
    else this.#patch(description);
  }

  /** @param {RTCIceCandidateInit} candidate */
  #patch({ candidate = "", sdpMid = null, sdpMLineIndex = null }) {
    const body = { peer: this.peer, candidate, sdpMid, sdpMLineIndex };
    // A lost candidate costs one of several ways to connect; if none is left, the connection itself fails and is repaired.
    request(`offer/${this.session}`, json(body, "PATCH")).catch(() => undefined);
  }

  /** @param {MediaStream} stream */
  async replaceStream(stream) {
    await this.sender.replaceTrack(stream.getVideoTracks()[0]);
  }

  close() {
    this.connection.close();
  }
}
