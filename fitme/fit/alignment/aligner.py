"""Where the head is in each keyframe: the geometric half of a fit, by landmarks and by dense flow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_bytes
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.head_scale import volume_information
from fitme.fit.alignment.landmark_targets import LandmarkTargets, initial_estimate, matrix_of, pose_of
from fitme.fit.alignment.optical_flow import FLOW_REGIONS, flow_targets
from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.alignment.surface_tracks import SurfacePoints, shared_only
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.gauss_newton import marginal_information_of, solve_jointly
from fitme.fit.solver.joint_estimate import FreeParameters, JointEstimate
from fitme.fit.solver.linearization import focal_px
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshBasis
from fitme.fit.solver.structure_from_motion import TrackProblem, TrackSolution
from fitme.geometry import Camera, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion, mouth_shade
from fitme.render.rasterizer import RasterizerBackend
from fitme.render.renderer import Rendering, render
from fitme.shape.morphable_model import MorphableModel


class HeadAligner:
    """Solves poses, expressions, identity and focal length over keyframes. Holds what the solves share."""

    def __init__(self, model: MorphableModel, backend: RasterizerBackend, settings: AlignmentSettings) -> None:
        self._model = model
        self._backend = backend
        self._settings = settings
        self._basis = MeshBasis(model)
        self._landmarks = LandmarkTargets(model, self._basis, settings.landmarks)
        self._trusted = np.isin(model.triangle_region.numpy(), [int(region) for region in FLOW_REGIONS])

    def by_landmarks(
        self,
        keyframes: Sequence[Keyframe],
        known: Mapping[str, KeyframeEstimate],
        focal: float,
        identity: Float32Array,
        free: FreeParameters,
        others: MarginalInformation | None = None,
        *,
        measured: bool = False,
    ) -> JointEstimate:
        """Joint solve over landmarks; keyframes that are `known` start from there, the others from their tracking.

        `others` is what keyframes that are left out say of identity and focal length. `measured` errors of
        landmarks (`LandmarkTargets`) tell shape from heads that turn, and expressions badly.
        """
        poses = [known[k.key].pose if k.key in known else k.observation.pose for k in keyframes]
        expressions = [known[k.key].expression if k.key in known else k.observation.expression for k in keyframes]
        start = initial_estimate(poses, [e.astype(np.float64) for e in expressions], focal, identity.astype(np.float64))
        targets = [
            self._landmarks.of(k, matrix_of(pose), measured=measured) for k, pose in zip(keyframes, poses, strict=True)
        ]
        return solve_jointly(targets, start, self._settings.solver, free, prior=others)

    def information_of(
        self, keyframe: Keyframe, estimate: KeyframeEstimate, focal: float, identity: Float32Array, *, measured: bool
    ) -> MarginalInformation:
        """What the landmarks of a keyframe say of identity and focal length, linearised at its estimate; with their
        `measured` errors or without."""
        joint = self.estimate_of([estimate], focal, identity)
        target = self._landmarks.of(keyframe, matrix_of(estimate.pose), measured=measured)
        return marginal_information_of(target, joint, 0, self._settings.solver)

    def by_flow(
        self,
        keyframes: Sequence[Keyframe],
        crops: Sequence[FaceCrop],
        estimate: JointEstimate,
        maps: ReflectanceMaps,
        lights: Sequence[Float32Array],
        free: FreeParameters,
    ) -> JointEstimate:
        """Joint solve over dense matches between the keyframes and their renders, with the landmarks as an anchor."""
        targets = []
        for index, (keyframe, crop, light) in enumerate(zip(keyframes, crops, lights, strict=True)):
            camera = crop.camera(camera_of(keyframe.observation.camera, estimate.focal))
            current = keyframe_estimate(estimate, index, light)
            rendering = self.draw(current, estimate.identity.astype(np.float32), camera, maps)
            dense = flow_targets(
                self._basis,
                linear_to_bytes(rendering.image[0].numpy()),
                rendering.rast[0].numpy(),
                self._trusted,
                crop,
                keyframe.observation.camera,
                self._settings.flow,
            )
            sparse = self._landmarks.of(keyframe, estimate.rotations[index], measured=False)
            targets.append(sparse if dense is None else sparse.concatenated(dense))
        return solve_jointly(targets, estimate, self._settings.solver, free)

    def by_tracks(
        self,
        keyframes: Sequence[Keyframe],
        crops: Sequence[FaceCrop],
        estimate: JointEstimate,
        maps: ReflectanceMaps,
        lights: Sequence[Float32Array],
        others: MarginalInformation | None = None,
    ) -> TrackSolution:
        """Joint solve, shape and focal length included, over points that are matched between the keyframes and their
        renders and may slip along the surface, with the landmarks as an anchor.

        `others` is what keyframes that are left out say of identity and focal length.
        """
        settings = self._settings.tracks
        identity = estimate.identity.astype(np.float32)
        views, anchors = [], []
        for index, (keyframe, crop, light) in enumerate(zip(keyframes, crops, lights, strict=True)):
            camera = crop.camera(camera_of(keyframe.observation.camera, estimate.focal))
            current = keyframe_estimate(estimate, index, light)
            rendering = self.draw(current, identity, camera, maps)
            vertices = posed_vertices(self._model, current, identity)
            image, raster = linear_to_bytes(rendering.image[0].numpy()), rendering.rast[0].numpy()
            views.append(self._surface.view(vertices, image, raster, crop, camera, settings))
            anchor = self._landmarks.of(keyframe, estimate.rotations[index], measured=True)
            anchors.append(anchor.with_inflated_noise(settings.anchor_factor))
        neutral = self._model.neutral(torch.from_numpy(identity)[None])[0]
        solver = replace(
            self._settings.solver, iterations=settings.iterations, expression_sigma=settings.expression_sigma
        )
        tracks, shown = self._surface.tracks(neutral), shared_only(views, settings.fewest_views)
        told = TrackProblem(tracks, shown, anchors, solver, settings.tangential_sigma_m).information(estimate)
        expressed = float((estimate.expressions**2).sum()) / solver.expression_sigma**2
        volume = volume_information(self._model, identity, told + others, expressed)
        known = volume + others
        return TrackProblem(tracks, shown, anchors, solver, settings.tangential_sigma_m, known).solve(estimate)

    @cached_property
    def _surface(self) -> SurfacePoints:
        # A single photo has no tracks.
        return SurfacePoints(self._model, self._basis, self._settings.tracks.count)

    def estimate_of(self, known: Sequence[KeyframeEstimate], focal: float, identity: Float32Array) -> JointEstimate:
        """The joint estimate that estimates of single keyframes amount to."""
        return initial_estimate(
            [item.pose for item in known],
            [item.expression.astype(np.float64) for item in known],
            focal,
            identity.astype(np.float64),
        )

    @torch.no_grad()
    def draw(
        self, estimate: KeyframeEstimate, identity: Float32Array, camera: Camera, maps: ReflectanceMaps
    ) -> Rendering:
        """Render a head of an identity (K,) as an estimate has it."""
        empty = torch.zeros(1, 0, 3)
        vertices = self._model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(estimate.expression)[None])
        rotation, translation = (torch.from_numpy(v)[None] for v in (estimate.pose.rotation, estimate.pose.translation))
        mouth = mouth_shade(self._model)
        view = transform(rotation, translation, vertices)[0].numpy()
        return render(
            self._model,
            vertices,
            rotation,
            translation,
            camera,
            maps,
            Light(torch.from_numpy(estimate.light_sh)[None], empty, empty),
            occlusion=mouth.over(head_occlusion(self._model), vertices[0]),
            shown=torch.from_numpy(mouth.without_backs(view, self._model.triangles.numpy())),
            backend=self._backend,
        )


def keyframe_estimate(joint: JointEstimate, index: int, light: Float32Array) -> KeyframeEstimate:
    """What a joint estimate says of one keyframe, under a light (9, 3); its loss is not known yet."""
    expression = joint.expressions[index].astype(np.float32)
    return KeyframeEstimate(pose_of(joint, index), expression, light, float("nan"))


@torch.no_grad()
def posed_vertices(model: MorphableModel, estimate: KeyframeEstimate, identity: Float32Array) -> torch.Tensor:
    """(V, 3) vertices in view space, metres."""
    vertices = model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(estimate.expression)[None])[0]
    return transform(torch.from_numpy(estimate.pose.rotation), torch.from_numpy(estimate.pose.translation), vertices)


def camera_of(camera: Camera, focal: float) -> Camera:
    """A camera with the fit's focal length instead of the tracker's."""
    return Camera(focal_px(camera, focal), camera.center_x_px, camera.center_y_px, camera.width, camera.height)
