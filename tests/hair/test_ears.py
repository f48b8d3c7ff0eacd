"""Hair lies over ears that it hides, and skin keeps no streaks of it."""

from dataclasses import replace

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.ears import CLEARANCE_M, ear_heights, over_ears
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.frame import hair_over_skin
from fitme.hair.hair import Hair
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

from .conftest import CAMERA, Photograph, pose_of


def test_hair_that_hides_an_ear_lies_over_it(grid: EnvelopeGrid, model: MorphableModel, neutral: Float32Array) -> None:
    heights = ear_heights(grid, model, neutral)
    ears = heights > 0.002
    assert ears.any()
    assert not ears[grid.directions[..., 2] > 0.5].any()
    thin = np.full(heights.shape, 0.001)
    covered = over_ears(thin, heights, np.ones(heights.shape))
    assert (covered[ears] >= heights[ears] + 0.99 * CLEARANCE_M).all()
    np.testing.assert_array_equal(over_ears(thin, heights, np.zeros(heights.shape)), thin)


def test_thick_hair_stays(grid: EnvelopeGrid, model: MorphableModel, neutral: Float32Array) -> None:
    thick = np.full(grid.skull_m.shape, 0.09)
    over = over_ears(thick, ear_heights(grid, model, neutral), np.ones(thick.shape))
    np.testing.assert_array_equal(over, thick)


def test_a_strand_before_the_ear_is_left_out_of_the_skin(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, photograph: Photograph, hair: Hair
) -> None:
    frame = photograph(hair, pose_of(40)).frame
    ear = neutral[model.vertex_mask(Region.EARS).numpy() & (neutral[:, 0] < 0.0)]
    extrinsics = frame.pose.opencv_extrinsics()
    seen = ear @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    at = (seen[:, :2] / seen[:, 2:] * CAMERA.focal_px + (CAMERA.center_x_px, CAMERA.center_y_px)).round().astype(int)
    image = frame.image.copy()
    left, right = int(at[:, 0].min()), int(at[:, 0].max())
    above = frame.oval.min(0)[1], frame.oval.mean(0)[0]
    image[int(above[0]) : int(at[:, 1].max()), left + 2 : right - 2] = image[int(above[0]) - 40, int(above[1])]
    before, bare = (hair_over_skin(shown, model, backend) for shown in (replace(frame, image=image), frame))
    middle = int(at[:, 1].mean()), (left + right) // 2
    assert before.shape == image.shape[:2]
    assert float(before[middle]) > 0.6 > 0.3 > float(bare[middle])
