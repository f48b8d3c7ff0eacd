"""Mask of the person."""

from typing import Any, Final

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.track.mediapipe_package import WEIGHTS_FOLDER, close_network, create_network, mediapipe, mediapipe_image

SELFIE_SEGMENTATION: Final = WEIGHTS_FOLDER / "selfie_segmentation.tflite"


class PersonSegmenter:
    """Segmentation of the person from the background by MediaPipe's selfie segmentation: about 3 ms an image."""

    def __init__(self) -> None:
        """The network starts on first use."""
        self._network: Any = None

    def mask(self, image: UInt8Array) -> Float32Array:
        """(H, W) probability in [0, 1] that a pixel shows the person, hair and body included.

        :param image: (H, W, 3) uint8 sRGB.
        """
        if self._network is None:
            vision = mediapipe.tasks.vision
            self._network = create_network(
                vision.ImageSegmenter,
                vision.ImageSegmenterOptions,
                SELFIE_SEGMENTATION,
                "segment",
                output_confidence_masks=True,
            )
        (found,) = self._network.segment(mediapipe_image(image)).confidence_masks
        return np.array(found.numpy_view()[..., 0], np.float32)

    def close(self) -> None:
        """Release the network."""
        close_network(self._network)
        self._network = None
