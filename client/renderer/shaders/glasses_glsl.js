/** GLSL of the frames of glasses: `_lit` of `fitme/glasses/renderer.py`, for each pixel. */

import { FRAME_SPECULAR } from "../reflection.js";
import { COMMON, real } from "./shading_glsl.js";

export const FRAME_FRAGMENT = `${COMMON}
uniform sampler2D uAlbedo;
void main() {
  vec3 n = unit(vNormal);
  vec3 v = unit(-vPosition);
  float facing = dot(n, v);
  vec3 diffuse = shShading(n);
  vec3 specular = ambientSpecular(2.0 * facing * n - v, facing, vFixed.z);
  for (int light = 0; light < uLightCount; light++) {
    vec3 direction = uDirections[light];
    float irradiance = max(dot(n, direction), 0.0);
    diffuse += irradiance * uColors[light];
    specular += irradiance * blinnPhong(halfCosine(n, v, direction), vFixed.z) * uColors[light];
  }
  outColor = vec4(texture(uAlbedo, vUv).rgb * diffuse + ${real(FRAME_SPECULAR)} * specular, 1.0);
}`;
