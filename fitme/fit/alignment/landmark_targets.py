"""Landmarks of keyframes as targets of the joint solve, and the start of that solve from tracked poses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from fitme.arrays import BoolArray, Float64Array, IndexArray
from fitme.fit.alignment.landmark_errors import LandmarkErrors, direction_terms, load_default_errors, pixels_per_metre
from fitme.fit.alignment.rows_of_teeth import JAW, known_jaw, opening_of
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.joint_estimate import JointEstimate
from fitme.fit.solver.point_targets import MeshBasis, MeshPoints, OffsetTargets, PointErrors, PointTargets
from fitme.geometry import HeadPose, axis_angle_from_matrix, rotation_matrix
from fitme.shape.landmark_groups import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.track.blink import open_share
from fitme.track.pose import EYELID_PAIRS, LIP_PAIRS


@dataclass(frozen=True)
class LandmarkSettings:
    """Noise model of landmarks. All but `noise_inflation` is for errors that count as independent; neighbours share
    theirs, so the standard deviations are larger than a single landmark's."""

    sigma: Annotated[float, Meta(gt=0.0)] = 0.03
    """Standard deviation of a landmark's error over the side of the landmarks' bounding box, correlation included."""
    contour_factor: Annotated[float, Meta(gt=0.0)] = 3.0
    """Factor for the oval's landmarks, which slide along the silhouette as the head turns."""
    feature_factor: Annotated[float, Meta(gt=0.0)] = 0.5
    """Factor for the rims of eyes and lips: few landmarks determine blinks and smiles."""
    averted_factor: Annotated[float, Meta(gt=0.0)] = 4.0
    """Factor for landmarks on the side that is turned away, which MediaPipe guesses."""
    opening_sigma: Annotated[float, Meta(gt=0.0)] = 0.006
    """Standard deviation of an opening of lids or lips, over the side of the landmarks' bounding box. Its two rims err
    together, so that it is seen better than either."""
    turn_deg: Annotated[float, Meta(gt=0.0)] = 15.0
    """Turn of the head, degrees, at which landmarks err twice as much as from the front. On heads of known shape, far
    turned frames at full weight make the identity worse than no fit at all (`fitme bench truth`)."""
    noise_inflation: Annotated[float, Meta(gt=0.0)] = 2.5
    """Factor on the errors measured on synthetic heads: real ones differ from these in hair, beards and cameras.
    Synthetic heads themselves are found as well with it as without (1.86 mm for 1.85, at a free scale; the mean face
    2.33)."""


class LandmarkTargets:
    """Targets of the joint solve from the landmarks of keyframes, for one model.

    With correlated errors, on the model that ships with the package: the landmarks whose errors were measured
    (`landmark_errors`), minus their mean error, with the factors of their errors. Otherwise, and on any other model:
    all landmarks that the model has a place for, with independent errors.
    """

    def __init__(
        self,
        model: MorphableModel,
        basis: MeshBasis,
        settings: LandmarkSettings,
        errors: LandmarkErrors | None = None,
    ) -> None:
        """`errors` default to the package's own; raises ModelFileError where these cannot be read."""
        errors = errors or load_default_errors()
        self._errors = errors if errors.fits(model) else None
        on_eyeball = model.triangle_region.numpy()[model.mediapipe_triangles.numpy()] == Region.EYES
        everywhere = np.flatnonzero(model.mediapipe_valid.numpy() & ~on_eyeball)
        self._places = model.landmarks(model.mean[None])[0].double().numpy()
        self._all = _LandmarkGroup.of(model, basis, everywhere)
        self._measured_group = (
            self._all if self._errors is None else _LandmarkGroup.of(model, basis, self._errors.landmarks)
        )
        self._settings = settings
        teeth = model.expression_basis[JAW][model.vertex_mask(Region.TEETH)]
        self._jaw_travel_m = float(-teeth[:, 1].min()) if len(teeth) else 0.0

    def of(self, keyframe: Keyframe, rotation: Float64Array, *, correlated: bool) -> PointTargets:
        """Targets of one keyframe, given a first guess of its head's rotation (3, 3), model to view.

        `correlated` errors keep errors that landmarks share out of the shape. Where shape is known, a common
        displacement of a frame's landmarks is its expression, so that errors are better taken as independent.
        """
        group = self._measured_group if correlated else self._all
        observed = keyframe.observation.landmarks.astype(np.float64)
        sigma = self._sigma(group, observed, rotation)
        camera = keyframe.observation.camera
        scale = pixels_per_metre(self._places[self._all.index], observed[self._all.index], rotation)
        seen = keyframe.observation
        jaw = known_jaw(opening_of(keyframe.image, seen.landmarks), scale, self._jaw_travel_m)
        if self._errors is None or not correlated:
            offsets = self._offsets(group, observed, rotation)
            return PointTargets(
                group.points, observed[group.index], sigma, camera, offsets=offsets, known_expression=jaw
            )
        shift, errors = self._correlated_errors(self._errors, group, observed, rotation)
        return PointTargets(group.points, observed[group.index] - shift, sigma, camera, errors, known_expression=jaw)

    def _sigma(self, group: "_LandmarkGroup", observed: Float64Array, rotation: Float64Array) -> Float64Array:
        """(P,) pixels: standard deviations of the errors of landmarks (478, 2) if they count as independent."""
        settings = self._settings
        side = _side_px(observed)
        # Errors of neighbours are correlated, so fewer landmarks carry as much information in all as many do.
        sigma = np.full(len(group.index), settings.sigma * side * (len(group.index) / len(self._all.index)) ** 0.5)
        sigma[group.contour] *= settings.contour_factor
        sigma[group.features] *= settings.feature_factor
        sigma[(group.normals @ rotation.T)[:, 2] < 0.0] *= settings.averted_factor
        turned: Float64Array = sigma * (1.0 + (turn_of(rotation) / settings.turn_deg) ** 2)
        return turned

    def _offsets(self, group: "_LandmarkGroup", observed: Float64Array, rotation: Float64Array) -> OffsetTargets:
        """Openings of lids and lips in landmarks (478, 2), pixels; those on the averted side less certain."""
        settings, pairs = self._settings, group.opening_pairs
        first, second = (observed[group.index[rows]] for rows in pairs.T)
        sigma = np.full(len(pairs), settings.opening_sigma * _side_px(observed))
        averted = (group.normals[pairs].mean(1) @ rotation.T)[:, 2] < 0.0
        sigma[averted] *= settings.averted_factor
        return OffsetTargets(pairs, (first - second) * _opening_shares(group.index[pairs[:, 0]], observed), sigma)

    def _correlated_errors(
        self, errors: LandmarkErrors, group: "_LandmarkGroup", observed: Float64Array, rotation: Float64Array
    ) -> tuple[Float64Array, PointErrors]:
        """Mean error (P, 2) in pixels and the factor model of the rest, for landmarks (478, 2) turned by (3, 3)."""
        # Errors are displacements in the head's own frame: rotate, drop depth, flip y, and scale to pixels.
        scale = pixels_per_metre(self._places[self._all.index], observed[self._all.index], rotation)
        to_pixels = scale * rotation[:2] * np.array([[1.0], [-1.0]])  # (2, 3)
        spread = self._settings.noise_inflation * errors.spread(rotation)
        identity = np.zeros((len(group.index), 2, group.points.identity.shape[2]))
        identity[..., : errors.identity.shape[2]] = to_pixels @ errors.identity
        return errors.direction @ direction_terms(rotation[None])[0] @ to_pixels.T, PointErrors(
            identity,
            spread * (to_pixels @ errors.person),
            spread * (to_pixels @ errors.frame),
            scale * spread * errors.sigma,
        )


