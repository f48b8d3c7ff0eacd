"""Stages of a fit: one method for each `fitme.fit.work_queue.Task`, run on the active keyframes.

Each improves the estimates of keyframes, identity and focal length, or the appearance, and returns its figures. None
decides what comes next: `fitme.fit.work_queue` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import HeadAligner, camera_of, keyframe_estimate
from fitme.fit.alignment.closed_jaw import ClosedJaw, shared_opening
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.alignment.head_scale import KeyframeEyes, iris_information, volume_information
from fitme.fit.alignment.limbus import limbus_views
from fitme.fit.appearance import Appearance
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.inversion.keyframe_loss import KeyframeTarget, SceneParameters, landmark_sigma
from fitme.fit.inversion.losses import target_face
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet, parallax
from fitme.fit.lighting.sclera import sclera_color
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import IDENTITY_FIXED, FreeParameters, JointEstimate
from fitme.fit.solver.marginal_information import MarginalInformation, sum_information
from fitme.fit.solver.shape_certainty import vertex_sigma
from fitme.fit.teeth_stage import TeethStage
from fitme.fit.texture.cast_lights import cast_light
from fitme.fit.texture.delighting import delight, view_weight
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.expression_distance import expression_gram
from fitme.fit.texture.fusion import FusionView, TextureFusion
from fitme.fit.texture.skin_samples import SMALLEST_ALBEDO
from fitme.fit.texture.texel_views import TexelViews
from fitme.frame_pool import FramePool
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder

DRAFT_FACTOR = 2
"""Side of the avatar's maps over that of a draft: of a texture that registration is going to replace."""
DRAFT_FROM = 4
"""Number of active keyframes from which sampling takes long enough for drafts to be worth their loss of detail."""


@dataclass(frozen=True)
class _CorrectiveBase:
    """Maps sampled at the texels, cached for expression frames that are extracted one after another."""

    maps: ReflectanceMaps
    albedo: Float32Array
    """(N, 3) diffuse albedo of the texels, linear."""
    specular: Float32Array
    """(N, 1) specular albedo of the texels."""


