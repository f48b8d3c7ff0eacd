/** GLSL of the last pass: background, then the sRGB curve. */

import { PANORAMA_PLACE } from "./shading_glsl.js";

/** Level of the reflections that is seen behind the head. */
export const BACKDROP_LEVEL = 2;

export const FINISH_FRAGMENT = `#version 300 es
precision highp float;
out vec4 outColor;
uniform sampler2D uImage;  // linear, premultiplied
uniform vec4 uBackground;  // linear; alpha 0: transparent
uniform bool uBackdrop;  // the surroundings instead
uniform sampler2D uReflections;
uniform float uTurn;
uniform vec3 uCamera;  // focal length, centre x, centre y from the bottom, pixels
${PANORAMA_PLACE}

vec3 encoded(vec3 linear) {
  vec3 x = clamp(linear, 0.0, 1.0);
  return mix(12.92 * x, 1.055 * pow(max(x, 0.0031308), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, x));
}

void main() {
  vec4 image = texelFetch(uImage, ivec2(gl_FragCoord.xy), 0);
  vec4 behind = uBackground;
  if (uBackdrop) {
    vec3 ray = normalize(vec3((gl_FragCoord.xy - uCamera.yz) / uCamera.x, -1.0));
    behind = vec4(textureLod(uReflections, panoramaPlace(ray) + vec2(uTurn, 0.0), ${BACKDROP_LEVEL}.0).rgb, 1.0);
  }
  float uncovered = (1.0 - image.a) * behind.a;
  float alpha = image.a + uncovered;
  vec3 linear = (image.rgb + uncovered * behind.rgb) / max(alpha, 1e-4);
  outColor = vec4(encoded(linear) * alpha, alpha);
}`;
