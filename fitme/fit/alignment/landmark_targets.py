"""The first stage: identity, poses, expressions and focal length from landmarks alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, IndexArray
from fitme.fit.alignment.landmark_errors import LandmarkErrors, direction_terms, load_default_errors, pixels_per_metre
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.joint_estimate import JointEstimate
from fitme.fit.solver.point_targets import MeshBasis, MeshPoints, PointErrors, PointTargets
from fitme.geometry import HeadPose, axis_angle_from_matrix, rotation_matrix
from fitme.shape.landmark_groups import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region


@dataclass(frozen=True)
class LandmarkSettings:
    """How far landmarks are trusted: all but `caution` is for where their errors were not measured. They are shared by
    neighbours, so each landmark counts for less than it seems."""

    sigma: float = 0.03
    """Standard deviation of a landmark's error over the side of the landmarks' bounding box, correlation included."""
    contour_factor: float = 3.0
    """Factor for the oval's landmarks, which slide along the silhouette as the head turns."""
    feature_factor: float = 0.5
    """Factor for the rims of eyes and lips: blinks and smiles hang on a few of them."""
    averted_factor: float = 4.0
    """Factor for landmarks on the side that is turned away, which MediaPipe guesses."""
    turn_deg: float = 15.0
    """Turn of the head, degrees, at which landmarks err twice as much as from the front. On heads of known shape, far
    turned frames that count fully make the identity worse than no fit at all (`fitme bench truth`)."""
    caution: float = 2.5
    """Factor on errors that were measured on made heads: real ones differ from these in hair, beards and cameras. Made
    heads themselves are found as well with it as without (1.86 mm for 1.85, at a free scale; the mean face 2.33)."""


