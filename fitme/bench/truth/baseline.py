"""Baseline avatar: shape fitted to landmarks alone, with an unlit texture.

The texture is the mean of the keyframes' colours, weighted by the fourth power of the cosine of the viewing angle. It
cannot be relit and blurs moving parts, but the person is recognisable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_bytes
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.alignment.landmark_targets import pose_of
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import FreeParameters
from fitme.fit.texture.unprojection import texel_table, unproject
from fitme.geometry import transform
from fitme.ingest.person_tracking import TrackedFrame
from fitme.metrics.frame_scores import FrameScore, score_frame
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import IdentityEmbedder

RESOLUTION = 512
"""Side of the texture."""
COSINE_POWER = 4


@dataclass(frozen=True)
class Baseline:
    """A fitted head with an unlit texture."""

    focal: float
    """Focal length over the longer side of the frame."""
    identity: Float32Array
    """(K,) coefficients."""
    maps: ReflectanceMaps
    """Observed colours as diffuse albedo; specular albedo 0."""


class BaselineFit:
    """Fits baselines and scores them on held-out frames."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._settings = FitSettings()
        self._aligner = HeadAligner(model, select_backend("cpu"), self._settings.alignment)
        self._table = texel_table(model, RESOLUTION)

    def fit(self, tracked_frames: Sequence[TrackedFrame]) -> Baseline:
        """Baseline of the person in the tracked frames."""
        # Landmarks alone determine identity, poses, expressions and, with several frames, the focal length.
        keyframes = [_keyframe(str(index), tracked_frame) for index, tracked_frame in enumerate(tracked_frames)]
        start = np.zeros(self._model.identity_count, np.float32)
        prior = self._settings.alignment.solver.focal_prior
        joint = self._aligner.by_landmarks(keyframes, {}, prior, start, FreeParameters(focal=len(keyframes) > 1))
        identity = joint.identity.astype(np.float32)
        # Weighted sums of colours and of weights per texel, over all keyframes.
        total = np.zeros((len(self._table.rows), 4), np.float32)
        for index, keyframe in enumerate(keyframes):
            expression = torch.from_numpy(joint.expressions[index].astype(np.float32))[None]
            with torch.no_grad():
                vertices = self._model.vertices(torch.from_numpy(identity)[None], expression)[0]
            pose = pose_of(joint, index)
            posed = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), vertices)
            camera = camera_of(keyframe.observation.camera, joint.focal)
            unmasked = np.ones(keyframe.image.shape[:2], np.float32)
            view = unproject(self._table, self._model, posed, camera, keyframe.image, unmasked)
            cosine = np.clip((view.normals * view.toward_viewer).sum(-1), 0.0, 1.0)
            weight = cosine**COSINE_POWER * (view.weight > 0)
            total[:, :3] += weight[:, None] * view.color
            total[:, 3] += weight
        # Unobserved texels have the mean colour.
        observed = total[:, 3] > 0
        colors = np.broadcast_to(total[:, :3].sum(0) / total[:, 3].sum(), (len(total), 3)).copy()
        colors[observed] = total[observed, :3] / total[observed, 3:]
        return Baseline(joint.focal, identity, self._unlit(colors))

    def score(self, baseline: Baseline, tracked_frame: TrackedFrame, embedder: IdentityEmbedder) -> FrameScore:
        """Score of the baseline on a held-out frame, with pose and expression fitted to its landmarks."""
        keyframe = _keyframe("held out", tracked_frame)
        fixed = FreeParameters(identity=False, focal=False)
        joint = self._aligner.by_landmarks([keyframe], {}, baseline.focal, baseline.identity, fixed)
        unlit = Light.ambient().sh[0].numpy()
        estimate = KeyframeEstimate(pose_of(joint, 0), joint.expressions[0].astype(np.float32), unlit, float("nan"))
        observation = tracked_frame.observation
        camera = camera_of(observation.camera, baseline.focal)
        rendering = self._aligner.draw(estimate, baseline.identity, camera, baseline.maps)
        mask = np.where(rendering.mask[0, ..., 0].numpy() > 0.5, np.uint8(255), np.uint8(0))
        render = linear_to_bytes(rendering.image[0].numpy())
        return score_frame(observation, tracked_frame.frame.image, render, mask, embedder)

    def _unlit(self, colors: Float32Array) -> ReflectanceMaps:
        flat = ReflectanceMaps.constant((0.0, 0.0, 0.0), 0.0, RESOLUTION)
        diffuse = torch.from_numpy(self._table.to_filled_map(colors))[None]
        return replace(flat, diffuse=diffuse)


def _keyframe(key: str, tracked_frame: TrackedFrame) -> Keyframe:
    return Keyframe(key, tracked_frame.frame.image, tracked_frame.observation, tracked_frame.frame.timestamp_s)
