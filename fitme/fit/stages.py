"""The pieces of work that a fit is made of, each on the keyframes that are active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import HeadAligner, camera_of, keyframe_estimate
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.alignment.head_scale import KeyframeEyes, iris_information, volume_information
from fitme.fit.alignment.limbus import limbus_views
from fitme.fit.appearance import Appearance
from fitme.fit.displayed_head import FoundHead
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.keyframe_loss import DenseTarget, SceneParameters, landmark_sigma
from fitme.fit.inversion.losses import target_face
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet, parallax
from fitme.fit.lighting.sclera import sclera_color
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import IDENTITY_FIXED, FreeParameters, JointEstimate
from fitme.fit.solver.marginal_information import MarginalInformation, sum_information
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.fusion import SMALLEST_ALBEDO, delight, fuse, view_weight
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.work_queue import WorkQueue
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder

STEPS_PER_SLICE = 3
"""Steps of inversion or tuning between two looks at the clock."""
COARSE_STEPS_PER_SLICE = 10
DRAFT_FACTOR = 2
"""Texels of the avatar's maps per texel a side of a draft: of a texture that alignment is going to replace."""
DRAFT_FROM = 4
"""Keyframes from which sampling takes long enough for drafts to be worth what they lose."""


@dataclass(frozen=True)
class _CorrectiveBase:
    """Maps as pictures that are studied one after another compare with them."""

    maps: ReflectanceMaps
    albedo: Float32Array
    """(N, 3) linear, of the texels."""
    specular: Float32Array
    """(N, 1)."""


