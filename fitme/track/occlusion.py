"""Occlusion of a face by hands, cups, microphones or hair: what differs from the same face in earlier images.

No network is trained for each kind of occluder. Sites spread over the face follow its landmarks, so that features and
expressions stay in register. Between two images of one uncovered face, the logarithms of the colours at these sites
differ by light alone: by a low-order function of the normals (Ramamoorthi and Hanrahan, SIGGRAPH 2001), fitted robustly
(Geman and McClure). Areas with a large residual show something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array, IndexArray, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import HeadPose, rotation_matrix
from fitme.render.shading import sh_basis
from fitme.shape.landmark_groups import FACE_OVAL, INNER_LIPS, LEFT_EYE, RIGHT_EYE, SURFACE_LANDMARK_COUNT
from fitme.shape.morphable_model import MorphableModel
from fitme.track.quality import face_size_px

SITE_SPACING_M: Final = 0.005
"""Distance between sites on the mean head, seen from the front."""
NEIGHBOURS: Final = 8
"""Landmarks whose weighted mean a site is."""
BLUR: Final = 0.03
"""Standard deviation of the blur before colours are read, over the face's size: wrinkles and stubble vanish."""
DARKEST: Final = 0.02
"""Linear colour added before logarithms, so that noise of dark pixels does not dominate."""
LEAST_FACING: Final = 0.3
"""Cosine between a site's normal and the view axis from which it is compared."""
LIGHT_SCALE: Final = 0.12
"""Residual, natural logarithm, at which a site's weight in the fit of the light falls to a quarter."""
LIGHT_ROUNDS: Final = 8
"""Reweighted least squares."""
LIGHT_REGULARIZATION: Final = 1e-2
"""Added to the diagonal of the normal matrix, in sites."""
LARGEST_RESIDUAL: Final = 0.3
"""Root mean square over the channels of the natural logarithm's residual beyond which a site differs."""
AREA_RADIUS_M: Final = 0.012
"""Radius around a site in which most sites must differ: wrinkles, shadows of the nose and lashes are narrower."""
AREA_SHARE: Final = 0.6
"""Share of the sites within that radius that must differ."""
SMALLEST_COVERED: Final = 0.1
"""Share of the face from which a difference counts as an occlusion: expressions and cast shadows reach up to 0.08."""
NOVEL_SHARE: Final = 0.03
"""Share of differing sites from which an uncovered image becomes a further reference."""
REFERENCES: Final = 6
"""Largest number of references."""
FEWEST_OF_MAJORITY: Final = 3
"""Fewest images of which most can show a face uncovered and another not."""


@dataclass(frozen=True)
class Occlusion:
    """What covers a face in one image."""

    share: float
    """Covered share of the visible face, 0 to 1; 0 below `SMALLEST_COVERED`."""
    pixels: Float32Array
    """(N, 2) covered sites, pixels."""
    spacing_px: float
    """Distance between sites, pixels."""

    def mask(self, height: int, width: int) -> BoolArray:
        """(height, width) mask of the covered pixels."""
        covered = np.zeros((height, width), np.uint8)
        for x, y in np.rint(self.pixels).astype(int):
            cv2.circle(covered, (int(x), int(y)), max(1, round(self.spacing_px)), (1.0,), thickness=-1)
        return covered.astype(np.bool_)


@dataclass(frozen=True)
class _Appearance:
    """Colours of a face at the S sites."""

    pixels: Float32Array
    """(S, 2) places of the sites in the image, pixels."""
    log_colors: Float64Array
    """(S, 3) natural logarithms of linear colours."""
    basis: Float64Array
    """(S, 9) spherical harmonics of the normals, view frame."""
    visible: BoolArray
    """(S,)."""


