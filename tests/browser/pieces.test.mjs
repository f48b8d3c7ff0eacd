import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import { AvatarStream } from "../../client/avatar/avatar_stream.js";
import { ProtocolError } from "../../client/server/messages.js";
import { PIECE_KINDS, PIECE_HEADER_BYTES, parsePiece, pieceArrays } from "../../client/server/pieces.js";

globalThis.createImageBitmap = async (blob) => ({ bytes: blob.size, close() {} });

/** A packed piece. */
function packed(kind, header, payload = new Uint8Array(), { version = 1, complete = false, number = 0, tile = 0 } = {}) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const message = new ArrayBuffer(PIECE_HEADER_BYTES + text.length + payload.length);
  const view = new DataView(message);
  [..."FITA"].forEach((letter, index) => view.setUint8(index, letter.charCodeAt(0)));
  view.setUint16(4, 3, true);
  view.setUint8(6, PIECE_KINDS.indexOf(kind));
  view.setUint8(7, complete ? 1 : 0);
  view.setUint32(8, version, true);
  view.setUint16(12, number, true);
  view.setUint16(14, tile, true);
  view.setUint32(16, text.length, true);
  view.setUint32(20, payload.length, true);
  new Uint8Array(message).set(text, PIECE_HEADER_BYTES);
  new Uint8Array(message).set(payload, PIECE_HEADER_BYTES + text.length);
  return message;
}

/** A packed piece of arrays: `[name, typed array, scale]`. */
function arrays(kind, list, header = {}, options = {}) {
  const described = list.map(([name, values, scale]) => ({
    name, type: values.constructor.name.toLowerCase().replace("array", ""), shape: [values.length], ...(scale ? { scale } : {}),
  }));
  const data = Buffer.concat(list.map(([, values]) => Buffer.from(values.buffer)));
  return packed(kind, { ...header, arrays: described }, new Uint8Array(deflateSync(data)), options);
}

const MODEL = arrays("model", [
  ["triangles", Uint16Array.of(0, 1, 2)], ["shininess", Uint16Array.of(24)], ["uv", Uint16Array.of(0, 65535), 1 / 65535], ["uvTriangles", Uint16Array.of(0, 0, 0)],
  ["morphStarts", new Uint32Array(53)], ["morphVertices", new Uint16Array()], ["morphOffsets", new Int16Array()],
  ["leftEye", new Uint16Array()], ["rightEye", new Uint16Array()], ["occlusion", Uint16Array.of(65535), 1 / 65535],
  ["lips", new Uint16Array()], ["lipWeights", new Float32Array()], ["mouthInside", new Uint8Array()], ["mouthLining", new Uint16Array()],
], { morphStep: 5e-6 });

/** A stream whose calls of the renderer are noted. */
function streamed() {
  const calls = [];
  const target = new Proxy({}, { get: (_, name) => (...parameters) => calls.push([name, ...parameters]) });
  const changes = [];
  const errors = [];
  const stream = new AvatarStream(target, async () => MODEL, (state) => changes.push(state.stage), (error) => errors.push(error));
  stream.begin({ avatar: "a", model: "0" });
  calls.length = 0;
  return { stream, calls, changes, errors };
}

const neutral = (options) => arrays("neutral", [["vertices", Int16Array.of(-2, 4, 6), 0.5]], {}, options);
const state = (fields, options) => packed("state", { stage: "skin", light: null, hair: false, correctives: 0, ...fields }, undefined, options);
const tile = (size, x, options) => packed("tile", { media: "image/jpeg", map: "diffuse", size, x, y: 0 }, Uint8Array.of(1), options);

test("arrays come back, scaled where they are", async () => {
  const values = await pieceArrays(parsePiece(neutral({ version: 7 })));
  assert.deepEqual([...values.vertices], [-1, 2, 3]);
  const lying = packed("neutral", { arrays: [{ name: "a", type: "int16", shape: [9] }] }, new Uint8Array(deflateSync(Buffer.alloc(4))));
  await assert.rejects(pieceArrays(parsePiece(lying)), ProtocolError);
  const broken = packed("neutral", { arrays: [] }, Uint8Array.of(1, 2, 3));
  await assert.rejects(pieceArrays(parsePiece(broken)), ProtocolError);
});

