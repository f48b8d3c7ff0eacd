import assert from "node:assert/strict";
import { test } from "node:test";

import { ProtocolError } from "../../client/server/messages.js";
import { OneEuroFilter, PARAMETERS_HEADER_BYTES, ParameterTrack, parseParameters } from "../../client/server/parameters.js";

const PERIOD_MS = 1000 / 30;

/** Parameters of a head that turns at a steady rate, and opens its mouth. */
function frame(sequence, captureMs, tracked = true) {
  const angle = captureMs * 0.0002;
  const weights = new Float32Array(52);
  weights[3] = Math.min(captureMs / 4000, 1);
  return {
    sequence, captureMs, tracked, receivedMs: captureMs, delayMs: 5,
    rotation: [0, Math.sin(angle / 2), 0, Math.cos(angle / 2)],
    translation: [captureMs * 1e-5, 0, -0.6], gaze: [0, 0, 0, 0], weights,
  };
}

const yaw = ({ rotation }) => 2 * Math.asin(rotation[1]);

/** Samples at the screen's rate of frames that arrive at given times. */
function played(arrivals, untilMs = 4000) {
  const track = new ParameterTrack();
  const samples = [];
  let next = 0;
  for (let now = 0; now < untilMs; now += 1000 / 60) {
    while (next < arrivals.length && arrivals[next].arrivalMs <= now) track.push(arrivals[next++].frame, now);
    const motion = track.sample(now);
    if (motion) samples.push({ now, ...motion });
  }
  return { track, samples };
}

/** Frames at a steady rate; `arrive` says when each arrives, or null if it is lost. */
function stream(arrive, count = 120) {
  return Array.from({ length: count }, (_, index) => {
    const captureMs = index * PERIOD_MS;
    return { frame: frame(index + 1, captureMs), arrivalMs: arrive(index, captureMs) };
  }).filter(({ arrivalMs }) => arrivalMs !== null).sort((one, other) => one.arrivalMs - other.arrivalMs);
}

test("fields are read, and what is none is refused", () => {
  const message = new ArrayBuffer(PARAMETERS_HEADER_BYTES + 52);
  const view = new DataView(message);
  [..."FITP"].forEach((letter, index) => view.setUint8(index, letter.charCodeAt(0)));
  view.setUint16(4, 3, true);
  view.setUint8(6, 1);
  view.setUint8(7, 52);
  view.setUint32(8, 4_000_000_000, true);
  view.setUint32(12, 1500, true);
  view.setUint16(20, 123, true);
  view.setInt16(28, 32767, true);
  view.setInt16(34, -6000, true);
  view.setInt16(36, -2500, true);
  view.setUint8(44 + 51, 255);
  const parameters = parseParameters(message);
  assert.equal(parameters.sequence, 4_000_000_000);
  assert.equal(parameters.captureMs, 1500);
  assert.ok(parameters.tracked);
  assert.ok(Math.abs(parameters.delayMs - 12.3) < 1e-9);
  assert.deepEqual(parameters.rotation, [0, 0, 0, 1]);
  assert.ok(Math.abs(parameters.translation[2] + 0.6) < 1e-9);
  assert.ok(Math.abs(parameters.gaze[0] + 0.25) < 1e-9);
  assert.equal(parameters.weights[51], 1);
  view.setUint8(7, 51);
  assert.throws(() => parseParameters(message), ProtocolError);
  assert.throws(() => parseParameters(message.slice(0, 20)), ProtocolError);
  view.setUint8(7, 52);
  view.setUint16(4, 2, true);
  assert.throws(() => parseParameters(message), ProtocolError);
});

test("steady arrivals play steadily, about one frame late", () => {
  const { track, samples } = played(stream((_, captureMs) => captureMs + 20));
  const late = samples.filter(({ now }) => now > 1500 && now < 3500);
  const steps = late.slice(1).map((sample, index) => yaw(sample) - yaw(late[index]));
  assert.ok(Math.max(...steps) - Math.min(...steps) < 0.3 * (0.2 / 60), "no jerks");
  const lag = late.map((sample) => sample.now - 20 - yaw(sample) / 0.0002);
  assert.ok(Math.max(...lag) < 2.6 * PERIOD_MS, `lag ${Math.max(...lag)}`);
  assert.ok(track.delayMs < 1.3 * PERIOD_MS);
});

test("uneven and lost frames are interpolated", () => {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const { samples } = played(stream((index, captureMs) => (random() < 0.15 ? null : captureMs + 60 * random())));
  const late = samples.filter(({ now }) => now > 2000 && now < 3500);
  const steps = late.slice(1).map((sample, index) => yaw(sample) - yaw(late[index]));
  const usual = 0.2 / 60;
  assert.ok(steps.every((step) => step > -0.2 * usual), "never backwards");
  assert.ok(steps.filter((step) => step < 0.3 * usual).length < 0.1 * steps.length, "hardly ever held");
});

test("frames that come twice, or out of order, count once", () => {
  const track = new ParameterTrack();
  for (const [sequence, captureMs] of [[1, 0], [3, 66], [2, 33], [3, 66], [2, 33]]) track.push(frame(sequence, captureMs), captureMs);
  assert.equal(track.newest.sequence, 3);
});

test("without a face the head comes to rest; another camera begins anew", () => {
  const arrivals = stream((index, captureMs) => captureMs, 60);
  for (let index = 60; index < 100; index++) {
    arrivals.push({ frame: frame(index + 1, index * PERIOD_MS, false), arrivalMs: index * PERIOD_MS });
  }
  const { track, samples } = played(arrivals, 3200);
  const last = samples.at(-1);
  assert.ok(!last.tracked);
  assert.ok(Math.abs(yaw(last)) < 0.01);
  assert.ok(last.weights[3] < 0.01);
  track.push(frame(500, 0), 3300);
  assert.equal(track.newest.sequence, 500);
  assert.ok(track.sample(3310).tracked);
});

test("the filter is steady at rest and quick in motion", () => {
  const filter = new OneEuroFilter(1, 10);
  let noise = 0;
  for (let index = 0; index < 60; index++) noise = filter.filter([index % 2 ? 0.001 : -0.001], index * 16)[0];
  assert.ok(Math.abs(noise) < 0.0005);
  for (let index = 60; index < 75; index++) filter.filter([1], index * 16);
  assert.ok(filter.filter([1], 75 * 16)[0] > 0.9);
});
