/**
 * Pieces of an avatar, as binary messages: `stream/protocol/avatar.py`, seen from the page. Runs under Node as well.
 */

import { PROTOCOL_VERSION, ProtocolError, magicOf } from "./messages.js";

export const PIECE_HEADER_BYTES = 24;
export const PIECE_MAGIC = "FITA";

/** What a piece holds, by the number in its header. */
export const PIECE_KINDS = Object.freeze([
  "model", "strands", "state", "neutral", "tile", "hair", "hair_texture", "correctives", "corrective_map", "glasses",
]);

const COMPLETE = 1;

/** @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Float32Array} Values */

/**
 * One piece.
 * @typedef {object} Piece
 * @property {string} kind one of `PIECE_KINDS`
 * @property {boolean} complete the page now has the whole avatar of this version
 * @property {number} version of the avatar
 * @property {number} number of the slot among those of its kind
 * @property {number} tile
 * @property {Record<string, any>} header
 * @property {Uint8Array<ArrayBuffer>} payload a view of the message
 */

/** @type {Readonly<Record<string, {new (buffer: ArrayBuffer): Values, BYTES_PER_ELEMENT: number}>>} */
const ARRAY_TYPES = Object.freeze({
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array, float32: Float32Array,
});

/**
 * Read a piece.
 * @param {ArrayBuffer} message
 * @returns {Piece}
 * @throws {ProtocolError} if it is not a piece of this version, or truncated
 */
export function parsePiece(message) {
  if (message.byteLength < PIECE_HEADER_BYTES) {
    throw new ProtocolError(`a piece's header has ${PIECE_HEADER_BYTES} bytes, the message ${message.byteLength}`);
  }
  const view = new DataView(message);
  const version = view.getUint16(4, true);
  if (magicOf(message) !== PIECE_MAGIC || version !== PROTOCOL_VERSION) {
    throw new ProtocolError(`not a piece of protocol ${PROTOCOL_VERSION}: "${magicOf(message)}" ${version}`);
  }
  const kind = PIECE_KINDS[view.getUint8(6)];
  const [textBytes, payloadBytes] = [view.getUint32(16, true), view.getUint32(20, true)];
  if (!kind || message.byteLength !== PIECE_HEADER_BYTES + textBytes + payloadBytes) {
    throw new ProtocolError(`inconsistent header: kind ${view.getUint8(6)}, ${textBytes} + ${payloadBytes} bytes`);
  }
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(message, PIECE_HEADER_BYTES, textBytes)));
  } catch (error) {
    throw new ProtocolError(`a piece's header is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  return {
    kind,
    complete: (view.getUint8(7) & COMPLETE) !== 0,
    version: view.getUint32(8, true),
    number: view.getUint16(12, true),
    tile: view.getUint16(14, true),
    header,
    payload: new Uint8Array(message, PIECE_HEADER_BYTES + textBytes, payloadBytes),
  };
}

/**
 * The arrays of a piece by name: codes, or floats where the header has a scale.
 * @param {Piece} piece
 * @returns {Promise<Record<string, Values>>}
 * @throws {ProtocolError} if the payload does not hold what the header describes
 */
export async function pieceArrays({ header, payload }) {
  let data;
  try {
    const inflated = new Blob([payload]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = await new Response(inflated).arrayBuffer();
  } catch (error) {
    throw new ProtocolError(`the arrays of a piece cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  /** @type {Record<string, Values>} */
  const arrays = {};
  let offset = 0;
  for (const { name, type, shape, scale } of header.arrays) {
    const Type = ARRAY_TYPES[type];
    const bytes = shape.reduce((/** @type {number} */ all, /** @type {number} */ side) => all * side, Type?.BYTES_PER_ELEMENT ?? 0);
    if (!Type || offset + bytes > data.byteLength) throw new ProtocolError(`a piece lacks its array ${name}`);
    const codes = new Type(data.slice(offset, offset + bytes));
    arrays[name] = scale === undefined ? codes : Float32Array.from(codes, (code) => code * scale);
    offset += bytes;
  }
  return arrays;
}