test("what is no piece is refused", () => {
  const good = state({});
  for (const bad of [new ArrayBuffer(3), good.slice(0, -1), new ArrayBuffer(40)]) assert.throws(() => parsePiece(bad), ProtocolError);
});

test("the head is set once it is whole, then moved; tiles go to their place", async () => {
  const { stream, calls, changes } = streamed();
  assert.equal(stream.held, null);
  stream.push(neutral());
  stream.push(tile(256, 0, { tile: 0 }));
  stream.push(tile(256, 128, { tile: 1 }));
  assert.deepEqual(calls, []);
  stream.push(state({}, { version: 5, complete: true }));
  await stream.settled;
  assert.deepEqual(calls.map(([name]) => name), ["setPart", "setTexture", "setTextureRegion", "setTextureRegion"]);
  assert.equal(calls[0][1].name, "head");
  assert.deepEqual([...calls[0][1].positions], [-1, 2, 3]);
  assert.deepEqual(calls[1][3].data.length, 256 * 256 * 3);
  assert.deepEqual(calls[3].slice(1, 5), ["head", "diffuse", 128, 0]);
  assert.equal(stream.held, "a.5");
  assert.deepEqual(changes, ["skin"]);
  calls.length = 0;
  stream.push(neutral());
  stream.push(tile(256, 128, { tile: 1, version: 8, complete: true }));
  await stream.settled;
  assert.deepEqual(calls.map(([name]) => name), ["setPositions", "setTextureRegion"]);
  assert.equal(stream.held, "a.8");
});

test("correctives are set when all of their maps are there, hair comes and goes", async () => {
  globalThis.OffscreenCanvas = class {
    getContext() {
      return { drawImage() {}, getImageData: () => ({ data: new Uint8ClampedArray(4 * 4).fill(130) }) };
    }
  };
  globalThis.createImageBitmap = async () => ({ width: 2, height: 2, close() {} });
  const { stream, calls, errors } = streamed();
  stream.push(neutral());
  stream.push(arrays("correctives", [["mixing", Float32Array.of(1)]]));
  stream.push(packed("corrective_map", { media: "image/jpeg", size: 2, scale: 0.5 }, Uint8Array.of(1)));
  stream.push(arrays("hair", [
    ["vertices", Int16Array.of(1), 1], ["normals", Int8Array.of(1), 1], ["strands", Int8Array.of(1), 1],
    ["uv", Uint16Array.of(1), 1], ["triangles", Uint16Array.of(0)],
  ]));
  stream.push(packed("hair_texture", { media: "image/webp" }, Uint8Array.of(1)));
  stream.push(state({ correctives: 1, hair: true }, { version: 2, complete: true }));
  await stream.settled;
  assert.deepEqual(errors, []);
  assert.deepEqual(calls.map(([name]) => name), ["setPart", "setPart", "setCorrectives"]);
  const { deltas, scales, size } = calls[2][2];
  assert.deepEqual([[...deltas], [...scales], size], [new Array(12).fill(2), [0.5], 2]);
  calls.length = 0;
  stream.push(state({}, { version: 3, complete: true }));
  await stream.settled;
  assert.deepEqual(calls, [["removePart", "hair"], ["setCorrectives", "head", null]]);
});

test("another avatar begins anew; what still comes of the first is dropped", async () => {
  const { stream, calls } = streamed();
  stream.push(neutral());
  stream.push(state({}, { version: 5, complete: true }));
  stream.begin({ avatar: "b", model: "0" });
  await stream.settled;
  assert.deepEqual(calls.map(([name]) => name).filter((name) => name === "setPart"), []);
  assert.equal(stream.held, null);
});
