"""Statistics of the hair that images show: contrasts among strands, tufts and locks, and whether it curls."""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.texels import blurred

CONTRAST_TEXELS = (1.2, 2.6, 5.3)
"""Standard deviations of the filters that leave out strands, tufts and locks, one after another."""
CONTRAST_RANGES = ((0.10, 0.25), (0.12, 0.3), (0.14, 0.35))
"""Bounds of the standard deviation of the logarithm of unseen hair's luminance among each of them: images that are too
coarse to show them do not make hair smooth."""
CURL_BAND_TEXELS, CURL_TEXELS = (1.0, 5.0), 4.0
"""Standard deviations of the filters between which curls show, and of the place in which strands run one way."""
CURL = (0.09, 0.125)
"""Contrast in that band times its incoherence at which hair begins to count as curled, and from which it does. Of nine
people, by whom they were chosen, three with curls have 0.12 to 0.17, six without at most 0.07."""
LEAST_SEEN_TEXELS = 2000.0
"""Texels that must be seen to tell curls: some 13 square centimetres."""


def contrasts(albedo: Float32Array, weight: Float32Array) -> tuple[float, float, float]:
    """Standard deviations of the logarithm of the luminance of albedo (T, U, 3) among strands, tufts and locks, by
    bands of its frequencies; `weight` (T, U)."""
    tone = np.log(albedo.mean(-1))
    total = max(float(weight.sum()), 1e-6)
    found = []
    for sigma, bounds in zip(CONTRAST_TEXELS, CONTRAST_RANGES, strict=True):
        coarser = blurred(tone, sigma)
        found.append(float(np.clip(np.sqrt((weight * (tone - coarser) ** 2).sum() / total), *bounds)))
        tone = coarser
    return found[0], found[1], found[2]


def curliness(albedo: Float32Array, weight: Float32Array) -> float:
    """Share in [0, 1] to which hair of an albedo (T, U, 3) curls, 0 where too little was seen: its strands run all ways
    (structure tensor: Bigün and Granlund, ICCV 1987), with strong contrast; `weight` (T, U)."""
    total = float(weight.sum())
    if total < LEAST_SEEN_TEXELS:
        return 0.0
    tone = np.log(albedo.mean(-1))
    band = blurred(tone, CURL_BAND_TEXELS[0]) - blurred(tone, CURL_BAND_TEXELS[1])
    across, down = cv2.Sobel(band, cv2.CV_32F, 1, 0), cv2.Sobel(band, cv2.CV_32F, 0, 1)
    xx, yy, xy = (
        blurred(np.asarray(a * b, np.float32), CURL_TEXELS) for a, b in ((across, across), (down, down), (across, down))
    )
    energy = np.maximum(xx + yy, 1e-12)
    coherence = float((weight * np.hypot(xx - yy, 2.0 * xy)).sum() / (weight * energy).sum())
    contrast = float(np.sqrt((weight * band**2).sum() / total))
    return float(np.clip((contrast * (1.0 - coherence) - CURL[0]) / (CURL[1] - CURL[0]), 0.0, 1.0))
