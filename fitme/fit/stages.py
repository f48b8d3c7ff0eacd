"""The pieces of work that a fit is made of, each on the keyframes that are active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from fitme.fit.alignment.aligner import HeadAligner, camera_of, keyframe_estimate
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.alignment.head_scale import SeenEyes, iris_evidence, volume_evidence
from fitme.fit.alignment.limbus import limbus_views
from fitme.fit.appearance import Appearance
from fitme.fit.displayed_head import FoundHead
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.keyframe_loss import DenseEvidence, SceneParameters, landmark_sigma
from fitme.fit.inversion.losses import target_face
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import Member, Roster, parallax
from fitme.fit.lighting.sclera import sclera_color
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import HELD, Freedom, JointEstimate
from fitme.fit.solver.marginal_information import SharedEvidence, together
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.fusion import SMALLEST_ALBEDO, delit_view, fuse, view_weight
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.work_queue import Agenda
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder

FloatArray = npt.NDArray[np.float32]

STEPS_PER_SLICE = 3
"""Steps of inversion or tuning between two looks at the clock."""
COARSE_STEPS_PER_SLICE = 10
DRAFT_FACTOR = 2
"""Texels of the avatar's maps per texel a side of a draft: of a texture that alignment is going to replace."""
DRAFT_FROM = 4
"""Keyframes from which sampling takes long enough for drafts to be worth what they lose."""