class Refinement:
    """Identity and focal length, and the work that improves them, the keyframes' estimates and the appearance."""

    def __init__(
        self,
        model: MorphableModel,
        backend: RasterizerBackend,
        settings: FitSettings,
        aligner: HeadAligner,
        views: TexelViews,
        keyframe_set: KeyframeSet,
        appearance: Appearance,
        embedder: DlibEmbedder | None,
    ) -> None:
        """`views` samples at the resolution of the avatar's maps. Without an embedder identity terms are left out."""
        self._model = model
        self._settings = settings
        self._embedder = embedder
        self._aligner = aligner
        self._views = views
        self._backend = backend
        self._keyframe_set = keyframe_set
        self._appearance = appearance
        self._corrective_base: _CorrectiveBase | None = None
        self.focal = settings.alignment.solver.focal_prior
        self.identity: Float32Array = np.zeros(model.identity_count, np.float32)

    def information_of(self, entry: KeyframeEntry) -> MarginalInformation:
        """What the landmarks of a keyframe say of identity and focal length."""
        return self._aligner.information_of(
            entry.keyframe, entry.known, self.focal, self.identity, correlated=self._turned
        )

    def solve_landmarks(self, work_queue: WorkQueue, *, warm: bool) -> None:
        """Landmarks, and what tracks of the same and of resting keyframes have said; less is left to do in a `warm`
        start from a fit that has rested."""
        keyframe_set, settings = self._keyframe_set, self._settings.alignment.tracks
        free = FreeParameters(focal=len(keyframe_set) > 1)
        turned = self._turned
        others = keyframe_set.rest.shared()
        tracked = sum_information(list(keyframe_set.tracked.values()))
        if tracked is not None:
            heard = tracked + others
            others = heard + volume_information(self._model, self.identity, heard)
        self._solve_landmarks(free, others, correlated=turned)
        # Only now is it known where the eyes are.
        irises = self._iris_information()
        if irises is not None:
            self._solve_landmarks(free, irises + others, correlated=turned)
        rounds = self._settings.warm_rounds if warm else settings.rounds
        work_queue.tracking = rounds if parallax(keyframe_set.active) >= settings.parallax_deg else 0
        if turned and not work_queue.tracking:
            # Shape was looked for with doubt in what a frame's landmarks do together; its expression is just that.
            self._solve_landmarks(IDENTITY_FIXED, None, correlated=False)
        work_queue.landmarks, work_queue.texture = False, True
        # Expressions are settled last, by flow on the shape that tracks found.
        rounds = self._settings.warm_rounds if warm else self._settings.alignment_rounds
        work_queue.alignments = 1 if work_queue.tracking else rounds

    def track(self, work_queue: WorkQueue) -> None:
        """Solve for shape by tracks. A keyframe that rests leaves two things behind: the evidence of its landmarks, and
        an equal share of what the last solve that it took part in said by tracks."""
        keyframe_set, resolution = self._keyframe_set, self._settings.alignment.tracks.resolution
        active = keyframe_set.active
        crops = [crop_face(entry.keyframe, entry.usable, resolution) for entry in active]
        working = {entry.key for entry in active}
        resting = [evidence for key, evidence in keyframe_set.tracked.items() if key not in working]
        others = sum_information([keyframe_set.rest.shared(), self._iris_information(), *resting])
        solution = self._aligner.by_tracks(
            [entry.keyframe for entry in active], crops, self._joint(), self._appearance.maps(), self._lights(),
            others,
        )  # fmt: skip
        self._accept(solution.estimate)
        share = solution.information.equal_share(len(active))
        for entry in active:
            entry.tracked = share
        work_queue.tracking -= 1
        work_queue.texture = True

    def align(self, work_queue: WorkQueue) -> None:
        """Place heads and expressions by flow between renders and pictures."""
        active = self._keyframe_set.active
        self._accept(
            self._aligner.by_flow(
                [entry.keyframe for entry in active], [entry.crop for entry in active], self._joint(),
                self._appearance.maps(), self._lights(), IDENTITY_FIXED,
            )
        )  # fmt: skip
        work_queue.alignments -= 1
        work_queue.texture = True

    def recall(self, work_queue: WorkQueue) -> None:
        """Sample the pictures of a resumed fit where it left them."""
        self._keyframe_set.recall()
        if self._keyframe_set.active:
            self._fuse(draft=False)
        work_queue.recall = False

    def fuse(self, work_queue: WorkQueue) -> dict[str, float]:
        """Sample the pictures and fuse what they show; the error of that."""
        # What flow is going to move is not worth sampling finely, unless it joins what was sampled so.
        resting = self._keyframe_set.rest.texture() is not None
        disagreements = self._fuse(
            draft=work_queue.moves and not resting and len(self._keyframe_set.active) >= DRAFT_FROM
        )
        if not work_queue.moves:
            for entry, disagreement in zip(self._keyframe_set.active, disagreements, strict=True):
                entry.disagreement = disagreement
        work_queue.texture = False
        return {"texture": float(np.mean([entry.known.loss for entry in self._keyframe_set.active]))}

    def _fuse(self, *, draft: bool) -> Sequence[float]:
        """Show the texture of active and resting keyframes; the disagreement of each active one with the others."""
        active, resting = self._keyframe_set.active, self._keyframe_set.rest.texture()
        views = self._draft_views if draft else self._views
        seen = [
            views.see(
                entry.known, self.identity, self.focal, entry.keyframe.observation.camera, entry.keyframe.image,
                entry.usable,
            )
            for entry in active
        ]  # fmt: skip
        prior = self._appearance.generator.maps()
        texture = fuse(
            views.table,
            seen,
            [entry.sharpness for entry in active],
            views.at_texels(prior.diffuse),
            views.at_texels(prior.specular),
            self._settings.fusion,
            self._settings.light,
            resting,
            # The tone of keyframes that rest is kept: eyes are not asked again.
            None
            if resting is not None
            else [sclera_color(m.keyframe.image, m.keyframe.observation.landmarks, m.usable) for m in active],
        )
        self._appearance.show(views.table, texture)
        for index, entry in enumerate(active):
            entry.estimate = replace(entry.known, light_sh=texture.lights[index], loss=texture.errors[index])
            if not draft:
                entry.view_albedo = texture.view_albedo[index]
        return texture.disagreements

    def read(
        self, keyframe: Keyframe, estimate: KeyframeEstimate, usable: Float32Array, head: FoundHead
    ) -> ExpressionView:
        """What a picture that the fit does not hold shows of a head, explained by an estimate."""
        views, sharpness = self._views, keyframe.observation.quality.sharpness
        seen = views.see(estimate, head.identity, head.focal, keyframe.observation.camera, keyframe.image, usable)
        weight = view_weight(views.table, seen, sharpness)
        if self._corrective_base is None or self._corrective_base.maps is not head.maps:
            self._corrective_base = _CorrectiveBase(
                head.maps,
                np.maximum(views.at_texels(head.maps.diffuse), SMALLEST_ALBEDO),
                views.at_texels(head.maps.specular),
            )
        known = self._corrective_base
        view_albedo = delight(views.table, seen, weight, known.specular, estimate.light_sh, known.albedo)
        return ExpressionView(view_albedo, estimate.expression, sharpness)

    def invert_coarsely(self, work_queue: WorkQueue) -> dict[str, float]:
        """Some steps towards the latent that explains the texture."""
        steps = min(COARSE_STEPS_PER_SLICE, work_queue.coarse)
        loss = self._appearance.generator.invert_coarsely(self._appearance.evidence(), steps)
        self._appearance.changed()
        work_queue.coarse -= steps
        return {"coarse": loss}

    def invert(self, work_queue: WorkQueue) -> dict[str, float]:
        """Some steps towards the latent and the geometry that explain texture and pictures."""
        steps = min(STEPS_PER_SLICE, work_queue.inversion)
        scene = self._scene()
        losses = self._appearance.generator.invert(
            self._appearance.evidence(), scene, self._dense_targets(), self._embedder, steps
        )
        self._adopt(scene)
        work_queue.inversion -= steps
        if work_queue.inversion == 0:
            # Geometry has moved: bring the pictures into register again, then sample them where they lie now.
            work_queue.alignments = 1
        return losses

    def tune(self, work_queue: WorkQueue) -> dict[str, float]:
        """Some steps towards the generator's weights that explain texture and pictures."""
        steps = min(STEPS_PER_SLICE, work_queue.tuning)
        scene = self._scene()
        losses = self._appearance.generator.tune(
            self._appearance.evidence(), scene, self._dense_targets(), self._embedder, steps
        )
        self._adopt(scene)
        work_queue.tuning -= steps
        return losses

    @cached_property
    def _draft_views(self) -> TexelViews:
        return TexelViews(self._model, self._backend, self._settings.map_resolution // DRAFT_FACTOR)

    @property
    def _turned(self) -> bool:
        """Whether the heads of all keyframes turn far enough to tell shape from."""
        return parallax(list(self._keyframe_set.entries.values())) >= self._settings.alignment.tracks.parallax_deg

    def _iris_information(self) -> MarginalInformation | None:
        """Of the eyes of all keyframes that have been solved for."""
        seen = []
        for entry in self._keyframe_set.entries.values():
            observation = entry.keyframe.observation
            if entry.eyes is None:
                entry.eyes = limbus_views(entry.keyframe.image, observation, self._model)
            if entry.estimate is not None:
                seen.append(KeyframeEyes(entry.eyes, entry.estimate, observation.camera))
        return iris_information(self._model, self.identity, self.focal, seen)

    def _solve_landmarks(self, free: FreeParameters, others: MarginalInformation | None, *, correlated: bool) -> None:
        keyframes = [entry.keyframe for entry in self._keyframe_set.active]
        self._accept(
            self._aligner.by_landmarks(
                keyframes, self._keyframe_set.estimates, self.focal, self.identity, free, others, correlated=correlated
            )
        )

    def _joint(self) -> JointEstimate:
        return self._aligner.estimate_of(
            [entry.known for entry in self._keyframe_set.active], self.focal, self.identity
        )

    def _lights(self) -> Sequence[Float32Array]:
        return [entry.known.light_sh for entry in self._keyframe_set.active]

    def _accept(self, joint: JointEstimate) -> None:
        self.focal = joint.focal
        self.identity = joint.identity.astype(np.float32)
        ambient = Light.ambient().sh[0].numpy()
        for index, entry in enumerate(self._keyframe_set.active):
            light = ambient if entry.estimate is None else entry.estimate.light_sh
            entry.estimate = keyframe_estimate(joint, index, light)

    def _scene(self) -> SceneParameters:
        return SceneParameters(self.identity, [entry.known for entry in self._keyframe_set.active])

    def _adopt(self, scene: SceneParameters) -> None:
        self._appearance.changed()
        self.identity = scene.identity.detach().numpy().copy()
        for index, entry in enumerate(self._keyframe_set.active):
            entry.estimate = scene.estimate(index, entry.known.loss)

    def _dense_targets(self) -> list[DenseTarget]:
        evidence = []
        for entry in self._keyframe_set.active:
            crop, observation = entry.crop, entry.keyframe.observation
            camera = crop.camera(camera_of(observation.camera, self.focal))
            landmarks = crop.to_window(observation.landmarks.astype(np.float64)).astype(np.float32)
            sigma = landmark_sigma(self._model, landmarks, self._settings.alignment.landmarks)
            if self._embedder is not None and entry.face is None:
                target = torch.from_numpy(crop.image)[None].float() / 255.0
                entry.face = target_face(self._embedder, target, landmarks)
            evidence.append(DenseTarget(crop, camera, landmarks, sigma, entry.face))
        return evidence
