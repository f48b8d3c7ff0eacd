"""Stage that extracts the de-lit views of expression frames, several of them at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from fitme.arrays import Float32Array
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import Illumination
from fitme.fit.glasses_stage import GlassesStage
from fitme.fit.hair_stage import HairStage
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import ExpressionFrames
from fitme.fit.single_frame import SingleFrameFitter
from fitme.fit.stages import FitStages
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.visibility import Visibility
from fitme.frame_pool import FramePool

R = TypeVar("R")

FRAMES_PER_THREAD = 3
"""Frames of one extraction over the pool's threads, where there are several: its end, at which they wait for each
other, is rare."""


class ExpressionStage:
    """Extraction of the views that the expression frames of a fit lack."""

    def __init__(
        self,
        frames: ExpressionFrames,
        visibility: Visibility,
        single_frame: SingleFrameFitter,
        glasses: GlassesStage,
        hair: HairStage,
        stages: FitStages,
        pool: FramePool,
    ) -> None:
        self._frames = frames
        self._visibility = visibility
        self._single_frame = single_frame
        self._glasses = glasses
        self._hair = hair
        self._stages = stages
        self._pool = pool

    def extract(self, head: HeadEstimate, lights: Sequence[Illumination]) -> int:
        """Extract the views of the next frames that wait: one, or `FRAMES_PER_THREAD` for each of several threads.

        :param lights: of the keyframes, from which those of the frames start.
        :returns: number of frames.
        :raises Exception: what the extraction of one of them raised; that frame is removed, the others' views are kept.
        """
        threads = self._pool.threads
        frames = self._frames.waiting(FRAMES_PER_THREAD * threads if threads > 1 else 1)
        # One after the other, while the frames before are fitted: what covers a face is told by comparison with the
        # images before.
        usable = (_outcome(partial(self._visibility.usable_pixels, frame)) for frame in frames)
        views = self._pool.map(
            lambda frame, pixels: _outcome(partial(self._view, frame, pixels, head, lights)), frames, usable
        )
        for frame, view in zip(frames, views, strict=True):
            if isinstance(view, ExpressionView):
                self._frames.set_view(frame.key, view, head.identity.copy())
            else:
                self._frames.remove(frame.key)
        for view in views:
            if isinstance(view, Exception):
                raise view
        return len(frames)

    def _view(
        self, frame: Keyframe, usable: Float32Array | Exception, head: HeadEstimate, lights: Sequence[Illumination]
    ) -> ExpressionView:
        if isinstance(usable, Exception):
            raise usable
        estimate = self._single_frame.fit(frame, usable, head, lights)
        uncovered = self._glasses.uncovered(usable, frame, estimate, head.focal)
        uncovered = self._hair.uncovered(uncovered, frame, estimate, head.identity, head.focal)
        return self._stages.expression_view(frame, estimate, uncovered, head)


def _outcome(function: Callable[[], R]) -> R | Exception:
    """What a function returns, or raises: one frame's fault is not to cost the others' results."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 (the caller raises it)
        return error
