"""Measures the mean face with which detected faces are compared: `python -m fitme.build.mean_face`.

Renders synthetic people as a webcam would record them, aligns their faces, and writes the mean of their contrasts,
made symmetric, as `fitme/track/mean_face.npy`. A minute.
"""

from contextlib import closing

import numpy as np

from fitme.arrays import Float32Array
from fitme.shape.model_file import load_default_model
from fitme.synthetic.clip import ClipSettings, clip_frames
from fitme.track.face_match import MEAN_FACE_PATH, contrast
from fitme.track.factory import landmark_backend
from fitme.track.identity_crop import DLIB_ALIGNMENT
from fitme.track.landmarks import FaceFinder

PEOPLE = 24


def mean_face(people: int) -> Float32Array:
    """(`SIDE_PX`, `SIDE_PX`) mean contrast of the frontal faces of so many synthetic people."""
    model = load_default_model()
    contrasts = []
    with closing(FaceFinder(landmark_backend())) as finder:
        for seed in range(people):
            image = next(clip_frames(ClipSettings(seed=seed), model)).image
            contrasts += [contrast(DLIB_ALIGNMENT.crop(image, face.landmarks)) for face in finder.detect(image)[:1]]
    mean = np.mean(contrasts, 0)
    return np.asarray((mean + mean[:, ::-1]) / 2.0, np.float32)


if __name__ == "__main__":
    np.save(MEAN_FACE_PATH, mean_face(PEOPLE))