@dataclass(frozen=True, eq=False)
class _LandmarkGroup:
    """P landmarks with their properties."""

    index: IndexArray
    """(P,) among MediaPipe's."""
    points: MeshPoints
    contour: BoolArray
    """(P,) on the oval."""
    features: BoolArray
    """(P,) on the rims of eyes and lips."""
    normals: Float64Array
    """(P, 3) of the mean head."""
    opening_pairs: IndexArray
    """(Q, 2) rows of landmarks whose offset is an opening: of lids or lips."""

    @classmethod
    def of(cls, model: MorphableModel, basis: MeshBasis, index: IndexArray) -> "_LandmarkGroup":
        triangles, weights = model.mediapipe_triangles.numpy(), model.mediapipe_barycentric.numpy()
        row = {int(landmark): place for place, landmark in enumerate(index)}
        pairs = [(row[a], row[b]) for a, b in EYELID_PAIRS + LIP_PAIRS if a in row and b in row]
        return cls(
            index,
            basis.points(triangles[index], weights[index]),
            np.isin(index, list(FACE_OVAL)),
            np.isin(index, [*LEFT_EYE, *RIGHT_EYE, *OUTER_LIPS, *INNER_LIPS]),
            _point_normals(model, index),
            np.array(pairs, np.intp).reshape(-1, 2),
        )


def _side_px(landmarks: Float64Array) -> float:
    """Longer side of the bounding box of landmarks (478, 2)."""
    return float((landmarks.max(0) - landmarks.min(0)).max())


def _opening_shares(upper: IndexArray, landmarks: Float64Array) -> Float64Array:
    """(Q, 1) true openings over those of landmarks (478, 2), by their upper landmarks (Q,): MediaPipe's lids never
    quite close."""
    shares = np.ones((len(upper), 1))
    for side, rim in (("Left", LEFT_EYE), ("Right", RIGHT_EYE)):
        shares[np.isin(upper, rim)] = open_share(landmarks.astype(np.float32), side)
    return shares


def turn_of(rotation: Float64Array) -> float:
    """Angle in degrees between the camera's axis and the head's forward one, of a rotation matrix (3, 3)."""
    return float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1.0, 1.0))))


def initial_estimate(
    poses: Sequence[HeadPose], expressions: Sequence[Float64Array], focal: float, identity: Float64Array
) -> JointEstimate:
    """Start of the joint solve from poses and expressions (52,) of N keyframes, a focal length over the longer side of
    the image, and an identity (K,)."""
    rotations = [matrix_of(pose) for pose in poses]
    return JointEstimate(
        focal,
        identity,
        np.stack(rotations),
        np.stack([pose.translation.astype(np.float64) for pose in poses]),
        np.stack([expression.astype(np.float64) for expression in expressions]),
    )


def matrix_of(pose: HeadPose) -> Float64Array:
    """(3, 3) rotation matrix of a pose, model to view."""
    return rotation_matrix(pose.rotation.astype(np.float64))


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
