"""Model of a webcam's sensor: exposure, white balance, noise, blur, JPEG."""

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.bench.truth.lights import LightScript
from fitme.bench.truth.subjects import SensorScript
from fitme.color import LUMINANCE, linear_to_bytes

METERED_LEVEL = 0.19
"""Target of automatic exposure: centre-weighted mean luminance, linear, 1 is display white."""
METERING_WIDTH = 0.35
"""Standard deviation of the meter's weight over the image's sides."""
BLOWN_QUANTILE, BLOWN_LIMIT = 0.97, 1.3
"""Quantile of the luminance, and its upper limit after exposure: highlights reduce the exposure."""


def white_balance(light: LightScript, sensor: SensorScript) -> Float32Array:
    """Gains (3,) that remove the sensor's share of the light's tint; green has gain 1."""
    weight = np.array(light.surroundings)
    for source in light.sources:
        solid_angle = (source.side_m / source.distance_m) ** 2
        weight = weight + np.array(source.radiance) * solid_angle / np.pi
    return np.asarray((weight[1] / weight) ** sensor.white_balance, np.float32)


def metered_exposure(radiance: Float32Array) -> float:
    """Exposure, a factor on linear radiance (H, W, 3), by centre-weighted metering."""
    height, width = radiance.shape[:2]
    down, across = np.linspace(-0.5, 0.5, height)[:, None], np.linspace(-0.5, 0.5, width)[None]
    weight = np.exp(-0.5 * (down**2 + across**2) / METERING_WIDTH**2)
    luminance = np.minimum(radiance @ LUMINANCE, np.quantile(radiance @ LUMINANCE, BLOWN_QUANTILE))
    exposure = METERED_LEVEL * weight.sum() / float((weight * luminance).sum())
    return float(min(exposure, BLOWN_LIMIT / np.quantile(radiance @ LUMINANCE, BLOWN_QUANTILE)))


def simulate_sensor(
    radiance: Float32Array, exposure: float, gains: Float32Array, sensor: SensorScript, seed: int
) -> UInt8Array:
    """Image (H, W, 3), 8-bit sRGB, of linear radiance (H, W, 3): blur, shot and read noise, before JPEG."""
    g = np.random.default_rng(seed)
    exposed = np.maximum(cv2.GaussianBlur(exposure * gains * radiance, (0, 0), sensor.blur_px), 0.0)
    deviation = np.sqrt(sensor.read_noise**2 + sensor.shot_noise**2 * np.minimum(exposed, 1.0))
    noisy = exposed + deviation * g.standard_normal(exposed.shape)
    return linear_to_bytes(np.clip(noisy, 0.0, 1.0).astype(np.float32))


def encode_jpeg(image: UInt8Array, quality: int) -> bytes:
    """JPEG file of an sRGB image (H, W, 3)."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return bytes(encoded)
