/** GLSL of the last pass: background, then the sRGB curve. */

export const FINISH_FRAGMENT = `#version 300 es
precision highp float;
out vec4 outColor;
uniform sampler2D uImage;  // linear, premultiplied
uniform vec4 uBackground;  // linear; alpha 0: transparent

vec3 encoded(vec3 linear) {
  vec3 x = clamp(linear, 0.0, 1.0);
  return mix(12.92 * x, 1.055 * pow(max(x, 0.0031308), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, x));
}

void main() {
  vec4 image = texelFetch(uImage, ivec2(gl_FragCoord.xy), 0);
  float uncovered = (1.0 - image.a) * uBackground.a;
  float alpha = image.a + uncovered;
  vec3 linear = (image.rgb + uncovered * uBackground.rgb) / max(alpha, 1e-4);
  outColor = vec4(encoded(linear) * alpha, alpha);
}`;
