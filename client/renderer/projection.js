/** Matrices of the camera and of the lights' shadow maps. Free of browser APIs. */

import { SHADOW_MAP_PX } from "./reflection.js";

/** @typedef {import("./rotations.js").Vector} Vector */
/** @typedef {import("./rotations.js").Matrix} Matrix */

/**
 * Pinhole camera of an image: `fitme.geometry.Camera`, pixels.
 * @typedef {{focal: number, centerX: number, centerY: number, width: number, height: number}} Camera
 */

const NEAR_M = 0.05;
const FAR_M = 10;
/** Room before and behind a mesh in the depths of its shadow map, metres. */
const DEPTH_ROOM_M = 0.005;

/**
 * The camera for a canvas of another size: the whole image is seen, in the middle, and more of the scene beside it.
 * @param {Camera} camera
 * @param {number} width
 * @param {number} height
 * @returns {Camera}
 */
export function fittedCamera(camera, width, height) {
  const scale = Math.min(width / camera.width, height / camera.height);
  return {
    focal: camera.focal * scale,
    centerX: width / 2 + (camera.centerX - camera.width / 2) * scale,
    centerY: height / 2 + (camera.centerY - camera.height / 2) * scale,
    width,
    height,
  };
}

/**
 * Clip-space matrix for WebGL, column by column: `Camera.clip` with y upwards.
 * @param {Camera} camera
 * @returns {Float32Array} (16)
 */
export function projectionOf({ focal, centerX, centerY, width, height }) {
  const depth = (FAR_M + NEAR_M) / (FAR_M - NEAR_M);
  return Float32Array.of(
    (2 * focal) / width, 0, 0, 0,
    0, (2 * focal) / height, 0, 0,
    1 - (2 * centerX) / width, (2 * centerY) / height - 1, -depth, -1,
    0, 0, (-2 * FAR_M * NEAR_M) / (FAR_M - NEAR_M), 0,
  );
}

/**
 * Middle and radius of a sphere round points, as `fitme.render.shadows.shadow_maps` takes it: round the middle of the
 * points' extents along the axes of the view frame.
 * @param {Float32Array[]} meshes each (V * 3), model frame
 * @param {Matrix} rotation to the view frame
 * @param {ArrayLike<number>} translation
 * @returns {{center: Vector, radius: number}} view frame, metres
 */
export function boundingSphere(meshes, rotation, translation) {
  const [r0, r1, r2, r3, r4, r5, r6, r7, r8] = rotation;
  let [lowX, lowY, lowZ, highX, highY, highZ] = [Infinity, Infinity, Infinity, -Infinity, -Infinity, -Infinity];
  for (const points of meshes) {
    for (let at = 0; at < points.length; at += 3) {
      const [px, py, pz] = [points[at], points[at + 1], points[at + 2]];
      const x = r0 * px + r1 * py + r2 * pz;
      const y = r3 * px + r4 * py + r5 * pz;
      const z = r6 * px + r7 * py + r8 * pz;
      if (x < lowX) lowX = x;
      if (x > highX) highX = x;
      if (y < lowY) lowY = y;
      if (y > highY) highY = y;
      if (z < lowZ) lowZ = z;
      if (z > highZ) highZ = z;
    }
  }
  const cx = (lowX + highX) / 2;
  const cy = (lowY + highY) / 2;
  const cz = (lowZ + highZ) / 2;
  // The radius is the same before the rotation.
  const mx = r0 * cx + r3 * cy + r6 * cz;
  const my = r1 * cx + r4 * cy + r7 * cz;
  const mz = r2 * cx + r5 * cy + r8 * cz;
  let squared = 0;
  for (const points of meshes) {
    for (let at = 0; at < points.length; at += 3) {
      const x = points[at] - mx;
      const y = points[at + 1] - my;
      const z = points[at + 2] - mz;
      const distance = x * x + y * y + z * z;
      if (distance > squared) squared = distance;
    }
  }
  return { center: [cx + translation[0], cy + translation[1], cz + translation[2]], radius: Math.sqrt(squared) };
}

/** @param {Vector} a @param {Vector} b @returns {Vector} */
function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

/** @param {Vector} vector @returns {Vector} */
function unit(vector) {
  const length = Math.hypot(...vector);
  return [vector[0] / length, vector[1] / length, vector[2] / length];
}

/**
 * Shadow map of a directional light: rows of the matrix from the view frame to column, row (texels, their centres at
 * whole numbers) and depth (metres away from the light), as `ShadowMaps.frame`.
 * @typedef {{rows: Float32Array, nearest: number, range: number}} ShadowFrame rows (3 * 4); `nearest` and `range` map
 *   depths in metres to the depth buffer's [0, 1]
 */

/**
 * @param {Vector} direction towards the light
 * @param {{center: Vector, radius: number}} sphere of what casts shadows
 * @returns {ShadowFrame}
 */
export function shadowFrame(direction, { center, radius }) {
  const toward = unit(direction);
  const helper = /** @type {Vector} */ (Math.abs(toward[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]);
  const across = unit(cross(helper, toward));
  const up = cross(toward, across);
  const texels = SHADOW_MAP_PX / (2 * radius);
  const middle = SHADOW_MAP_PX / 2 - 0.5;
  const dot = (/** @type {Vector} */ axis) => axis[0] * center[0] + axis[1] * center[1] + axis[2] * center[2];
  const rows = Float32Array.of(
    across[0] * texels, across[1] * texels, across[2] * texels, middle - texels * dot(across),
    up[0] * texels, up[1] * texels, up[2] * texels, middle - texels * dot(up),
    -toward[0], -toward[1], -toward[2], dot(toward),
  );
  return { rows, nearest: -radius - DEPTH_ROOM_M, range: 2 * (radius + DEPTH_ROOM_M) };
}
