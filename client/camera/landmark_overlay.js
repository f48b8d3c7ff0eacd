/** The tracker's points over the camera image. */

import { LANDMARK_SCALE } from "../server/messages.js";

/** @typedef {import("../server/messages.js").TrackingEvent} TrackingEvent */

/** First of MediaPipe's ten points of the irises. */
const FIRST_IRIS_POINT = 468;
const SKIN_COLOR = "rgb(122 231 199 / 80%)";
const IRIS_COLOR = "rgb(255 196 125 / 95%)";
/** Points are this share of the canvas' width across. */
const POINT_SHARE = 1 / 210;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {TrackingEvent | null} tracking null clears the canvas
 * @param {HTMLVideoElement} video that the canvas lies over
 */
export function drawLandmarks(canvas, tracking, video) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (!context) return;
  context.clearRect(0, 0, width, height);
  const points = tracking?.landmarks;
  if (!points || !width) return;
  // The video covers the box (object-fit: cover): the same scale in both directions, centred.
  const aspect = (video.videoWidth || 4) / (video.videoHeight || 3);
  const shownWidth = Math.max(width, height * aspect);
  const shownHeight = shownWidth / aspect;
  const left = (width - shownWidth) / 2;
  const top = (height - shownHeight) / 2;
  const size = Math.max(1, width * POINT_SHARE);
  context.fillStyle = SKIN_COLOR;
  for (let point = 0; point * 2 < points.length; point++) {
    if (point === FIRST_IRIS_POINT) context.fillStyle = IRIS_COLOR;
    const x = left + (points[point * 2] / LANDMARK_SCALE) * shownWidth;
    const y = top + (points[point * 2 + 1] / LANDMARK_SCALE) * shownHeight;
    context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}
