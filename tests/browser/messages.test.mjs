import assert from "node:assert/strict";
import { test } from "node:test";

import { ControlQueue, PROTOCOL_VERSION, RENDER_HEADER_BYTES, ProtocolError, parseEvent, parseRender } from "../../client/server/messages.js";

/** A minimal valid render message. */
function message({ magic = "FITM", version = PROTOCOL_VERSION, codec = 1, stage = 2, payload = [1, 2, 3], size = payload.length } = {}) {
  const buffer = new ArrayBuffer(RENDER_HEADER_BYTES + payload.length);
  const view = new DataView(buffer);
  [...magic].forEach((letter, index) => view.setUint8(index, letter.charCodeAt(0)));
  view.setUint16(4, version, true);
  view.setUint8(6, codec);
  view.setUint8(7, stage);
  view.setUint32(8, 4_000_000_000, true);
  view.setFloat64(40, 12.25, true);
  view.setFloat32(48, -0.5, true);
  view.setUint32(76, size, true);
  new Uint8Array(buffer, RENDER_HEADER_BYTES).set(payload);
  return buffer;
}

test("a render's fields are read", () => {
  const render = parseRender(message({ codec: 2 }));
  assert.equal(render.sequence, 4_000_000_000);
  assert.equal(render.mediaType, "image/webp");
  assert.equal(render.sentTime, 12.25);
  assert.equal(render.pose.yaw, -0.5);
  assert.deepEqual([...render.payload], [1, 2, 3]);
});

for (const [name, broken] of Object.entries({
  "of another protocol": message({ version: 2 }),
  "that is none": message({ magic: "JFIF" }),
  "of an unknown codec": message({ codec: 9 }),
  "of an unknown stage": message({ stage: 5 }),
  "that was cut off": message({ size: 4 }),
  "without a whole header": new ArrayBuffer(RENDER_HEADER_BYTES - 1),
  "that is empty": new ArrayBuffer(0),
})) {
  test(`a render ${name} is refused`, () => assert.throws(() => parseRender(broken), ProtocolError));
}

test("events without a type, or of another protocol, are refused; unknown ones are not", () => {
  for (const text of ["", "null", "[]", '"tracking"', "{}", '{"type":3}', '{"type":"hello","protocol":1}']) {
    assert.throws(() => parseEvent(text), ProtocolError, text);
  }
  assert.equal(parseEvent('{"type":"of the future","x":1}').type, "of the future");
});

test("controls wait and merge: the newest value of each field is sent", async () => {
  const sent = [];
  const queue = new ControlQueue((content) => sent.push(content), 20);
  queue.push("light", { intensity: 1 });
  queue.push("light", { intensity: 2, ambient: 0.5 });
  queue.push("camera", { yaw: 1 });
  assert.deepEqual(sent, []);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.deepEqual(sent, [{ type: "light", intensity: 2, ambient: 0.5 }, { type: "camera", yaw: 1 }]);
});