@dataclass(frozen=True)
class _StudiedOn:
    """Maps as pictures that are studied one after another compare with them."""

    maps: ReflectanceMaps
    albedo: FloatArray
    """(N, 3) linear, of the texels."""
    specular: FloatArray
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
        roster: Roster,
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
        self._roster = roster
        self._appearance = appearance
        self._studied_on: _StudiedOn | None = None
        self.focal = settings.alignment.solver.focal_prior
        self.identity: FloatArray = np.zeros(model.identity_count, np.float32)

    def evidence_of(self, member: Member) -> SharedEvidence:
        """What the landmarks of a keyframe say of identity and focal length."""
        return self._aligner.evidence_of(
            member.keyframe, member.known, self.focal, self.identity, measured=self._turned
        )

    def solve_landmarks(self, agenda: Agenda, *, warm: bool) -> None:
        """Landmarks, and what tracks of the same and of resting keyframes have said; less is left to do in a `warm`
        start from a fit that has rested."""
        roster, settings = self._roster, self._settings.alignment.tracks
        freedom = Freedom(focal=len(roster) > 1)
        turned = self._turned
        elsewhere = roster.rest.shared()
        tracked = together(list(roster.tracked.values()))
        if tracked is not None:
            heard = tracked + elsewhere
            elsewhere = heard + volume_evidence(self._model, self.identity, heard)
        self._solve_landmarks(freedom, elsewhere, measured=turned)
        # Only now is it known where the eyes are.
        irises = self._iris_evidence()
        if irises is not None:
            self._solve_landmarks(freedom, irises + elsewhere, measured=turned)
        rounds = self._settings.warm_rounds if warm else settings.rounds
        agenda.tracking = rounds if parallax(roster.active) >= settings.parallax_deg else 0
        if turned and not agenda.tracking:
            # Shape was looked for with doubt in what a frame's landmarks do together; its expression is just that.
            self._solve_landmarks(HELD, None, measured=False)
        agenda.landmarks, agenda.texture = False, True
        # Expressions are settled last, by flow on the shape that tracks found.
        rounds = self._settings.warm_rounds if warm else self._settings.alignment_rounds
        agenda.alignments = 1 if agenda.tracking else rounds

    def track(self, agenda: Agenda) -> None:
        """Solve for shape by tracks. A keyframe that rests leaves two things behind: the evidence of its landmarks, and
        an equal share of what the last solve that it took part in said by tracks."""
        roster, resolution = self._roster, self._settings.alignment.tracks.resolution
        active = roster.active
        crops = [crop_face(member.keyframe, member.usable, resolution) for member in active]
        working = {member.key for member in active}
        resting = [evidence for key, evidence in roster.tracked.items() if key not in working]
        elsewhere = together([roster.rest.shared(), self._iris_evidence(), *resting])
        solution = self._aligner.by_tracks(
            [member.keyframe for member in active], crops, self._joint(), self._appearance.maps(), self._lights(),
            elsewhere,
        )  # fmt: skip
        self._accept(solution.estimate)
        share = solution.evidence.shared_among(len(active))
        for member in active:
            member.tracked = share
        agenda.tracking -= 1
        agenda.texture = True

    def align(self, agenda: Agenda) -> None:
        """Place heads and expressions by flow between renders and pictures."""
        active = self._roster.active
        self._accept(
            self._aligner.by_flow(
                [member.keyframe for member in active], [member.crop for member in active], self._joint(),
                self._appearance.maps(), self._lights(), HELD,
            )
        )  # fmt: skip
        agenda.alignments -= 1
        agenda.texture = True

    def recall(self, agenda: Agenda) -> None:
        """Sample the pictures of a resumed fit where it left them."""
        self._roster.recall()
        if self._roster.active:
            self._fuse(draft=False)
        agenda.recall = False

    def fuse(self, agenda: Agenda) -> dict[str, float]:
        """Sample the pictures and fuse what they show; the error of that."""
        # What flow is going to move is not worth sampling finely, unless it joins what was sampled so.
        resting = self._roster.rest.texture() is not None
        disagreements = self._fuse(draft=agenda.moves and not resting and len(self._roster.active) >= DRAFT_FROM)
        if not agenda.moves:
            for member, disagreement in zip(self._roster.active, disagreements, strict=True):
                member.disagreement = disagreement
        agenda.texture = False
        return {"texture": float(np.mean([member.known.loss for member in self._roster.active]))}

    def _fuse(self, *, draft: bool) -> Sequence[float]:
        """Show the texture of active and resting keyframes; the disagreement of each active one with the others."""
        active, resting = self._roster.active, self._roster.rest.texture()
        views = self._draft_views if draft else self._views
        seen = [
            views.see(
                member.known, self.identity, self.focal, member.keyframe.observation.camera, member.keyframe.image,
                member.usable,
            )
            for member in active
        ]  # fmt: skip
        prior = self._appearance.generator.maps()
        texture = fuse(
            views.table,
            seen,
            [member.sharpness for member in active],
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
        for index, member in enumerate(active):
            member.estimate = replace(member.known, light_sh=texture.lights[index], loss=texture.errors[index])
            if not draft:
                member.delit = texture.delit[index]
        return texture.disagreements

    def read(
        self, keyframe: Keyframe, estimate: KeyframeEstimate, usable: FloatArray, head: FoundHead
    ) -> ExpressionView:
        """What a picture that the fit does not hold shows of a head, explained by an estimate."""
        views, sharpness = self._views, keyframe.observation.quality.sharpness
        seen = views.see(estimate, head.identity, head.focal, keyframe.observation.camera, keyframe.image, usable)
        weight = view_weight(views.table, seen, sharpness)
        if self._studied_on is None or self._studied_on.maps is not head.maps:
            self._studied_on = _StudiedOn(
                head.maps,
                np.maximum(views.at_texels(head.maps.diffuse), SMALLEST_ALBEDO),
                views.at_texels(head.maps.specular),
            )
        known = self._studied_on
        delit = delit_view(views.table, seen, weight, known.specular, estimate.light_sh, known.albedo)
        return ExpressionView(delit, estimate.expression, sharpness)

    def invert_coarsely(self, agenda: Agenda) -> dict[str, float]:
        """Some steps towards the latent that explains the texture."""
        steps = min(COARSE_STEPS_PER_SLICE, agenda.coarse)
        loss = self._appearance.generator.invert_coarsely(self._appearance.evidence(), steps)
        self._appearance.changed()
        agenda.coarse -= steps
        return {"coarse": loss}

    def invert(self, agenda: Agenda) -> dict[str, float]:
        """Some steps towards the latent and the geometry that explain texture and pictures."""
        steps = min(STEPS_PER_SLICE, agenda.inversion)
        scene = self._scene()
        losses = self._appearance.generator.invert(
            self._appearance.evidence(), scene, self._dense_evidence(), self._embedder, steps
        )
        self._adopt(scene)
        agenda.inversion -= steps
        if agenda.inversion == 0:
            # Geometry has moved: bring the pictures into register again, then sample them where they lie now.
            agenda.alignments = 1
        return losses

    def tune(self, agenda: Agenda) -> dict[str, float]:
        """Some steps towards the generator's weights that explain texture and pictures."""
        steps = min(STEPS_PER_SLICE, agenda.tuning)
        scene = self._scene()
        losses = self._appearance.generator.tune(
            self._appearance.evidence(), scene, self._dense_evidence(), self._embedder, steps
        )
        self._adopt(scene)
        agenda.tuning -= steps
        return losses

    @cached_property
    def _draft_views(self) -> TexelViews:
        return TexelViews(self._model, self._backend, self._settings.map_resolution // DRAFT_FACTOR)

    @property
    def _turned(self) -> bool:
        """Whether the heads of all keyframes turn far enough to tell shape from."""
        return parallax(list(self._roster.members.values())) >= self._settings.alignment.tracks.parallax_deg

    def _iris_evidence(self) -> SharedEvidence | None:
        """Of the eyes of all keyframes that have been solved for."""
        seen = []
        for member in self._roster.members.values():
            observation = member.keyframe.observation
            if member.eyes is None:
                member.eyes = limbus_views(member.keyframe.image, observation, self._model)
            if member.estimate is not None:
                seen.append(SeenEyes(member.eyes, member.estimate, observation.camera))
        return iris_evidence(self._model, self.identity, self.focal, seen)

    def _solve_landmarks(self, freedom: Freedom, elsewhere: SharedEvidence | None, *, measured: bool) -> None:
        keyframes = [member.keyframe for member in self._roster.active]
        self._accept(
            self._aligner.by_landmarks(
                keyframes, self._roster.estimates, self.focal, self.identity, freedom, elsewhere, measured=measured
            )
        )

    def _joint(self) -> JointEstimate:
        return self._aligner.estimate_of([member.known for member in self._roster.active], self.focal, self.identity)

    def _lights(self) -> Sequence[FloatArray]:
        return [member.known.light_sh for member in self._roster.active]

    def _accept(self, joint: JointEstimate) -> None:
        self.focal = joint.focal
        self.identity = joint.identity.astype(np.float32)
        ambient = Light.ambient().sh[0].numpy()
        for index, member in enumerate(self._roster.active):
            light = ambient if member.estimate is None else member.estimate.light_sh
            member.estimate = keyframe_estimate(joint, index, light)

    def _scene(self) -> SceneParameters:
        return SceneParameters(self.identity, [member.known for member in self._roster.active])

    def _adopt(self, scene: SceneParameters) -> None:
        self._appearance.changed()
        self.identity = scene.identity.detach().numpy().copy()
        for index, member in enumerate(self._roster.active):
            member.estimate = scene.estimate(index, member.known.loss)

    def _dense_evidence(self) -> list[DenseEvidence]:
        evidence = []
        for member in self._roster.active:
            crop, observation = member.crop, member.keyframe.observation
            camera = crop.camera(camera_of(observation.camera, self.focal))
            landmarks = crop.to_window(observation.landmarks.astype(np.float64)).astype(np.float32)
            sigma = landmark_sigma(self._model, landmarks, self._settings.alignment.landmarks)
            if self._embedder is not None and member.face is None:
                target = torch.from_numpy(crop.image)[None].float() / 255.0
                member.face = target_face(self._embedder, target, landmarks)
            evidence.append(DenseEvidence(crop, camera, landmarks, sigma, member.face))
        return evidence
