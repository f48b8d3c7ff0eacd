"""Geometric half of a fit: poses, expressions, identity and focal length from landmarks, dense flow and tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_bytes
from fitme.fit.alignment.closed_lips import ClosedLips, closed_lips_information
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.head_scale import volume_information
from fitme.fit.alignment.keyframe_gaze import KeyframeGaze
from fitme.fit.alignment.landmark_targets import LandmarkTargets, initial_estimate, matrix_of, pose_of
from fitme.fit.alignment.optical_flow import FLOW_REGIONS, flow_targets
from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.alignment.surface_tracks import SurfacePoints, shared_only
from fitme.fit.device import model_on
from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.gauss_newton import marginal_information_of, solve_jointly
from fitme.fit.solver.joint_estimate import FreeParameters, JointEstimate
from fitme.fit.solver.linearization import focal_px
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshBasis, PointTargets
from fitme.fit.solver.structure_from_motion import TrackProblem, TrackSolution, TrackView
from fitme.frame_pool import ONE_BY_ONE, FramePool
from fitme.geometry import Camera, HeadPose, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.render.rasterizer import RasterizerBackend
from fitme.render.renderer import Rendering, render
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation

TONGUE_OUT, CHEEK_PUFF = expression_index("tongueOut"), expression_index("cheekPuff")
PUFFED_FROM = 0.3
"""Tracked activation of `cheekPuff` from which a keyframe has it: landmarks alone show up to 0.25 in faces at rest, and
hardly more in puffed ones."""


class HeadAligner:
    """Joint solves over keyframes, with the bases and targets that all of them share."""

    def __init__(
        self,
        model: MorphableModel,
        backend: RasterizerBackend,
        settings: AlignmentSettings,
        pool: FramePool = ONE_BY_ONE,
    ) -> None:
        """
        :param pool: of keyframes that are drawn and matched.
        """
        self._model = model
        self._pool = pool
        self._rendered_model = model_on(model, backend.device)
        self._backend = backend
        self._settings = settings
        self._basis = MeshBasis(model)
        self._landmarks = LandmarkTargets(model, self._basis, settings.landmarks)
        self.neutral_lips = closed_lips_information(model)
        """Information that the lips of a neutral head touch."""
        self._lips = ClosedLips(model)
        self._gaze = KeyframeGaze(model)
        self._trusted = np.isin(model.triangle_region.numpy(), [int(region) for region in FLOW_REGIONS])

    def by_landmarks(
        self,
        keyframes: Sequence[Keyframe],
        known: Mapping[str, KeyframeEstimate],
        focal: float,
        identity: Float32Array,
        free_parameters: FreeParameters,
        prior: MarginalInformation | None = None,
        *,
        correlated: bool = False,
    ) -> JointEstimate:
        """Joint solve over landmarks.

        :param known: estimates by key, from which keyframes start; those without start from their tracking.
        :param focal: focal length over the longer side of the image, to start from.
        :param identity: (K,) float32 coefficients to start from; further ones do not count.
        :param prior: marginal information about identity and focal length from keyframes that are left out.
        :param correlated: whether landmarks err in the measured, correlated way (`LandmarkTargets`), which determines
            shape from heads that turn, but expressions badly; otherwise their errors count as independent.
        """
        poses = [known[k.key].pose if k.key in known else tracked_pose(k.observation, focal) for k in keyframes]
        components = identity[: self._model.identity_count]
        expressions = [known[k.key].expression if k.key in known else k.observation.expression for k in keyframes]
        start = initial_estimate(
            poses, [e.astype(np.float64) for e in expressions], focal, components.astype(np.float64)
        )
        targets = [
            self._landmarks.of(k, matrix_of(pose), correlated=correlated)
            for k, pose in zip(keyframes, poses, strict=True)
        ]
        known_shape = self.neutral_lips + prior
        found = solve_jointly(targets, start, self._settings.solver, free_parameters, prior=known_shape)
        return self._with_gaze_and_mouth(keyframes, found)

    def information_of(
        self, keyframe: Keyframe, estimate: KeyframeEstimate, focal: float, identity: Float32Array, *, correlated: bool
    ) -> MarginalInformation:
        """Marginal information of a keyframe's landmarks about identity and focal length, linearised at its estimate;
        `correlated` as in `by_landmarks`."""
        joint = self.estimate_of([estimate], focal, identity)
        target = self._landmarks.of(keyframe, matrix_of(estimate.pose), correlated=correlated)
        return marginal_information_of(target, joint, 0, self._settings.solver)

    def by_flow(
        self,
        keyframes: Sequence[Keyframe],
        crops: Sequence[FaceCrop],
        estimate: JointEstimate,
        maps: ReflectanceMaps,
        lights: Sequence[Illumination],
        free_parameters: FreeParameters,
    ) -> JointEstimate:
        """Joint solve over dense matches between the keyframes and their renders, and landmarks. Renders are of the
        `estimate` with `maps`, each under its light."""

        def targets_of(index: int, keyframe: Keyframe, crop: FaceCrop, light: Illumination) -> PointTargets:
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
            sparse = self._landmarks.of(keyframe, estimate.rotations[index], correlated=False)
            return sparse if dense is None else sparse.concatenated(dense)

        targets = self._pool.map(targets_of, range(len(keyframes)), keyframes, crops, lights)
        found = solve_jointly(targets, estimate, self._settings.solver, free_parameters)
        return self._with_gaze_and_mouth(keyframes, found)

    def by_tracks(
        self,
        keyframes: Sequence[Keyframe],
        crops: Sequence[FaceCrop],
        estimate: JointEstimate,
        maps: ReflectanceMaps,
        lights: Sequence[Illumination],
        prior: MarginalInformation | None = None,
    ) -> TrackSolution:
        """Joint solve, identity and focal length included, over tracks and landmarks. Tracks are points matched between
        the keyframes and their renders, with tangential displacements along the surface.

        `prior` is marginal information about identity and focal length from keyframes that are left out.
        """
        settings = self._settings.tracks
        identity = estimate.identity.astype(np.float32)
        surface = self._surface

        def view_of(
            index: int, keyframe: Keyframe, crop: FaceCrop, light: Illumination
        ) -> tuple[TrackView, PointTargets]:
            camera = crop.camera(camera_of(keyframe.observation.camera, estimate.focal))
            current = keyframe_estimate(estimate, index, light)
            rendering = self.draw(current, identity, camera, maps)
            vertices = posed_vertices(self._model, current, identity)
            image, raster = linear_to_bytes(rendering.image[0].numpy()), rendering.rast[0].numpy()
            target = self._landmarks.of(keyframe, estimate.rotations[index], correlated=True)
            return (
                surface.view(vertices, image, raster, crop, camera, settings),
                target.with_inflated_noise(settings.landmark_noise_inflation),
            )

        views, landmarks = zip(*self._pool.map(view_of, range(len(keyframes)), keyframes, crops, lights), strict=True)
        neutral = self._model.neutral(torch.from_numpy(identity)[None])[0]
        solver = replace(
            self._settings.solver, iterations=settings.iterations, expression_sigma=settings.expression_sigma
        )
        tracks, matches = surface.tracks(neutral), shared_only(views, settings.fewest_views)
        # The volume correction depends on how many directions of shape the tracks determine: linearise them first.
        problem = TrackProblem(tracks, matches, landmarks, solver, settings.tangential_sigma_m)
        expression_cost = float((estimate.expressions**2).sum()) / solver.expression_sigma**2
        volume = volume_information(self._model, identity, problem.information(estimate) + prior, expression_cost)
        known = self.neutral_lips + volume + prior
        found = TrackProblem(tracks, matches, landmarks, solver, settings.tangential_sigma_m, known).solve(estimate)
        return replace(found, estimate=self._with_gaze_and_mouth(keyframes, found.estimate))

    def _with_gaze_and_mouth(self, keyframes: Sequence[Keyframe], estimate: JointEstimate) -> JointEstimate:
        """The estimate with the gaze of each keyframe's irises, its lips closed where they touch, and what landmarks do
        not show, tongue and puffed cheeks, as it was tracked."""
        expressions = []
        for index, keyframe in enumerate(keyframes):
            seen = keyframe.observation
            turned = self._gaze.of(seen.landmarks, camera_of(seen.camera, estimate.focal), estimate, index)
            turned[TONGUE_OUT] = seen.expression[TONGUE_OUT]
            if seen.expression[CHEEK_PUFF] > PUFFED_FROM:
                turned[CHEEK_PUFF] = seen.expression[CHEEK_PUFF]
            expressions.append(self._lips.of(seen.landmarks, turned, estimate.identity))
        return replace(estimate, expressions=np.stack(expressions))

    @cached_property
    def _surface(self) -> SurfacePoints:
        # Built when first needed: a single photo has no tracks.
        return SurfacePoints(self._model, self._basis, self._settings.tracks.count)

    def estimate_of(self, known: Sequence[KeyframeEstimate], focal: float, identity: Float32Array) -> JointEstimate:
        """Joint estimate of single keyframes' estimates, a focal length and an identity (K,)."""
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
        """Render of a head of an identity (K,) in the pose, with the expression and under the light of an estimate.

        It is drawn on the device of the backend and copied to the CPU, on which the caller compares images.
        """
        device = self._backend.device
        vertices = self._model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(estimate.expression)[None])
        rotation, translation = (torch.from_numpy(v)[None] for v in (estimate.pose.rotation, estimate.pose.translation))
        mouth = mouth_occlusion(self._model)
        view = transform(rotation, translation, vertices)[0].numpy()
        visible = torch.from_numpy(mouth.cull_back_faces(view, self._model.triangles.numpy()))
        rendering = render(
            self._rendered_model,
            vertices.to(device),
            rotation.to(device),
            translation.to(device),
            camera,
            maps.to(device),
            estimate.illumination.light.to(device),
            occlusion=mouth.apply(head_occlusion(self._model), vertices[0]).to(device),
            visible_triangles=visible.to(device),
            backend=self._backend,
        )
        return rendering.to("cpu")


