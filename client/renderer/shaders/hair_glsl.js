/** GLSL of the hair's envelope: `fitme/hair/compositing.py`, after Kajiya and Kay, SIGGRAPH 1989. */

import {
  DIRECTION_SHARE, INNER_SHADE, LEAST_COVERAGE, LOCK_RELIEF, PRIMARY_EXPONENT, PRIMARY_SHIFT, PRIMARY_STRENGTH, RAGGEDNESS, RIM_COSINE,
  SECONDARY_EXPONENT, SECONDARY_SHIFT, SECONDARY_STRENGTH, STRAND_TILT, WRAP,
} from "../reflection.js";
import { COMMON, real } from "./shading_glsl.js";

/** Standard deviations of the strands' pattern that its codes 1 to 255 span on each side of 128. */
export const PATTERN_RANGE = 4;

export const HAIR_FRAGMENT = `${COMMON}
uniform sampler2D uAlbedo;
uniform sampler2D uPattern;
uniform mat3 uRotation;

// Kajiya and Kay's specular lobe: a power of the sine between strand and half vector, shifted along the strand.
float lobe(float along, float shift, float exponent, float strength) {
  float place = along + shift;
  return strength * pow(max(1.0 - place * place, 0.0), 0.5 * exponent);
}

// Irradiance of the softened coefficients: all but their mean is reduced.
vec3 softShading(vec3 n) {
  vec3 value = uSh[0] + ${real(DIRECTION_SHARE)} * (n.y * uSh[1] + n.z * uSh[2] + n.x * uSh[3] + n.x * n.y * uSh[4]
    + n.y * n.z * uSh[5] + (3.0 * n.z * n.z - 1.0) * uSh[6] + n.x * n.z * uSh[7] + (n.x * n.x - n.y * n.y) * uSh[8]);
  return max(value, 0.0);
}

// Strands' pattern at a texel, standard deviations.
float locks(ivec2 place) {
  return (texelFetch(uPattern, place, 0).r * 255.0 - 128.0) * ${real(PATTERN_RANGE / 127)};
}

void main() {
  vec4 texel = texture(uAlbedo, vUv);
  float cover = texel.a;
  if (cover <= ${real(LEAST_COVERAGE)}) discard;
  vec3 n = unit(vNormal);
  vec3 v = unit(-vPosition);
  vec3 strand = unit(vAlong);
  ivec2 texels = textureSize(uPattern, 0), place = min(ivec2(vUv * vec2(texels)), texels - 1);
  float lock = locks(place);
  float facing = dot(n, v), shade = 1.0;
  if (facing < 0.0) {
    // The inner side of the envelope, past the hairline or under long hair.
    n = -n;
    facing = -facing;
    shade = ${real(INNER_SHADE)};
  }
  // Where the envelope is seen edge-on single strands begin and end.
  float rise = clamp((facing + ${real(RAGGEDNESS)} * lock) * ${real(1 / RIM_COSINE)}, 0.0, 1.0);
  cover *= rise * rise * (3.0 - 2.0 * rise);
  if (cover <= ${real(LEAST_COVERAGE)}) discard;
  // Locks stand out of the envelope: their sides face other ways than it does.
  vec3 aside = unit(cross(uRotation[1], n));
  float across = locks(ivec2((place.x + 1) % texels.x, place.y)) - lock;
  float below = locks(ivec2(place.x, min(place.y + 1, texels.y - 1))) - lock;
  n = unit(n - ${real(LOCK_RELIEF)} * (across * aside + below * cross(aside, n)));
  vec3 diffuse = softShading(n), specular = vec3(0.0);
  for (int light = 0; light < uLightCount; light++) {
    vec3 direction = uDirections[light];
    float reached = clamp((dot(n, direction) + ${real(WRAP)}) * ${real(1 / (1 + WRAP))}, 0.0, 1.0);
    if (reached == 0.0) continue;
    float along = dot(strand, direction);
    float sine = sqrt(max(1.0 - along * along, 0.0));
    float middle = halfCosine(strand, v, direction) + ${real(STRAND_TILT)} * lock;
    float scattered = sine * reached
      + lobe(middle, ${real(SECONDARY_SHIFT)}, ${real(SECONDARY_EXPONENT)}, ${real(SECONDARY_STRENGTH)});
    diffuse += reached * scattered * uColors[light];
    specular += reached * lobe(middle, ${real(PRIMARY_SHIFT)}, ${real(PRIMARY_EXPONENT)}, ${real(PRIMARY_STRENGTH)}) * uColors[light];
  }
  outColor = vec4(cover * shade * (texel.rgb * diffuse + specular), cover);
}`;
