/**
 * GLSL of the reflection model: the formulas of `fitme/render/cpu/reflection_formulas.py`, `fitme/render/shadows.py` and
 * `fitme/render/forward/shading.py`, by the same names.
 */

import {
  DEPTH_BIAS_M, DIFFUSE_NORMAL_SHARE, GRAZING_REFLECTANCE, NORMAL_OFFSET_M, NORMAL_REFLECTANCE, SHADOW_MAP_PX,
  SMALLEST_SQUARE, SOFT_TEXELS, STEEPEST,
} from "../reflection.js";

/** Directional lights that one draw call has at most. */
export const MAX_LIGHTS = 4;

/**
 * A number as a constant of GLSL.
 * @param {number} value
 */
export const real = (value) => (Number.isInteger(value) ? value.toFixed(1) : String(value));

export const VERTEX = `#version 300 es
precision highp float;
uniform mat3 uRotation;
uniform vec3 uTranslation;
uniform mat4 uProjection;
uniform float uDepthOffset;
uniform float uTowardsCamera;  // metres
layout(location = 0) in vec3 aPosition;
layout(location = 1) in vec3 aNormal;
layout(location = 2) in vec3 aAlong;
layout(location = 3) in float aOcclusion;
layout(location = 4) in vec2 aUv;
layout(location = 5) in vec2 aFixed;  // handedness, shininess
out vec3 vPosition;
out vec3 vNormal;
out vec3 vAlong;
out vec2 vUv;
out vec3 vFixed;  // handedness, occlusion, shininess
invariant gl_Position;
void main() {
  vPosition = uRotation * aPosition + uTranslation;
  vNormal = uRotation * aNormal;
  vAlong = uRotation * aAlong;
  vUv = aUv;
  vPosition *= 1.0 - uTowardsCamera * inversesqrt(max(dot(vPosition, vPosition), ${real(SMALLEST_SQUARE)}));
  vFixed = vec3(aFixed.x, aOcclusion, aFixed.y);
  gl_Position = uProjection * vec4(vPosition, 1.0);
  gl_Position.z -= uDepthOffset * gl_Position.w;
}`;

export const SHADOW_VERTEX = `#version 300 es
precision highp float;
uniform mat3 uRotation;
uniform vec3 uTranslation;
uniform vec4 uFrame[3];
uniform vec2 uDepthRange;  // nearest, range
layout(location = 0) in vec3 aPosition;
void main() {
  vec4 place = vec4(uRotation * aPosition + uTranslation, 1.0);
  vec2 texel = vec2(dot(uFrame[0], place), dot(uFrame[1], place));
  float depth = (dot(uFrame[2], place) - uDepthRange.x) / uDepthRange.y;
  gl_Position = vec4((texel + 0.5) * ${real(2 / SHADOW_MAP_PX)} - 1.0, 2.0 * depth - 1.0, 1.0);
}`;

export const EMPTY_FRAGMENT = `#version 300 es
precision highp float;
void main() {}`;

export const PANORAMA_PLACE = `
// Direction to place on a panorama: its middle lies along -z, its right along +x.
vec2 panoramaPlace(vec3 d) {
  return vec2(0.5 + atan(d.x, -d.z) * ${real(0.5 / Math.PI)}, acos(clamp(d.y, -1.0, 1.0)) * ${real(1 / Math.PI)});
}`;