def keyframe_estimate(joint: JointEstimate, index: int, light: Illumination) -> KeyframeEstimate:
    """Estimate of keyframe `index` of a joint estimate, under a light; its loss is NaN until it is computed."""
    expression = joint.expressions[index].astype(np.float32)
    return KeyframeEstimate(pose_of(joint, index), expression, light.sh, float("nan"), light.key)


def tracked_pose(observation: FaceObservation, focal: float) -> HeadPose:
    """Tracked pose under another focal length, over the longer side of the image: as much farther away as it is
    longer, so that the face keeps its size."""
    camera = observation.camera
    pose = observation.pose
    ratio = np.float32(focal_px(camera, focal) / camera.focal_px)
    return HeadPose(pose.rotation, pose.translation * np.array([1.0, 1.0, ratio], np.float32))


@torch.no_grad()
def posed_vertices(model: MorphableModel, estimate: KeyframeEstimate, identity: Float32Array) -> torch.Tensor:
    """(V, 3) vertices of a head of an identity (K,) in view space, metres."""
    return in_view(head_vertices(model, estimate, identity), estimate)


def head_vertices(model: MorphableModel, estimate: KeyframeEstimate, identity: Float32Array) -> torch.Tensor:
    """(V, 3) vertices of a head of an identity (K,) with an estimate's expression, model frame, metres."""
    with torch.no_grad():
        return model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(estimate.expression)[None])[0]


def in_view(vertices: torch.Tensor, estimate: KeyframeEstimate) -> torch.Tensor:
    """(V, 3) vertices of the model frame in the view space of an estimate, metres."""
    return transform(torch.from_numpy(estimate.pose.rotation), torch.from_numpy(estimate.pose.translation), vertices)


def camera_of(camera: Camera, focal: float) -> Camera:
    """A camera with the fit's focal length, relative to the longer side, instead of the tracker's."""
    return replace(camera, focal_px=focal_px(camera, focal))
