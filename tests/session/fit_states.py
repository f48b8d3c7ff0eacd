"""Fit states with everything in them, from a seed."""

import numpy as np
import pytest

from fitme.fit.estimate import KeyframeEstimate, KeyLight
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.fit.work_queue import Task
from fitme.geometry import Camera, HeadPose
from fitme.glasses.glasses import POINTS, Glasses
from fitme.reflectance.map_arrays import MapArrays
from fitme.stage import Stage
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality


def make_pose(rng: np.random.Generator) -> HeadPose:
    return HeadPose(rng.standard_normal(3).astype(np.float32), rng.standard_normal(3).astype(np.float32))


def make_keyframe(key: str, seed: int, *, embedding: bool = True) -> Keyframe:
    rng = np.random.default_rng(seed)
    observation = FaceObservation(
        landmarks=rng.uniform(0, 64, (478, 2)).astype(np.float32),
        landmark_depth=rng.standard_normal(478).astype(np.float32),
        pose=make_pose(rng),
        expression=rng.uniform(0, 1, 52).astype(np.float32),
        camera=Camera.centered(70.0, 64, 48),
        quality=FrameQuality(0.9, 0.4, 0.01, 30.0, 0.0),
        status=FaceStatus.OK,
        embedding=rng.standard_normal(128).astype(np.float32) if embedding else None,
    )
    return Keyframe(key, rng.integers(0, 256, (48, 64, 3), np.uint8), observation, 0.5 * seed)


def make_state(seed: int = 0, *, keys: tuple[str, ...] = ("a", "b"), rounds: int = 2) -> FitState:
    rng = np.random.default_rng(seed)
    float16 = rng.uniform(0, 1, (8, 8, 7)).astype(np.float16).astype(np.float32)
    return FitState(
        stage=Stage.TUNING,
        focal=1.2,
        identity=rng.standard_normal(120).astype(np.float32),
        w_plus=rng.standard_normal((10, 64)).astype(np.float32),
        tuned={"trunk.0.weight": rng.standard_normal((4, 4, 3, 3)).astype(np.float32)},
        maps=MapArrays(float16[..., :3], float16[..., 3:4], float16[..., 4:]),
        keyframes=tuple(make_keyframe(key, index) for index, key in enumerate(keys)),
        estimates={
            key: KeyframeEstimate(
                make_pose(rng),
                rng.uniform(0, 1, 52).astype(np.float32),
                rng.standard_normal((9, 3)).astype(np.float32),
                0.1,
                KeyLight(np.array([0.6, 0.0, 0.8], np.float32), np.ones(3, np.float32)) if index else None,
            )
            for index, key in enumerate(keys)
        },
        track_information={
            key: MarginalInformation(rng.standard_normal((4, 4)), rng.standard_normal(4)) for key in keys
        },
        new_keyframes=keys[1:],
        work_queue=dict.fromkeys(Task, 0) | {Task.TEXTURE: 1, Task.TUNING: 3},
        rounds=tuple(
            RoundReport(index, stage, 0.5, {"rgb": 0.25} if index else {}, len(keys))
            for index, stage in enumerate([Stage.LANDMARKS, *[Stage.TUNING] * rounds][:rounds])
        ),
        glasses=Glasses(
            rng.standard_normal((POINTS, 3)).astype(np.float32),
            rng.uniform(0.001, 0.002, POINTS).astype(np.float32),
            rng.uniform(0, 1, (POINTS, 3)).astype(np.float32),
            np.array([0.5], np.float32),
        ),
        reference_embedding=rng.standard_normal(128).astype(np.float32),
        expression_frames=tuple(
            make_keyframe(f"smile-{key}", 100 + index, embedding=False) for index, key in enumerate(keys)
        ),
    )


def assert_same(got: object, expected: object) -> None:
    """Deep equality of the dataclasses, mappings, tuples and arrays of a state."""
    if isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, dict):
        assert isinstance(got, dict)
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, tuple):
        assert isinstance(got, tuple)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif hasattr(expected, "__dataclass_fields__"):
        assert type(got) is type(expected)
        for name in expected.__dataclass_fields__:
            assert_same(getattr(got, name), getattr(expected, name))
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-6)
    else:
        assert got == expected