class FaceOcclusion:
    """Detector of what covers one person's face, by comparison with earlier images of that face."""

    def __init__(self, model: MorphableModel, *, patience: int) -> None:
        """
        :param patience: covered images in a row after which one becomes a reference as it is: what never leaves the
            face belongs to it, and the first reference may have been the covered one.
        """
        self._patience = patience
        corners = model.triangles[model.mediapipe_triangles].long()
        weights = model.mediapipe_barycentric[..., None]
        landmarks = (model.mean[corners] * weights).sum(1).double().numpy()[:SURFACE_LANDMARK_COUNT]
        normals = torch.linalg.cross(
            model.mean[corners[:, 1]] - model.mean[corners[:, 0]], model.mean[corners[:, 2]] - model.mean[corners[:, 0]]
        )[:SURFACE_LANDMARK_COUNT].double()
        unit = torch.nn.functional.normalize(normals, dim=-1).numpy()
        sites = _sites(landmarks)
        self._neighbours, self._weights = _affine_weights(landmarks[:, :2], sites)
        mean_normals = (unit[self._neighbours] * self._weights[..., None]).sum(1)
        self._normals = mean_normals / np.linalg.norm(mean_normals, axis=1, keepdims=True)
        squared = ((sites[:, None] - sites[None]) ** 2).sum(-1)
        self._area = (squared < AREA_RADIUS_M**2).astype(np.float32)  # (S, S)
        self._face_width_m = float(np.ptp(sites[:, 0]))
        self._references: list[_Appearance] = []
        self._covered_in_a_row = 0

    def reset(self) -> None:
        """Drop the references: the next face may be another person's."""
        self._references = []
        self._covered_in_a_row = 0

    def set_reference(self, image: UInt8Array, landmarks: Float32Array, pose: HeadPose) -> None:
        """Make one face, which nothing covers, the only reference. Arguments as in `check`."""
        self.reset()
        self._references = [self._appearance(image, landmarks, pose)]

    def majority_shares(self, faces: Sequence[tuple[UInt8Array, Float32Array, HeadPose]]) -> list[float]:
        """Share of each face, 0 to 1, that differs from most of the others: what covers a person in less than half of
        the images. References are not touched.

        :param faces: of one person, at least `FEWEST_OF_MAJORITY`: arguments of `check`.
        """
        appearances = [self._appearance(*face) for face in faces]
        sites = (len(faces), len(self._area))
        differing, compared = np.zeros(sites, np.int64), np.zeros(sites, np.int64)
        for (i, one), (j, other) in combinations(enumerate(appearances), 2):
            visible = one.visible & other.visible
            found = self._differing(one, other, visible) if visible.any() else visible
            for index in (i, j):
                differing[index] += found
                compared[index] += visible
        covered = (2 * differing > compared) & (compared >= FEWEST_OF_MAJORITY - 1)
        return [
            float(mask.sum() / max(int(appearance.visible.sum()), 1))
            for mask, appearance in zip(covered, appearances, strict=True)
        ]

    def check(self, image: UInt8Array, landmarks: Float32Array, pose: HeadPose) -> Occlusion:
        """Compare the face with the references. The first image becomes one, and so does an uncovered face
        that differs from them, such as by its expression.

        :param image: (H, W, 3) uint8 sRGB.
        :param landmarks: (478, 2) pixels.
        :param pose: model to view.
        """
        appearance = self._appearance(image, landmarks, pose)
        share, differing = self._compare(appearance)
        covered = share >= SMALLEST_COVERED
        self._covered_in_a_row = self._covered_in_a_row + 1 if covered else 0
        novel = not covered and share > NOVEL_SHARE
        if not self._references or novel or self._covered_in_a_row > self._patience:
            # The first reference stays, of the others the latest.
            self._references = [*self._references[:1], *self._references[1:][2 - REFERENCES :], appearance]
            self._covered_in_a_row = 0
        if not covered:
            return Occlusion(0.0, np.zeros((0, 2), np.float32), 0.0)
        px_per_m = float(np.ptp(appearance.pixels[:, 0])) / self._face_width_m
        return Occlusion(share, appearance.pixels[differing], SITE_SPACING_M * px_per_m)

    def _appearance(self, image: UInt8Array, landmarks: Float32Array, pose: HeadPose) -> _Appearance:
        pixels = (landmarks[self._neighbours] * self._weights[..., None]).sum(1)
        # Only the part of the image around the face is blurred.
        sigma = max(BLUR * face_size_px(landmarks), 0.5)
        margin, size = 3.0 * sigma, np.array(image.shape[1::-1])
        low = np.clip(np.floor(pixels.min(0) - margin), 0, size - 1).astype(int)
        high = np.clip(np.ceil(pixels.max(0) + margin), low + 1, size).astype(int)
        blurred = cv2.GaussianBlur(image[low[1] : high[1], low[0] : high[0]], (0, 0), sigma)
        place = np.rint(pixels).astype(int) - low
        inside = ((place >= 0) & (place < high - low)).all(1)
        column, row = np.clip(place, 0, high - low - 1).T
        log_colors = np.log(bytes_to_linear(blurred[row, column]).astype(np.float64) + DARKEST)
        normals = self._normals @ rotation_matrix(pose.rotation.astype(np.float64)).T
        basis = sh_basis(torch.from_numpy(normals)).numpy()
        return _Appearance(pixels.astype(np.float32), log_colors, basis, inside & (normals[:, 2] > LEAST_FACING))

    def _compare(self, appearance: _Appearance) -> tuple[float, BoolArray]:
        """Covered share and differing sites (S,), by the reference that is most alike."""
        nothing = np.zeros(len(self._area), np.bool_)
        best = (1.0, nothing) if self._references else (0.0, nothing)
        for reference in self._references:
            visible = appearance.visible & reference.visible
            if not visible.any():
                continue
            differing = self._differing(appearance, reference, visible)
            best = min(best, (float(differing.sum() / visible.sum()), differing), key=lambda found: found[0])
        return best

    def _differing(self, appearance: _Appearance, reference: _Appearance, visible: BoolArray) -> BoolArray:
        """(S,) sites of differing areas, after the difference of the lights is removed."""
        difference = appearance.log_colors - reference.log_colors
        # Light of both: nine coefficients of one, and the linear ones of the other.
        basis = np.concatenate([appearance.basis, reference.basis[:, 1:4]], 1)
        weight, residual = visible.astype(np.float64), np.zeros(len(visible))
        for _ in range(LIGHT_ROUNDS):
            weighted = (basis * weight[:, None]).T
            normal = weighted @ basis + LIGHT_REGULARIZATION * np.eye(basis.shape[1])
            light = np.linalg.solve(normal, weighted @ difference)
            residual = np.sqrt(((difference - basis @ light) ** 2).mean(1))
            weight = visible / (1.0 + (residual / LIGHT_SCALE) ** 2) ** 2
        differs = (visible & (residual > LARGEST_RESIDUAL)).astype(np.float32)
        core = visible & (self._area @ differs > AREA_SHARE * (self._area @ visible.astype(np.float32)))
        return np.asarray((self._area @ core.astype(np.float32) > 0.0) & (differs > 0.0))


