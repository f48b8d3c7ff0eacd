/** Checks of all that a session needs: camera, server, UDP, and the TURN server where there is one. */

import { cameraObstacle, openCamera } from "./capture.js";
import { checkConnection, fetchConfig, gathered, peerObstacle } from "../server/signalling.js";
import { PlainError } from "../page/texts.js";

const CONNECT_MS = 10_000;

/** @typedef {"camera" | "server" | "udp" | "turn"} CheckName */
/** @typedef {"running" | "good" | "bad" | "none"} CheckState `none`: there is nothing to check */
/** @typedef {(name: CheckName, state: CheckState, text: string) => void} Report */

/**
 * Check one after the other, and report each.
 * @param {Report} report
 */
export async function checkAll(report) {
  await run("camera", report, checkCamera);
  /** @type {import("../server/signalling.js").Config | null} */
  let config = null;
  await run("server", report, async () => {
    config = await fetchConfig();
    return "It answers.";
  });
  if (!config) {
    report("udp", "none", "Not checked: the server cannot be reached.");
    report("turn", "none", "Not checked: the server cannot be reached.");
    return;
  }
  const { iceServers } = /** @type {import("../server/signalling.js").Config} */ (config);
  await run("udp", report, () => checkUdp(iceServers));
  if (!iceServers.some(isTurn)) return report("turn", "none", "This server names none: UDP has to get through directly.");
  return run("turn", report, () => checkTurn(iceServers));
}

/**
 * @param {CheckName} name
 * @param {Report} report
 * @param {() => Promise<string>} check
 */
async function run(name, report, check) {
  report(name, "running", "Checking…");
  try {
    report(name, "good", await check());
  } catch (error) {
    if (!(error instanceof PlainError)) console.error(error);
    report(name, "bad", error instanceof PlainError ? `${error.title}. ${error.text}` : String(error));
  }
}

async function checkCamera() {
  const obstacle = cameraObstacle();
  if (obstacle) throw obstacle;
  const source = await openCamera();
  const track = source.stream.getVideoTracks()[0];
  const { width, height } = track.getSettings();
  const text = `${track.label || "A camera"} gives ${width} × ${height}.`;
  source.close();
  return text;
}

/** @param {RTCIceServer[]} iceServers */
async function checkUdp(iceServers) {
  const obstacle = peerObstacle();
  if (obstacle) throw obstacle;
  const connection = new RTCPeerConnection({ iceServers: iceServers.filter((server) => !isTurn(server)) });
  try {
    await checkConnection(connection);
    await connected(connection);
    return "It gets through to the server.";
  } finally {
    connection.close();
  }
}

/** @param {RTCIceServer[]} iceServers */
async function checkTurn(iceServers) {
  const obstacle = peerObstacle();
  if (obstacle) throw obstacle;
  const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: "relay" });
  try {
    connection.createDataChannel("check");
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    if (/ typ relay/.test(connection.localDescription?.sdp ?? "")) return "It relays for this browser.";
    throw new PlainError("It does not relay", "Its address, name or password may be wrong, or a firewall blocks it.");
  } finally {
    connection.close();
  }
}

/** @param {RTCIceServer} server */
function isTurn({ urls }) {
  return [urls].flat().some((url) => url.startsWith("turn"));
}

/**
 * @param {RTCPeerConnection} connection
 * @returns {Promise<void>}
 */
function connected(connection) {
  return new Promise((resolve, reject) => {
    const text = "A firewall may block it, or the server lies behind NAT and does not name its address: its operator sets "
      + "`udp` in the settings, or a TURN server.";
    const fail = () => reject(new PlainError("Packets do not get through", text, { code: "no_route" }));
    const timer = setTimeout(fail, CONNECT_MS);
    const look = () => {
      if (connection.connectionState === "connected") resolve();
      else if (connection.connectionState === "failed") fail();
      else return;
      clearTimeout(timer);
    };
    connection.addEventListener("connectionstatechange", look);
    look();
  });
}
