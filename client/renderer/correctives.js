/**
 * Albedo correctives of expressions: `fitme/reflectance/expression_correctives.py`. Weights are computed here, and a pass
 * on the GPU adds the weighted differences to the diffuse map.
 */

import { BLINKS, FAR_M, FINEST_M, HALF_FADE, LEAST_CHANGE, LID_CLOSED, LID_OPEN, REACH_SHARE } from "./reflection.js";

/**
 * @typedef {object} Correctives
 * @property {Float32Array} expressions (M * 52)
 * @property {Float32Array} gram (52 * 52) square metres
 * @property {Float32Array} mixing (M * K), or two rows more: of the left and the right lid
 * @property {number} size R, texels
 * @property {number} [share] of the diffuse map's height, from its top, that they cover; 1 if left out
 * @property {Int8Array} deltas (K * R * R * 3) linear albedo, `scales` / 127 a unit
 * @property {Float32Array} scales (K)
 */

export const BLEND_VERTEX = `#version 300 es
precision highp float;
out vec2 vUv;
void main() {
  vUv = vec2((gl_VertexID & 1) * 2, (gl_VertexID >> 1) * 2);
  gl_Position = vec4(2.0 * vUv - 1.0, 0.0, 1.0);
}`;

/** Mixed maps that one pass adds at most. */
export const MAX_DELTAS = 32;

export const BLEND_FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler2DArray;
in vec2 vUv;
out vec4 outColor;
uniform sampler2D uDiffuse;
uniform sampler2DArray uDeltas;
uniform int uCount;
uniform float uCovered;
uniform float uShares[${MAX_DELTAS}];
void main() {
  vec3 albedo = texture(uDiffuse, vUv).rgb;
  vec2 place = vec2(vUv.x, vUv.y / uCovered);
  if (place.y <= 1.0)
    for (int k = 0; k < uCount; k++) albedo += uShares[k] * texture(uDeltas, vec3(place, float(k))).rgb;
  outColor = vec4(clamp(albedo, 0.0, 1.0), 1.0);
}`;

/**
 * Weights in [0, 1] of the known expressions at one (M), then of the left and the right lid.
 * @param {Correctives} correctives
 * @param {ArrayLike<number>} expression
 */
export function correctiveWeights({ expressions, gram, mixing, scales }, expression) {
  const count = Math.sqrt(gram.length);
  const known = expressions.length / count;
  const squared = new Float64Array(known);
  const difference = new Float64Array(count);
  for (let index = 0; index < known; index++) {
    for (let i = 0; i < count; i++) difference[i] = expressions[index * count + i] - expression[i];
    let sum = 0;
    for (let i = 0; i < count; i++) {
      if (difference[i] === 0) continue;
      let product = 0;
      for (let j = 0; j < count; j++) product += gram[i * count + j] * difference[j];
      sum += difference[i] * product;
    }
    squared[index] = Math.max(sum, 0);
  }
  const nearest = Math.min(...squared);
  const width = FINEST_M ** 2 + REACH_SHARE ** 2 * nearest;
  const powers = squared.map((value) => Math.exp((-0.5 * (value - nearest)) / width));
  const total = powers.reduce((sum, value) => sum + value, 0);
  const fade = Math.exp((-0.5 * nearest) / FAR_M ** 2);
  const shares = powers.map((value) => ((value / total) * fade * (1 + HALF_FADE)) / (fade + HALF_FADE));
  if (mixing.length === known * scales.length) return shares;
  const lids = BLINKS.map((index) => {
    const closed = Math.min(Math.max((expression[index] - LID_OPEN) / (LID_CLOSED - LID_OPEN), 0), 1);
    return closed * closed * (3 - 2 * closed);
  });
  return Float64Array.of(...shares, ...lids);
}

/** Shares of a part's mixed maps at the current expression. */
export class CorrectiveBlend {
  /** @type {Float64Array | null} the weights that the diffuse map was blended with */
  #weights = null;

  /** @param {Correctives} correctives */
  constructor(correctives) {
    const { mixing, expressions, gram, size, deltas, scales } = correctives;
    const known = expressions.length / Math.sqrt(gram.length);
    const rows = mixing.length / scales.length;
    if ((rows !== known && rows !== known + BLINKS.length) || deltas.length !== scales.length * size * size * 3 || scales.length > MAX_DELTAS)
      throw new RangeError(`correctives of ${known} expressions and ${scales.length} maps do not go together`);
    this.correctives = correctives;
    this.shares = new Float32Array(scales.length);
  }

  /**
   * Compute `shares` anew where the expression has changed enough.
   * @param {ArrayLike<number>} expression (52)
   * @returns {boolean} whether it did
   */
  update(expression) {
    const weights = correctiveWeights(this.correctives, expression);
    const before = this.#weights;
    if (before && weights.every((value, index) => Math.abs(value - before[index]) < LEAST_CHANGE)) return false;
    this.#weights = weights;
    const { mixing, scales } = this.correctives;
    this.shares.fill(0);
    for (let index = 0; index < weights.length; index++)
      for (let k = 0; k < scales.length; k++) this.shares[k] += weights[index] * mixing[index * scales.length + k] * scales[k];
    return true;
  }
}
