/** GLSL of skin, eyes, mouth and lashes: `shade_rows` of `fitme/render/forward/shading.py`. */

import { COMMON } from "./shading_glsl.js";

export const SKIN_FRAGMENT = `${COMMON}
uniform sampler2D uDiffuse;
uniform sampler2D uSpecular;
uniform sampler2D uNormals;
void main() {
  // Surface: smooth normal, texels, normals of both terms.
  vec3 n = unit(vNormal);
  vec3 v = unit(-vPosition);
  vec3 albedo = texture(uDiffuse, vUv).rgb;
  float specularAlbedo = texture(uSpecular, vUv).r;
  vec3 rough, soft;
  mappedNormals(n, vAlong, vFixed.x, texture(uNormals, vUv).rgb * 2.0 - 1.0, rough, soft);

  // Ambient light: irradiance on the soft normal, and its mirror reflection by the rough one.
  float facing = dot(rough, v);
  vec3 diffuse = shShading(soft);
  vec3 specular = ambientSpecular(2.0 * facing * rough - v, facing, vFixed.z);
  // Directional lights, each times the share that no shadow blocks.
  for (int light = 0; light < uLightCount; light++) {
    vec3 direction = uDirections[light];
    float irradiance = max(dot(soft, direction), 0.0), cosLight = max(dot(rough, direction), 0.0);
    if (irradiance + cosLight == 0.0) continue;
    float share = reach(light, n);
    if (share == 0.0) continue;
    diffuse += share * irradiance * uColors[light];
    specular += share * cosLight * blinnPhong(halfCosine(rough, v, direction), vFixed.z) * uColors[light];
  }
  outColor = vec4(vFixed.y * (albedo * diffuse + specularAlbedo * specular), 1.0);
}`;


/** Lashes, too thin for a normal: colour and coverage of a texture under the light that a surface facing the viewer has. */
export const LASHES_FRAGMENT = `${COMMON}
uniform sampler2D uAlbedo;
void main() {
  vec4 texel = texture(uAlbedo, vUv);
  vec3 irradiance = uSh[0];
  for (int light = 0; light < uLightCount; light++) irradiance += max(uDirections[light].z, 0.0) * uColors[light];
  outColor = vec4(texel.a * texel.rgb * max(irradiance, 0.0), texel.a);
}`;
