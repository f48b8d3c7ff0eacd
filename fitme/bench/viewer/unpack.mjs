/** Reader of what `fitme/bench/viewer/page_data.py` packs. */

const ARRAYS = {
  float32: Float32Array, int8: Int8Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
};

/**
 * @param {ArrayBuffer} buffer
 * @returns {any} the packed tree; its arrays are views of the buffer
 */
export function unpacked(buffer) {
  const all = new Uint8Array(buffer);
  const end = all.indexOf(10) + 1;
  const revived = (/** @type {any} */ value) => {
    if (Array.isArray(value)) return value.map(revived);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.array === "string") return new ARRAYS[value.array](buffer, end + value.offset, value.length);
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, revived(part)]));
  };
  return revived(JSON.parse(new TextDecoder().decode(all.subarray(0, end))));
}