def _sites(landmarks: Float64Array) -> Float64Array:
    """(S, 2) grid over the mean face (468, 3), seen from the front, without eyes and mouth."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    axes = [np.arange(a, b, SITE_SPACING_M) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    within = [_within(grid, landmarks[list(outline), :2]) for outline in (FACE_OVAL, LEFT_EYE, RIGHT_EYE, INNER_LIPS)]
    return np.asarray(grid[within[0] & ~np.any(within[1:], axis=0)])


def _within(points: Float64Array, outline: Float64Array) -> BoolArray:
    """(P,) whether points (P, 2) lie in a polygon (Q, 2)."""
    polygon = outline.astype(np.float32)
    return np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0.0 for x, y in points])


def _affine_weights(landmarks: Float64Array, sites: Float64Array) -> tuple[IndexArray, Float64Array]:
    """Nearest landmarks (S, N) of each site (S, 2), and weights (S, N) that reproduce affine functions there: the
    smallest ones, where distant landmarks count less."""
    squared = ((sites[:, None] - landmarks[None]) ** 2).sum(-1)
    nearest = np.argsort(squared, 1)[:, :NEIGHBOURS]
    nearness = 1.0 / (np.take_along_axis(squared, nearest, 1) + (0.5 * SITE_SPACING_M) ** 2)
    offsets = (landmarks[nearest] - sites[:, None]) / SITE_SPACING_M
    constraints = np.concatenate([np.ones((*nearest.shape, 1)), offsets], -1)  # (S, N, 3)
    scaled = constraints * nearness[..., None]
    target = np.broadcast_to(np.array([1.0, 0.0, 0.0])[:, None], (len(sites), 3, 1))
    multipliers = np.linalg.solve(scaled.transpose(0, 2, 1) @ constraints, target)
    return nearest, (scaled @ multipliers)[..., 0]