/** What the fragment shaders of all materials share. */
export const COMMON = `#version 300 es
precision highp float;
precision highp sampler2DArray;
in vec3 vPosition;
in vec3 vNormal;
in vec3 vAlong;
in vec2 vUv;
in vec3 vFixed;
out vec4 outColor;  // linear, premultiplied
uniform vec3 uSh[9];  // times the norms of the basis
uniform int uLightCount;
uniform vec3 uDirections[${MAX_LIGHTS}];
uniform vec3 uColors[${MAX_LIGHTS}];
uniform bool uShadows;
uniform vec4 uFrames[${3 * MAX_LIGHTS}];
uniform vec2 uDepthRanges[${MAX_LIGHTS}];
uniform sampler2DArray uShadowMaps;
uniform bool uEnvironment;
uniform float uTurn;  // of the panorama, in full turns
uniform sampler2D uReflections;  // prefiltered panorama, rougher from level to level
uniform float uLastLevel;
uniform float uLevel;  // scale of the panorama's radiance
uniform sampler2D uSplitSum;

vec3 unit(vec3 a) {
  return a * inversesqrt(max(dot(a, a), ${real(SMALLEST_SQUARE)}));
}

vec3 shShading(vec3 n) {
  vec3 value = uSh[0] + n.y * uSh[1] + n.z * uSh[2] + n.x * uSh[3] + n.x * n.y * uSh[4] + n.y * n.z * uSh[5]
    + (3.0 * n.z * n.z - 1.0) * uSh[6] + n.x * n.z * uSh[7] + (n.x * n.x - n.y * n.y) * uSh[8];
  return max(value, 0.0);
}

// Share of one light that reaches a point: percentage-closer filtering with the receiver's plane.
float litShare(int light, vec3 off, vec3 n) {
  const int soft = ${SOFT_TEXELS};
  const float last = ${real(SHADOW_MAP_PX - 1)};
  vec4 row0 = uFrames[3 * light], row1 = uFrames[3 * light + 1], row2 = uFrames[3 * light + 2];
  vec4 place = vec4(off, 1.0);
  float column = dot(row0, place), row = dot(row1, place);
  float near = dot(row2, place) - ${real(DEPTH_BIAS_M)};
  if (!(column >= float(soft) && column < last - float(soft) && row >= float(soft) && row < last - float(soft))) return 1.0;
  int c = int(column), r = int(row);
  float right = column - float(c), below = row - float(r);
  // Receiver plane: change of depth, in metres, from one texel to the next.
  float area = dot(row0.xyz, row0.xyz);
  float away = min(dot(row2.xyz, n), ${real(-STEEPEST)}) * area;
  float across = -dot(row0.xyz, n) / away, down = -dot(row1.xyz, n) / away;
  near -= right * across + below * down;
  // Depths of the map are shares of its range; empty texels have 1.
  vec2 range = uDepthRanges[light];
  near = (near - range.x) / range.y;
  across /= range.y;
  down /= range.y;

  // Five probes decide most points: fully lit and fully shadowed ones skip the whole filter.
  int corners = texelFetch(uShadowMaps, ivec3(c, r, light), 0).r >= min(near, 1.0) ? 1 : 0;
  for (int k = 0; k < 4; k++) {
    int i = (k & 1) == 0 ? -soft : soft + 1, j = k < 2 ? -soft : soft + 1;
    float depth = texelFetch(uShadowMaps, ivec3(c + i, r + j, light), 0).r;
    corners += depth >= min(near + float(i) * across + float(j) * down, 1.0) ? 1 : 0;
  }
  if (corners == 0) return 0.0;
  if (corners == 5) return 1.0;
  // Box filter whose outermost rows and columns count by their overlap with the point's own texel.
  float share = 0.0;
  for (int j = -soft; j <= soft + 1; j++) {
    float height = j == -soft ? 1.0 - below : j == soft + 1 ? below : 1.0;
    for (int i = -soft; i <= soft + 1; i++) {
      float width = i == -soft ? 1.0 - right : i == soft + 1 ? right : 1.0;
      float depth = texelFetch(uShadowMaps, ivec3(c + i, r + j, light), 0).r;
      share += depth >= min(near + float(i) * across + float(j) * down, 1.0) ? width * height : 0.0;
    }
  }
  return share * ${real(1 / (2 * SOFT_TEXELS + 1) ** 2)};
}

// Directional light of the surface at \`vPosition\` with smooth normal n.
float reach(int light, vec3 n) {
  return uShadows ? litShare(light, vPosition + ${real(NORMAL_OFFSET_M)} * n, n) : 1.0;
}

float ambientReflectance(float facing) {
  float aside = 1.0 - clamp(facing, 0.0, 1.0);
  return ${real(NORMAL_REFLECTANCE)} + ${real(GRAZING_REFLECTANCE - NORMAL_REFLECTANCE)} * aside * aside * aside * aside * aside;
}

${PANORAMA_PLACE}
// Specular light of the surroundings on a specular albedo of 1: of the harmonics, or split sum of a panorama (Karis 2013).
vec3 ambientSpecular(vec3 mirror, float facing, float shininess) {
  if (!uEnvironment) return ambientReflectance(facing) * shShading(mirror);
  float roughness = sqrt(sqrt(2.0 / (shininess + 2.0)));
  vec3 light = textureLod(uReflections, panoramaPlace(mirror) + vec2(uTurn, 0.0), roughness * uLastLevel).rgb;
  vec2 factors = textureLod(uSplitSum, vec2(clamp(facing, 0.0, 1.0), roughness), 0.0).rg;
  return uLevel * light * (${real(NORMAL_REFLECTANCE)} * factors.x + factors.y);
}

float blinnPhong(float cosine, float shininess) {
  return ${real(NORMAL_REFLECTANCE)} * (shininess + 8.0) / 8.0 * pow(clamp(cosine, 0.0, 1.0), shininess);
}

float halfCosine(vec3 n, vec3 viewer, vec3 light) {
  vec3 middle = viewer + light;
  return dot(n, middle) * inversesqrt(max(dot(middle, middle), ${real(SMALLEST_SQUARE)}));
}

// Normals of the specular and of the diffuse term: the normal map at full strength, and softened.
void mappedNormals(vec3 n, vec3 along, float handedness, vec3 mapped, out vec3 rough, out vec3 soft) {
  vec3 t = unit(along - n * dot(n, along));
  vec3 b = cross(n, t) * (handedness >= 0.0 ? 1.0 : -1.0);
  rough = unit(t * mapped.x + b * mapped.y + n * mapped.z);
  soft = unit(n + ${real(DIFFUSE_NORMAL_SHARE)} * (rough - n));
}
`;
