/**
 * Constants of the reflection model, of shadows and of hair: `fitme/render/reflection.py`, `fitme/render/shadows.py`,
 * `fitme/hair/shading.py`, `fitme/hair/compositing.py` and `fitme/glasses/renderer.py`, by the same names. A test holds
 * them equal.
 */

export const SH_BAND_0 = 0.28209479177387814;
export const SH_BAND_1 = 0.4886025119029199;
const SH_BAND_2 = 1.0925484305920792;
const SH_BAND_2_ZONAL = 0.31539156525252005;
const SH_BAND_2_SECTORAL = 0.5462742152960396;
export const SH_COUNT = 9;
/** Factors that make the polynomials y, z, x, xy, yz, 3 z² - 1, xz, x² - y² orthonormal. */
export const SH_NORMS = Object.freeze([
  SH_BAND_0, SH_BAND_1, SH_BAND_1, SH_BAND_1, SH_BAND_2, SH_BAND_2, SH_BAND_2_ZONAL, SH_BAND_2, SH_BAND_2_SECTORAL,
]);

export const NORMAL_REFLECTANCE = 0.04;
export const GRAZING_REFLECTANCE = 0.2;
export const DEFAULT_SHININESS = 24;
export const DIFFUSE_NORMAL_SHARE = 0.5;
export const SMALLEST_SQUARE = 1e-12;

export const SHADOW_MAP_PX = 384;
export const NORMAL_OFFSET_M = 0.001;
export const DEPTH_BIAS_M = 0.002;
export const SOFT_TEXELS = 2;
export const STEEPEST = 0.15;

export const LIP_THICKNESS_M = 0.0095;
export const LEAST_DEPTH_M = 0.0015;
export const REFLECTED_SHARE = 0.45;
export const CLOSED_MOUTH_SHARE = 0.3;
export const OUT_BEGIN_M = 0.002;
export const OUT_END_M = 0.01;

export const DIRECTION_SHARE = 0.5;
export const WRAP = 0.3;
export const PRIMARY_EXPONENT = 60;
export const PRIMARY_STRENGTH = 0.04;
export const PRIMARY_SHIFT = -0.08;
export const SECONDARY_EXPONENT = 12;
export const SECONDARY_STRENGTH = 0.25;
export const SECONDARY_SHIFT = 0.12;
export const TOWARDS_CAMERA_M = 0.0012;
export const DEPTH_TOLERANCE = 2e-4;
export const RIM_COSINE = 0.05;
export const RAGGEDNESS = 0.05;
export const STRAND_TILT = 0.12;
export const LOCK_RELIEF = 0.2;
export const INNER_SHADE = 0.35;
export const LEAST_COVERAGE = 1 / 512;

export const FRAME_SHININESS = 80;
export const FRAME_SPECULAR = 0.8;
export const LENS_ALBEDO = 0.02;

/** Albedos and normal of the grey head, drawn before there are maps. */
export const GREY_ALBEDO = 0.45;
export const GREY_SPECULAR = 0.3;

/** Yaw and pitch of an eyeball at full activation of its eyeLook expressions, degrees: `fitme/shape/expressions.py`. */
export const MAX_EYE_YAW_DEG = 30;
export const MAX_EYE_PITCH_DEG = 20;

/** Kernel of the albedo correctives, metres: `fitme/reflectance/expression_correctives.py`. */
export const FINEST_M = 0.0002;
export const REACH_SHARE = 0.3;
export const FAR_M = 0.002;
export const HALF_FADE = 0.15;
/** Expressions that close the left and the right lid, and their activations between which its difference sets in. */
export const BLINKS = Object.freeze([8, 9]);
export const LID_OPEN = 0.25;
export const LID_CLOSED = 0.7;
/** Change of a corrective's weight below which the albedo is not blended again. */
export const LEAST_CHANGE = 0.04;