class LandmarkTargets:
    """Turns keyframes into targets of the joint solver.

    With measured errors, the landmarks of the model that ships with the package are those whose errors were measured,
    freed of their mean error, and their targets say how they err together. Without, and of any other model, they are
    all that it has a place for, and their errors count as independent.
    """

    def __init__(
        self,
        model: MorphableModel,
        basis: MeshBasis,
        settings: LandmarkSettings,
        errors: LandmarkErrors | None = None,
    ) -> None:
        """`errors` are the package's own if they are not given. Raises ModelFileError where these cannot be read."""
        errors = errors or load_default_errors()
        self._errors = errors if errors.fits(model) else None
        on_eyeball = model.triangle_region.numpy()[model.mediapipe_triangles.numpy()] == Region.EYES
        everywhere = np.flatnonzero(model.mediapipe_valid.numpy() & ~on_eyeball)
        self._places = model.landmarks(model.mean[None])[0].double().numpy()
        self._all = _Chosen.of(model, basis, everywhere)
        self._measured_ones = self._all if self._errors is None else _Chosen.of(model, basis, self._errors.landmarks)
        self._settings = settings

    def of(self, keyframe: Keyframe, rotation: Float64Array, *, measured: bool) -> PointTargets:
        """Targets of one keyframe, given a first guess of its head's rotation (3, 3).

        With `measured` errors they say how landmarks err together, which shape is to be told from. Where shape is
        known, what a frame's landmarks do together is its expression: then they count as independent.
        """
        chosen = self._measured_ones if measured else self._all
        observed = keyframe.observation.landmarks.astype(np.float64)
        sigma = self._sigma(chosen, observed, rotation)
        camera = keyframe.observation.camera
        if self._errors is None or not measured:
            return PointTargets(chosen.points, observed[chosen.index], sigma, camera)
        shift, errors = self._measured(self._errors, chosen, observed, rotation)
        return PointTargets(chosen.points, observed[chosen.index] - shift, sigma, camera, errors)

    def _sigma(self, chosen: "_Chosen", observed: Float64Array, rotation: Float64Array) -> Float64Array:
        """(P,) pixels: errors of landmarks (478, 2) that count as independent."""
        settings = self._settings
        side = float((observed.max(0) - observed.min(0)).max())
        # Fewer landmarks that err alike must not say less together.
        sigma = np.full(len(chosen.index), settings.sigma * side * (len(chosen.index) / len(self._all.index)) ** 0.5)
        sigma[chosen.contour] *= settings.contour_factor
        sigma[chosen.features] *= settings.feature_factor
        sigma[(chosen.normals @ rotation.T)[:, 2] < 0.0] *= settings.averted_factor
        spread: Float64Array = sigma * (1.0 + (turn_of(rotation) / settings.turn_deg) ** 2)
        return spread

    def _measured(
        self, errors: LandmarkErrors, chosen: "_Chosen", observed: Float64Array, rotation: Float64Array
    ) -> tuple[Float64Array, PointErrors]:
        """Mean error (P, 2), and how the rest comes about, pixels, of landmarks (478, 2) of a head turned by (3, 3)."""
        scale = pixels_per_metre(self._places[self._all.index], observed[self._all.index], rotation)
        to_pixels = scale * rotation[:2] * np.array([[1.0], [-1.0]])  # (2, 3)
        spread = self._settings.caution * errors.spread(rotation)
        identity = np.zeros((len(chosen.index), 2, chosen.points.identity.shape[2]))
        identity[..., : errors.identity.shape[2]] = to_pixels @ errors.identity
        return errors.direction @ direction_terms(rotation[None])[0] @ to_pixels.T, PointErrors(
            identity,
            spread * (to_pixels @ errors.person),
            spread * (to_pixels @ errors.frame),
            scale * spread * errors.sigma,
        )


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Landmarks that count, P of them."""

    index: IndexArray
    """(P,)."""
    points: MeshPoints
    contour: BoolArray
    """(P,) on the oval."""
    features: BoolArray
    """(P,) on the rims of eyes and lips."""
    normals: Float64Array
    """(P, 3) of the mean head."""

    @classmethod
    def of(cls, model: MorphableModel, basis: MeshBasis, index: IndexArray) -> "_Chosen":
        triangles, weights = model.mediapipe_triangles.numpy(), model.mediapipe_barycentric.numpy()
        return cls(
            index,
            basis.points(triangles[index], weights[index]),
            np.isin(index, list(FACE_OVAL)),
            np.isin(index, [*LEFT_EYE, *RIGHT_EYE, *OUTER_LIPS, *INNER_LIPS]),
            _point_normals(model, index),
        )


def turn_of(rotation: Float64Array) -> float:
    """Angle in degrees between the camera's axis and the head's forward one, of a rotation matrix (3, 3)."""
    return float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1.0, 1.0))))


def initial_estimate(
    poses: Sequence[HeadPose], expressions: Sequence[Float64Array], focal: float, identity: Float64Array
) -> JointEstimate:
    """A start for the joint solver."""
    rotations = [matrix_of(pose) for pose in poses]
    return JointEstimate(
        focal,
        identity,
        np.stack(rotations),
        np.stack([pose.translation.astype(np.float64) for pose in poses]),
        np.stack([expression.astype(np.float64) for expression in expressions]),
    )


def matrix_of(pose: HeadPose) -> Float64Array:
    """(3, 3) rotation matrix of a pose."""
    matrix: Float64Array = rotation_matrix(torch.from_numpy(pose.rotation).double()).numpy()
    return matrix


def pose_of(estimate: JointEstimate, index: int) -> HeadPose:
    """Pose of one keyframe of an estimate."""
    rotation = axis_angle_from_matrix(torch.from_numpy(estimate.rotations[index]))
    return HeadPose(rotation.float().numpy(), estimate.translations[index].astype(np.float32))


def _point_normals(model: MorphableModel, index: IndexArray) -> Float64Array:
    """(P, 3) normals of the mean head at landmarks."""
    triangles = model.triangles[model.mediapipe_triangles[torch.from_numpy(index)].long()].long()
    corners = model.mean[triangles]  # (P, 3, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit: Float64Array = torch.nn.functional.normalize(normals, dim=-1).double().numpy()
    return unit
