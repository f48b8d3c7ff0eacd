/** Rotations as rows of 3x3 matrices and as unit quaternions in the order x, y, z, w. Free of browser APIs. */

/** @typedef {[number, number, number]} Vector */
/** @typedef {[number, number, number, number]} Quaternion */
/** @typedef {number[]} Matrix nine numbers, row by row */

const SMALL_ANGLE_RAD = 1e-4;

/** @type {Matrix} */
export const IDENTITY = Object.freeze([1, 0, 0, 0, 1, 0, 0, 0, 1]);

/**
 * @param {ArrayLike<number>} quaternion unit
 * @returns {Matrix}
 */
export function matrixOfQuaternion(quaternion) {
  const [x, y, z, w] = [quaternion[0], quaternion[1], quaternion[2], quaternion[3]];
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
}

/**
 * Rodrigues' formula, by way of the quaternion.
 * @param {ArrayLike<number>} axisAngle radians
 * @returns {Quaternion}
 */
export function quaternionOfAxisAngle(axisAngle) {
  const angle = Math.hypot(axisAngle[0], axisAngle[1], axisAngle[2]);
  const scale = angle < SMALL_ANGLE_RAD ? 0.5 - (angle * angle) / 48 : Math.sin(angle / 2) / angle;
  return [axisAngle[0] * scale, axisAngle[1] * scale, axisAngle[2] * scale, Math.cos(angle / 2)];
}

/**
 * Product: the rotation `b` first, then `a`.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @returns {Quaternion}
 */
export function multiplied(a, b) {
  return [
    a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
    a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
    a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
    a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
  ];
}

/**
 * @param {Matrix} matrix
 * @param {ArrayLike<number>} vector
 * @returns {Vector}
 */
export function rotated(matrix, vector) {
  const [x, y, z] = [vector[0], vector[1], vector[2]];
  return [
    matrix[0] * x + matrix[1] * y + matrix[2] * z,
    matrix[3] * x + matrix[4] * y + matrix[5] * z,
    matrix[6] * x + matrix[7] * y + matrix[8] * z,
  ];
}
