import assert from "node:assert/strict";
import { test } from "node:test";

import { nextCell, outlines, placeOf as dialPlace } from "../../client/camera/coverage.js";
import { channelsOf, describe, directionAt, hexOf, moved, placeOf, wrapped } from "../../client/controls/directions.js";
import { duration, heights, mainLoss } from "../../client/page/progress.js";
import { withStartBitrate } from "../../client/server/signalling.js";
import { orbited, zoomed } from "../../client/avatar/viewer.js";

const near = (actual, expected, tolerance = 1e-9) => {
  [actual].flat().forEach((value, index) => {
    assert.ok(Math.abs(value - [expected].flat()[index]) < tolerance, `${actual} is not near ${expected}`);
  });
};

test("places on the light's disc and directions are inverse to each other", () => {
  for (let x = -0.95; x < 1; x += 0.19) {
    for (let y = -0.95; y < 1; y += 0.19) {
      if (Math.hypot(x, y) >= 1) continue;
      const direction = directionAt([x, y]);
      near(Math.hypot(...direction), 1);
      near(placeOf(direction), [x, y]);
    }
  }
});

test("the disc's middle is the viewer, up is up, the right is the right, the rim is behind the head", () => {
  near(directionAt([0, 0]), [0, 0, 1]);
  assert.ok(directionAt([0, 0.5])[1] > 0.9);
  assert.ok(directionAt([0.5, 0])[0] > 0.9);
  assert.ok(directionAt([1, 0])[2] < 0);
  near(Math.hypot(...placeOf([0, 0, -1])), 1);
});

test("moving the light stays on the disc", () => {
  near(Math.hypot(...moved([0.9, 0], 5, 5)), 1);
  near(moved([0.1, 0.2], 0.1, -0.1), [0.2, 0.1]);
});

test("directions have words", () => {
  assert.equal(describe([0, 0, 1]), "from the front");
  assert.equal(describe([1, 1, 0.5]), "from above and the right");
  assert.equal(describe([-1, 0, -1]), "from the left, behind");
  assert.equal(describe([0, 0, -1]), "from behind");
});

test("angles wrap, colours go there and back", () => {
  near(wrapped(Math.PI * 3), -Math.PI);
  near(wrapped(-7 * Math.PI + 0.25), -Math.PI + 0.25);
  for (const hex of ["#000000", "#ffffff", "#12a4f0"]) assert.equal(hexOf(channelsOf(hex)), hex);
  assert.equal(hexOf([2, -1, 0.5]), "#ff0080");
});

test("dragging the head to the right moves the camera to the left; the poles are not crossed", () => {
  const view = { yaw: 0, pitch: 0, distance: 0.6 };
  assert.ok(orbited(view, 10, 0).yaw < 0);
  assert.ok(orbited(view, 0, 10).pitch > 0);
  assert.ok(orbited(view, 0, 1e6).pitch < Math.PI / 2);
  assert.ok(Math.abs(orbited(view, 1e6, 0).yaw) <= Math.PI);
  assert.ok(zoomed(view, 1e6).distance <= 3);
  assert.ok(zoomed(view, 0).distance >= 0.25);
});

const cell = (yaw, pitch, seen = false, wanted = true) => ({ yaw, pitch, seen, wanted });

test("cells of the dial do not overlap and lie around their middles", () => {
  const cells = [-0.5, -0.25, 0, 0.25, 0.5].flatMap((yaw) => [-0.25, 0, 0.25].map((pitch) => cell(yaw, pitch)));
  const polygons = outlines(cells);
  polygons.forEach((polygon, index) => {
    const [x, y] = dialPlace(cells[index].yaw, cells[index].pitch);
    const xs = polygon.map((point) => point[0]);
    const ys = polygon.map((point) => point[1]);
    assert.ok(Math.min(...xs) < x && x < Math.max(...xs));
    assert.ok(Math.min(...ys) < y && y < Math.max(...ys));
  });
  const middle = polygons[7].map((point) => point[0]);
  const right = polygons[10].map((point) => point[0]);
  assert.ok(Math.max(...middle) < Math.min(...right));
  assert.equal(outlines([cell(0, 0)]).length, 1);
});

test("the next cell lies where the prompt sends the head", () => {
  const cells = [cell(0, 0, true), cell(0.3, 0), cell(0.6, 0), cell(-0.3, 0), cell(0, 0.3), cell(0.35, 0, false, false)];
  const here = { yaw: 0.05, pitch: 0 };
  assert.equal(nextCell(cells, "turn_left", here), 1);
  assert.equal(nextCell(cells, "turn_right", here), 3);
  assert.equal(nextCell(cells, "look_up", here), 4);
  assert.equal(nextCell(cells, "look_down", here), -1);
  assert.equal(nextCell(cells, "smile", here), -1);
  assert.equal(nextCell(cells, null, here), -1);
});

test("each stage of the fit has its own scale of losses", () => {
  const marks = [1, 0.5, 0.25].map((loss, index) => ({ index, loss, stage: "landmarks" }))
    .concat([80, 20].map((loss, index) => ({ index: 3 + index, loss, stage: "tuning" })));
  near(heights(marks), [1, 0.5, 0, 1, 0]);
  near(heights([{ index: 0, loss: 3, stage: "skin" }]), [0.5]);
  assert.equal(mainLoss({ identity: 1, total: 2 }), 2);
  assert.equal(mainLoss({}), null);
  assert.equal(duration(59.9), "59 s");
  assert.equal(duration(61), "1:01 min");
});

test("the answer asks for a good start bitrate, whatever else it says of the codec", () => {
  const answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
  const asked = withStartBitrate(answer);
  assert.match(asked, /^a=rtpmap:96 VP8\/90000\r\na=fmtp:96 x-google-start-bitrate=\d+\r\na=rtpmap:97/m);
  const formatted = withStartBitrate(answer.replace("a=rtpmap:97", "a=fmtp:96 max-fs=1200\r\na=rtpmap:97"));
  assert.match(formatted, /^a=fmtp:96 max-fs=1200;x-google-start-bitrate=\d+\r$/m);
  assert.equal(withStartBitrate("v=0\r\n"), "v=0\r\n");
});
