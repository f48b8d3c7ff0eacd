"""Mean colour of the nearest pixels of a part of an image."""

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array

FAR_SHARE = 1e-3
"""Weight of a window of four times the width, over that of the narrow one."""


def nearby_mean(linear: Float32Array, part: UInt8Array, sigma_px: float) -> Float32Array:
    """(H, W, 3) mean colour of the nearest pixels of a part (H, W)."""
    height, width = part.shape
    # Means over wide windows need no fine pixels.
    step = max(round(sigma_px / 2.0), 1)
    size = (max(width // step, 1), max(height // step, 1))
    weight = part.astype(np.float32)
    weighted = cv2.resize(np.dstack([linear * weight[..., None], weight]), size, interpolation=cv2.INTER_AREA)
    # The wide window counts where the narrow one is empty.
    total = cv2.GaussianBlur(weighted, (0, 0), sigma_px / step)
    total = total + FAR_SHARE * cv2.GaussianBlur(weighted, (0, 0), 4.0 * sigma_px / step)
    mean = total[..., :3] / np.maximum(total[..., 3:], 1e-9)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