class FitStages:
    """Identity and focal length of a fit, and the stages that improve them, the estimates and the appearance."""

    def __init__(
        self,
        model: MorphableModel,
        settings: FitSettings,
        aligner: HeadAligner,
        views: TexelViews,
        keyframe_set: KeyframeSet,
        appearance: Appearance,
        embedder: DlibEmbedder | None,
        pool: FramePool,
    ) -> None:
        """`views` samples at the resolution of the avatar's maps. Without an embedder identity terms are left out."""
        self._model = model
        self._settings = settings
        self._embedder = embedder
        self._pool = pool
        self._aligner = aligner
        self._views = views
        self._keyframe_set = keyframe_set
        self._appearance = appearance
        self._corrective_base: _CorrectiveBase | None = None
        self.ears_shown = False
        """Whether the ears are where the keyframes show them."""
        self.focal = settings.alignment.solver.focal_prior
        self.identity: Float32Array = np.zeros(model.identity_count, np.float32)
        self.teeth = TeethStage(model, settings.map_resolution)

    def information_of(self, entry: KeyframeEntry) -> MarginalInformation:
        """Marginal information of a keyframe's landmarks on identity and focal length."""
        return self._aligner.information_of(
            entry.keyframe, entry.solved, self.focal, self.identity, correlated=self._turned
        )

    @property
    def trackable(self) -> bool:
        """Whether the heads of the active keyframes turn far enough for tracked points to determine shape."""
        return parallax(self._keyframe_set.active) >= self._settings.alignment.tracks.parallax_deg

    def solve_landmarks(self, *, tracking_follows: bool) -> None:
        """Solve over landmarks, with the marginal information of earlier tracks and of marginalised keyframes."""
        keyframe_set = self._keyframe_set
        # One view does not separate focal length from distance.
        free_parameters = FreeParameters(focal=len(keyframe_set) > 1)
        turned = self._turned
        # Prior from other frames: marginalised landmarks, and earlier tracks with the volume correction.
        prior = keyframe_set.marginalized.information()
        tracked = sum_information(list(keyframe_set.track_information.values()))
        if tracked is not None:
            observed = tracked + prior
            prior = observed + volume_information(self._model, self.identity, observed)
        self._solve_landmarks(free_parameters, prior, correlated=turned)
        # Irises fix the scale, but their depth follows from the poses: solve again with them.
        irises = self._iris_information()
        if irises is not None:
            self._solve_landmarks(free_parameters, irises + prior, correlated=turned)
        if turned and not tracking_follows:
            # Shape was solved for under errors that a frame's landmarks have in common. An expression is such a common
            # displacement: without tracks to refine it, solve for it under independent errors.
            self._solve_landmarks(IDENTITY_FIXED, None, correlated=False)

    def track(self) -> None:
        """Solve for shape over tracked points, with the prior from all frames that are not active."""
        keyframe_set, resolution = self._keyframe_set, self._settings.alignment.tracks.resolution
        active = keyframe_set.active
        crops = [crop_face(entry.keyframe, entry.usable, resolution) for entry in active]
        active_keys = {entry.key for entry in active}
        earlier = [part for key, part in keyframe_set.track_information.items() if key not in active_keys]
        prior = sum_information([keyframe_set.marginalized.information(), self._iris_information(), *earlier])
        solution = self._aligner.by_tracks(
            [entry.keyframe for entry in active], crops, self._joint(), self._appearance.maps(), self._lights(),
            prior,
        )  # fmt: skip
        self._accept(solution.estimate)
        # A solve's marginal information has no parts by frame: each gets an equal share, to be removed with it.
        share = solution.information.equal_share(len(active))
        for entry in active:
            entry.track_information = share

    def shape_sigma(self) -> Float32Array:
        """(V,) metres: standard deviations of the neutral head's vertices, given all solved keyframes."""
        keyframe_set = self._keyframe_set
        marginalized = keyframe_set.marginalized
        landmarks = [
            self.information_of(entry)
            for key, entry in keyframe_set.entries.items()
            if entry.estimate is not None and key not in marginalized
        ]
        tracks = keyframe_set.track_information.values()
        known = sum_information([*landmarks, marginalized.information(), *tracks, self._iris_information()])
        information = self._aligner.neutral_lips + known
        return vertex_sigma(self._model, information, self._settings.alignment.solver)

    def close_jaw(self) -> None:
        """Move an opening of the jaw that all keyframes share from their expressions into identity."""
        solved = {k: entry for k, entry in self._keyframe_set.entries.items() if entry.estimate is not None}
        landmarks = [entry.keyframe.observation.landmarks for entry in solved.values()]
        opening = shared_opening(landmarks, [entry.solved.expression for entry in solved.values()])
        if opening == 0.0:
            return
        before, self.identity = self.identity, self._closed_jaw.longer_chin(self.identity, opening)
        for entry in solved.values():
            expression = self._closed_jaw.closed(entry.solved.expression, before, self.identity, opening)
            entry.estimate = replace(entry.solved, expression=expression)

    def align(self) -> None:
        """Solve for poses and expressions by optical flow between renders and images, identity fixed but for what an
        opening of the jaw that all keyframes share was in its place."""
        self.close_jaw()
        active = self._keyframe_set.active
        self._accept(
            self._aligner.by_flow(
                [entry.keyframe for entry in active], [entry.crop for entry in active], self._joint(),
                self._appearance.maps(), self._lights(), IDENTITY_FIXED,
            )
        )  # fmt: skip
        self.close_jaw()

    def recall(self) -> None:
        """Sample and fuse all keyframes of a resumed fit as they were estimated."""
        self._keyframe_set.activate_solved()
        if self._keyframe_set.active:
            self._fuse(draft=False, key_lights=True)

    def fuse(self, *, final: bool) -> dict[str, float]:
        """Sample the active keyframes and fuse their albedo; the texture's error. `final` unless registration is going
        to move them."""
        # A texture that flow is going to move is not worth sampling finely, unless it joins one that was sampled so.
        has_marginalized = self._keyframe_set.marginalized.texture() is not None
        slow = len(self._keyframe_set.active) >= DRAFT_FROM
        disagreements = self._fuse(draft=not final and not has_marginalized and slow, key_lights=final)
        if final:
            for entry, disagreement in zip(self._keyframe_set.active, disagreements, strict=True):
                entry.disagreement = disagreement
        return {"texture": float(np.mean([entry.solved.loss for entry in self._keyframe_set.active]))}

    def _fuse(self, *, draft: bool, key_lights: bool) -> Sequence[float]:
        """Fuse the albedo of active and marginalised keyframes; the disagreement of each active one with the others."""
        active, marginalized = self._keyframe_set.active, self._keyframe_set.marginalized.texture()
        views = self._draft_views if draft else self._views
        observations = self._pool.map(
            lambda entry: views.observe(
                entry.solved, self.identity, self.focal, entry.keyframe.observation.camera, entry.keyframe.image,
                entry.usable, ears=self.ears_shown,
            ),
            active,
        )  # fmt: skip
        # Scleras calibrate a fresh texture; the albedo scale of marginalised keyframes is kept.
        look_at_scleras = self._settings.fusion.scleras and marginalized is None
        scleras = [
            sclera_color(e.keyframe.image, e.keyframe.observation.landmarks, e.usable) if look_at_scleras else None
            for e in active
        ]
        prior = self._appearance.generator.maps()
        fusion = TextureFusion(
            views.table,
            views.at_texels(prior.diffuse),
            views.at_texels(prior.specular),
            self._settings.fusion,
            # Shadows fall where they should once the shape is found: until then, harmonics do.
            self._settings.light
            if key_lights
            else replace(self._settings.light, key=replace(self._settings.light.key, enabled=False)),
            self._pool,
        )
        texture = fusion.fuse(
            [
                FusionView(view, entry.sharpness, sclera, entry.solved.key_light)
                for view, entry, sclera in zip(observations, active, scleras, strict=True)
            ],
            marginalized,
        )
        self._appearance.set_texture(views.table, texture)
        for index, entry in enumerate(active):
            entry.estimate = replace(
                entry.solved,
                light_sh=texture.lights[index].sh,
                loss=texture.errors[index],
                key_light=texture.lights[index].key,
            )
            if not draft:
                entry.view_albedo = texture.view_albedos[index]
        return texture.disagreements

    def expression_view(
        self, keyframe: Keyframe, estimate: KeyframeEstimate, usable: Float32Array, head: HeadEstimate
    ) -> ExpressionView:
        """De-lit albedo and expression of a frame outside the keyframe set, for corrective extraction."""
        views, sharpness = self._views, keyframe.observation.quality.sharpness
        camera = keyframe.observation.camera
        observation = views.observe(
            estimate, head.identity, head.focal, camera, keyframe.image, usable, ears=self.ears_shown
        )
        weight = view_weight(observation, sharpness)
        if self._corrective_base is None or self._corrective_base.maps is not head.maps:
            self._corrective_base = _CorrectiveBase(
                head.maps,
                np.maximum(views.at_texels(head.maps.diffuse), SMALLEST_ALBEDO),
                views.at_texels(head.maps.specular),
            )
        base = self._corrective_base
        light, key = estimate.light_sh, estimate.key_light
        cast = None if key is None else cast_light(observation, weight, key.direction)
        if cast is not None and key is not None:
            light, weight = np.concatenate([light, key.color[None]]), weight * cast.certainty
        view_albedo = delight(views.table, observation, weight, base.specular, light, base.albedo, cast)
        teeth = self.teeth.view(keyframe, estimate, usable, head.identity, head.focal)
        return ExpressionView(view_albedo, estimate.expression, sharpness, teeth)

    def correctives(self, extracted: Sequence[ExpressionView]) -> AlbedoCorrectives | None:
        """Correctives of all keyframes with a de-lit albedo and of `extracted` views of expression frames, which show
        the teeth, too."""
        own, identity = [], self.teeth.placed(self.identity)
        for entry in self._keyframe_set.entries.values():
            estimate, albedo = entry.estimate, entry.view_albedo
            if estimate is not None and albedo is not None:
                teeth_in = self.teeth.of_keyframe(entry, identity, self.focal)
                own.append(ExpressionView(albedo, estimate.expression, entry.sharpness, teeth_in))
        shown = [*own, *extracted]
        teeth = self.teeth.shown(shown, self._appearance.skin_tone())
        self._appearance.set_mouth(teeth, [v.view_albedo for v in shown if v.teeth is not None])
        return self._appearance.correctives(shown, self._gram, self._settings.fusion)

    def invert_coarsely(self, steps: int) -> dict[str, float]:
        """Fit the generator's latent to the texture."""
        loss = self._appearance.generator.invert_coarsely(self._appearance.inversion_target(), steps)
        self._appearance.invalidate()
        return {"coarse": loss}

    def invert(self, steps: int) -> dict[str, float]:
        """Fit latent and geometry to texture and images."""
        scene = self._scene()
        losses = self._appearance.generator.invert(
            self._appearance.inversion_target(), scene, self._keyframe_targets(), self._embedder, steps
        )
        self._adopt(scene)
        return losses

    def tune(self, steps: int) -> dict[str, float]:
        """Fit the generator's weights and the geometry to texture and images."""
        scene = self._scene()
        losses = self._appearance.generator.tune(
            self._appearance.inversion_target(), scene, self._keyframe_targets(), self._embedder, steps
        )
        self._adopt(scene)
        return losses

    @cached_property
    def _closed_jaw(self) -> ClosedJaw:
        return ClosedJaw(self._model)

    @cached_property
    def _gram(self) -> torch.Tensor:
        return expression_gram(self._model)

    @cached_property
    def _draft_views(self) -> TexelViews:
        return TexelViews(self._model, self._settings.map_resolution // DRAFT_FACTOR)

    @property
    def _turned(self) -> bool:
        """Whether the heads of all keyframes turn far enough to determine shape."""
        return parallax(list(self._keyframe_set.entries.values())) >= self._settings.alignment.tracks.parallax_deg

    def _iris_information(self) -> MarginalInformation | None:
        """Information of the irises of all solved keyframes on identity and focal length; None without any."""
        if not self._settings.alignment.irises:
            return None
        eyes = []
        for entry in self._keyframe_set.entries.values():
            observation = entry.keyframe.observation
            if entry.limbus is None:
                entry.limbus = limbus_views(entry.keyframe.image, observation, self._model)
            if entry.estimate is not None:
                eyes.append(KeyframeEyes(entry.limbus, entry.estimate, observation.camera))
        return iris_information(self._model, self.identity, self.focal, eyes)

    def _solve_landmarks(
        self, free_parameters: FreeParameters, prior: MarginalInformation | None, *, correlated: bool
    ) -> None:
        """Solve over the landmarks of the active keyframes; `correlated` as in `HeadAligner.by_landmarks`."""
        keyframes, estimates = [entry.keyframe for entry in self._keyframe_set.active], self._keyframe_set.estimates
        self._accept(
            self._aligner.by_landmarks(
                keyframes, estimates, self.focal, self.identity, free_parameters, prior, correlated=correlated
            )
        )

    def _joint(self) -> JointEstimate:
        return self._aligner.estimate_of(
            [entry.solved for entry in self._keyframe_set.active], self.focal, self.identity
        )

    def _lights(self) -> Sequence[Illumination]:
        return [entry.solved.illumination for entry in self._keyframe_set.active]

    def _accept(self, joint: JointEstimate) -> None:
        self.focal = joint.focal
        self.identity = joint.identity.astype(np.float32)
        ambient = Illumination(Light.ambient().sh[0].numpy())
        for index, entry in enumerate(self._keyframe_set.active):
            light = ambient if entry.estimate is None else entry.estimate.illumination
            entry.estimate = keyframe_estimate(joint, index, light)

    def _scene(self) -> SceneParameters:
        estimates = [entry.solved for entry in self._keyframe_set.active]
        return SceneParameters(self.identity, estimates, self._appearance.generator.device)

    def _adopt(self, scene: SceneParameters) -> None:
        self._appearance.invalidate()
        active = self._keyframe_set.active
        self.identity, estimates = scene.estimates([entry.solved.loss for entry in active])
        for entry, estimate in zip(active, estimates, strict=True):
            entry.estimate = estimate

    def _keyframe_targets(self) -> list[KeyframeTarget]:
        device = self._appearance.generator.device
        targets = []
        for entry in self._keyframe_set.active:
            crop, observation = entry.crop, entry.keyframe.observation
            camera = crop.camera(camera_of(observation.camera, self.focal))
            landmarks = crop.to_window(observation.landmarks.astype(np.float64)).astype(np.float32)
            sigma = landmark_sigma(self._model, landmarks, self._settings.alignment.landmarks)
            image = torch.from_numpy(crop.image)[None].to(device).float() / 255.0
            usable = torch.from_numpy(crop.usable)[None, ..., None].to(device)
            if self._embedder is not None and entry.target_face is None:
                entry.target_face = target_face(self._embedder, image, landmarks)
            observed = torch.from_numpy(landmarks).to(device)
            targets.append(
                KeyframeTarget(image, usable, camera, landmarks, observed, sigma.to(device), entry.target_face)
            )
        return targets
