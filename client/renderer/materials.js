/**
 * Table of materials: how a part is shaded, which textures it has, and when it is drawn. A new kind of part is a row here
 * and its fragment shader, which begins with `COMMON` of `shading_glsl.js`.
 */

import { FRAME_FRAGMENT } from "./shaders/glasses_glsl.js";
import { HAIR_FRAGMENT } from "./shaders/hair_glsl.js";
import { DEFAULT_SHININESS, DEPTH_TOLERANCE, FRAME_SHININESS, GREY_ALBEDO, GREY_SPECULAR, TOWARDS_CAMERA_M } from "./reflection.js";
import { encodedByte } from "./scene.js";
import { LASHES_FRAGMENT, SKIN_FRAGMENT } from "./shaders/skin_glsl.js";

/** @typedef {import("./textures.js").TextureFormat} TextureFormat */

/**
 * @typedef {object} Material
 * @property {string} fragment GLSL
 * @property {Record<string, TextureFormat>} textures by slot; the sampler of `diffuse` is `uDiffuse`
 * @property {"solid" | "cover" | "layer"} pass `solid` first; then `cover`, blended over them; last `layer`, of which each
 *   pixel has only the nearest surface
 * @property {boolean} castsShadow unless a part says otherwise
 * @property {number} depthOffset of z / w, towards the viewer: what lies on the skin is before it
 * @property {number} towardsCamera metres by which the part is drawn nearer to the camera
 * @property {number} shininess Blinn-Phong exponent of a part that has none
 */

const grey = encodedByte(GREY_ALBEDO);

/** @type {Material} */
const SKIN = {
  fragment: SKIN_FRAGMENT,
  textures: {
    diffuse: { channels: 3, encoded: true, initial: [grey, grey, grey] },
    specular: { channels: 1, encoded: false, initial: [Math.round(255 * GREY_SPECULAR)] },
    normals: { channels: 3, encoded: false, initial: [128, 128, 255] },
  },
  pass: "solid",
  castsShadow: true,
  depthOffset: 0,
  towardsCamera: 0,
  shininess: DEFAULT_SHININESS,
};

/** @type {Readonly<Record<string, Material>>} */
export const MATERIALS = Object.freeze({
  skin: SKIN,
  mouth: { ...SKIN, shininess: 40 },
  teeth: { ...SKIN, shininess: 100 },
  eye: { ...SKIN, shininess: 300 },
  frame: {
    fragment: FRAME_FRAGMENT,
    textures: { albedo: { channels: 3, encoded: true, initial: [grey, grey, grey] } },
    pass: "solid",
    castsShadow: false,
    depthOffset: 0,
    towardsCamera: 0,
    shininess: FRAME_SHININESS,
  },
  lenses: {
    fragment: LASHES_FRAGMENT,
    textures: { albedo: { channels: 4, encoded: true, initial: [0, 0, 0, 0] } },
    pass: "cover",
    castsShadow: false,
    depthOffset: 0,
    towardsCamera: 0,
    shininess: FRAME_SHININESS,
  },
  hair: {
    fragment: HAIR_FRAGMENT,
    textures: {
      albedo: { channels: 4, encoded: true, initial: [0, 0, 0, 0], wraps: true },
      pattern: { channels: 1, encoded: false, initial: [128], wraps: true, nearest: true },
    },
    pass: "layer",
    castsShadow: false,
    depthOffset: DEPTH_TOLERANCE,
    towardsCamera: 0,
    shininess: DEFAULT_SHININESS,
  },
  lashes: {
    fragment: LASHES_FRAGMENT,
    textures: { albedo: { channels: 4, encoded: true, initial: [0, 0, 0, 0], reduced: true } },
    pass: "cover",
    castsShadow: false,
    depthOffset: 0,
    towardsCamera: TOWARDS_CAMERA_M,
    shininess: DEFAULT_SHININESS,
  },
});
