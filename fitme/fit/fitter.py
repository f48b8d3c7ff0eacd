"""The fit as a whole: keyframes in at any time, refinement in slices of time, the avatar out at any moment."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.errors import InputError
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.appearance import Appearance
from fitme.fit.displayed_head import FoundHead, ShownHead
from fitme.fit.estimate import STAGES, KeyframeEstimate
from fitme.fit.inversion.generator_inversion import ReflectanceFit
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import Studies
from fitme.fit.keyframes.keyframe_set import Member, Roster
from fitme.fit.keyframes.marginalized import Rest
from fitme.fit.keyframes.outliers import outlier, stranger
from fitme.fit.settings import FitSettings
from fitme.fit.single_frame import Explainer
from fitme.fit.solver.marginal_information import SharedEvidence
from fitme.fit.stages import Refinement
from fitme.fit.state import FitState, RoundReport
from fitme.fit.texture.baking import map_arrays
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.expression_distance import expression_gram
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.texture.visibility import Visibility
from fitme.fit.work_queue import Agenda, Work
from fitme.geometry import Camera
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.texture_encoder import default_encoder_for
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder
from fitme.track.observation import FaceObservation

Picture = npt.NDArray[np.uint8]
Progress = Callable[[str, float], None]
"""Called with the stage reached and the share of the work that is done, [0, 1]."""


class IncrementalFitter:
    """Fits one person to a growing set of keyframes; every call goes on from what is known.

    Not thread-safe: one process or thread owns a fitter.
    """

    def __init__(
        self,
        model: MorphableModel,
        generator: ReflectanceGenerator,
        settings: FitSettings | None = None,
        embedder: DlibEmbedder | None = None,
    ) -> None:
        """`embedder` gives the identity terms; without it they are left out. The package's own generator gets its first
        latent from the texture encoder."""
        self._settings = settings = settings or FitSettings()
        self._embedder = embedder
        self._visibility = Visibility()
        backend = select_backend("cpu")
        self._aligner = HeadAligner(model, backend, settings.alignment)
        reflectance = ReflectanceFit(generator, model, backend, settings.dense, default_encoder_for)
        views = TexelViews(model, backend, settings.map_resolution)
        self._roster = Roster(Rest(views.table, settings.fusion), settings.companions)
        self._appearance = Appearance(reflectance, settings.map_resolution)
        self._refinement = Refinement(
            model, backend, settings, self._aligner, views, self._roster, self._appearance, embedder
        )
        self._explainer = Explainer(model, backend, settings, self._aligner)
        self._model = model
        self._agenda = Agenda()
        self._shown = ShownHead()
        self._studies = Studies(model)
        self._stage: str | None = None
        self._rounds: list[RoundReport] = []

    def add_keyframe(self, keyframe: Keyframe) -> None:
        """Give the fit one more picture. Raises `InputError` if its key is taken."""
        if keyframe.key in self._roster:
            raise InputError(f"A keyframe named {keyframe.key!r} is already part of the fit: give each its own key.")
        self._hold(keyframe)
        self._agenda.take(self._settings.dense, begun=self._appearance.inverted)

    def remove_keyframe(self, key: str) -> None:
        """Take a picture away again; what it taught stays in the latents until they are refined without it."""
        if key in self._roster and key not in self._roster.new:
            # What it taught the head that is shown is to be forgotten, too.
            self._shown.restart()
        self._roster.remove(key)
        self._agenda.texture = len(self._roster) > 0 and self._stage is not None

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The pictures held, in order of arrival."""
        return tuple(member.keyframe for member in self._roster.members.values())

    @property
    def dropped(self) -> Mapping[str, str]:
        """Why keyframes were dropped, by their keys: they contradicted the others. They are not held any more."""
        return dict(self._roster.dropped)

    @property
    def stage(self) -> str:
        """The furthest stage reached so far, one of `STAGES`."""
        return self._stage or STAGES[0]

    @property
    def converged(self) -> bool:
        """Whether refining would change nothing until another keyframe comes."""
        return self._agenda.next is None

    @property
    def absorbed(self) -> bool:
        """Whether the avatar has its skin, and has learnt from all keyframes held."""
        joined = self._shown.has_joined or not self._roster.new
        return joined and self.stage != STAGES[0]

    def refine(self, budget_s: float, on_progress: Progress | None = None) -> RoundReport:
        """Work for about `budget_s` seconds, one piece of work at least, or until converged; what was done.

        Raises `InputError` without keyframes.
        """
        if not len(self._roster):
            raise InputError("There is nothing to fit: add a keyframe first.")
        start = time.perf_counter()
        losses: dict[str, float] = {}
        while not self.converged:
            losses |= self._work()
            if on_progress is not None:
                on_progress(self.stage, self._agenda.share_done(self._settings.dense))
            if time.perf_counter() - start >= budget_s:
                break
        if self.converged and (self._roster.new or not self._shown.has_rested):
            self._roster.settle()
            self._shown.rest(self._head(resting=True))
            self._shown.wear(self._correctives())
            self._studies.move_to(self._head().identity)
        seconds = time.perf_counter() - start
        report = RoundReport(len(self._rounds), self.stage, seconds, losses, len(self._roster))
        self._rounds.append(report)
        return report

    def avatar(self) -> Avatar:
        """The person as known now: a grey head before the skin stage. Raises `InputError` before the first round."""
        if self._stage is None:
            raise InputError("There is no avatar yet: refine at least once.")
        head = self._head()
        return Avatar(
            torch.from_numpy(head.identity.copy()), head.maps, head.focal, self._stage, correctives=head.correctives
        )

    def state(self) -> FitState:
        """Everything found, for a store. Raises `InputError` before the first round."""
        if self._stage is None:
            raise InputError("There is nothing to keep yet: refine at least once.")
        embeddings = [k.observation.embedding for k in self.keyframes if k.observation.embedding is not None]
        head, reflectance = self._head(), self._appearance.generator
        return FitState(
            stage=self._stage,
            focal=head.focal,
            identity=head.identity.copy(),
            w_plus=reflectance.w_plus,
            tuned=reflectance.tuned_weights(),
            maps=None if self._stage == STAGES[0] else map_arrays(head.maps),
            keyframes=self.keyframes,
            estimates=self._roster.estimates,
            fresh=self._roster.new,
            tracked=self._roster.tracked,
            agenda=replace(self._agenda),
            rounds=tuple(self._rounds),
            reference_embedding=np.mean(embeddings, 0).astype(np.float32) if embeddings else None,
            studied=self._studies.pictures,
        )

    @classmethod
    def from_state(
        cls,
        state: FitState,
        model: MorphableModel,
        generator: ReflectanceGenerator,
        settings: FitSettings | None = None,
        embedder: DlibEmbedder | None = None,
    ) -> "IncrementalFitter":
        """Go on where another fitter rested, with its latents and weights as the warm start."""
        fitter = cls(model, generator, settings, embedder)
        for keyframe in state.keyframes:
            key = keyframe.key
            fitter._hold(keyframe, state.estimates.get(key), state.tracked.get(key), new=key in state.fresh)
        for picture in state.studied:
            fitter._studies.add(picture)
        fitter._refinement.focal, fitter._refinement.identity = state.focal, state.identity.copy()
        fitter._stage = state.stage
        fitter._rounds = list(state.rounds)
        fitter._appearance.generator.restore(state.w_plus, state.tuned)
        fitter._appearance.restore(state.maps)
        fitter._agenda = replace(state.agenda, recall=True)
        if len(state.fresh) < len(state.keyframes):
            fitter._shown.rest(fitter._head())
        return fitter

    def fit_frame(self, observation: FaceObservation, image: Picture) -> KeyframeEstimate:
        """Pose, expression and light of a picture (H, W, 3) outside of the fit; identity and reflectance stay.

        Raises `InputError` before the first round.
        """
        if self._stage is None:
            raise InputError("There is no avatar yet: refine at least once.")
        keyframe = Keyframe("frame", image, observation, 0.0)
        usable = self._visibility.usable_pixels(keyframe)
        return self._explainer.measured(self._explain(keyframe, usable), keyframe, usable, self._head())

    def add_studied(self, picture: Keyframe) -> None:
        """Give the fit a picture of which it is only to learn how its expression changes the skin: cheaper than a
        keyframe, and identity and reflectance stay. Raises `InputError` if its key is taken."""
        if picture.key in self._studies:
            raise InputError(f"A picture named {picture.key!r} is studied already: give each its own key.")
        self._studies.add(picture)

    def remove_studied(self, key: str) -> None:
        """Take such a picture away again, and what it taught."""
        self._studies.remove(key)

    @property
    def studied(self) -> tuple[Keyframe, ...]:
        """Such pictures, in order of arrival."""
        return self._studies.pictures

    @property
    def studying(self) -> bool:
        """Whether such pictures wait, and the fit is ready for them. Those of a resumed fit wait again, and so do those
        that were studied on a head whose shape is outdated."""
        return self._stage is not None and self.converged and self._studies.next is not None

    def study(self) -> None:
        """Study the picture that waits longest, or do what must be done before that; `show_studied` shows the result.

        A picture that cannot be studied is forgotten, and what it raised is passed on. Raises `InputError`
        unless `studying`.
        """
        picture = self._studies.next
        if self._stage is None or not self.converged or picture is None:
            raise InputError("There is nothing to study now: add a picture, and refine until the fit has converged.")
        if self._agenda.recall:
            self._refinement.recall(self._agenda)
            return
        try:
            usable = self._visibility.usable_pixels(picture)
            estimate = self._explain(picture, usable)
            head = self._head()
            view = self._refinement.read(picture, estimate, usable, head)
            self._studies.learn(picture.key, view, head.identity.copy())
        except Exception:
            self._studies.remove(picture.key)
            raise

    def show_studied(self) -> None:
        """Let the avatar change as the pictures studied since have taught; a fit that converges does so by itself."""
        self._shown.wear(self._correctives())

    def render_estimate(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[Picture, Picture]:
        """The avatar as a picture would show it: sRGB (H, W, 3) over black, and mask (H, W), 0 or 255.

        `camera` is the tracker's; the fit's focal length replaces its own.
        """
        head = self._head()
        maps = head.maps_with(estimate.expression)
        rendering = self._aligner.draw(estimate, head.identity, camera_of(camera, head.focal), maps)
        mask = np.where(rendering.mask[0, ..., 0].numpy() > 0.5, 255, 0).astype(np.uint8)
        return linear_to_bytes(rendering.image[0].numpy()), mask

    def _explain(self, keyframe: Keyframe, usable: npt.NDArray[np.float32]) -> KeyframeEstimate:
        lights = [estimate.light_sh for estimate in self._roster.estimates.values()]
        return self._explainer.explain(keyframe, usable, self._head(), lights)

    def _work(self) -> dict[str, float]:
        """Do what is next."""
        refinement, agenda = self._refinement, self._agenda
        if self._roster.stale and agenda.next is not Work.RECALL:
            self._choose()
        losses: dict[str, float] = {}
        match agenda.next:
            case Work.RECALL:
                refinement.recall(agenda)
                self._shown.wear(self._correctives())
            case Work.LANDMARKS:
                share = max(self._settings.newest_share, len(self._roster.new) / len(self._roster))
                self._shown.begin(share, self._appearance.confidence())
                refinement.solve_landmarks(agenda, warm=self._shown.has_rested)
                self._reached("landmarks")
            case Work.TEXTURE:
                losses = refinement.fuse(agenda)
                self._reached("skin")
                if not agenda.moves:
                    self._shown.register()
                    self._drop_outlier()
            case Work.TRACKING:
                refinement.track(agenda)
            case Work.ALIGNMENT:
                refinement.align(agenda)
            case Work.COARSE_INVERSION:
                losses = refinement.invert_coarsely(agenda)
                self._reached("inversion")
            case Work.INVERSION:
                losses = refinement.invert(agenda)
                self._reached("inversion")
            case Work.TUNING:
                losses = refinement.tune(agenda)
                if agenda.tuning == 0:
                    self._reached("tuning")
        self._shown.changed()
        return losses

    def _reached(self, stage: str) -> None:
        if self._stage is None or STAGES.index(stage) > STAGES.index(self._stage):
            self._stage = stage

    def _head(self, *, resting: bool = False) -> FoundHead:
        """What is shown. Correctives are made when the fit is `resting`, for that head and those after it."""
        changed = resting or self._shown.has_rested
        maps = self._appearance.rested_maps() if changed else self._appearance.maps()
        working = FoundHead(self._refinement.identity, self._refinement.focal, maps)
        return self._shown.of(working)

    @cached_property
    def _gram(self) -> torch.Tensor:
        return expression_gram(self._model)

    def _correctives(self) -> AlbedoCorrectives | None:
        """What the expressions of all pictures whose skin was seen change in the texture."""
        held = [
            ExpressionView(member.delit, member.estimate.expression, member.sharpness)
            for member in self._roster.members.values()
            if member.estimate is not None and member.delit is not None
        ]
        return self._appearance.correctives([*held, *self._studies.views], self._gram, self._settings.fusion)

    def _hold(
        self,
        keyframe: Keyframe,
        estimate: KeyframeEstimate | None = None,
        tracked: SharedEvidence | None = None,
        *,
        new: bool = True,
    ) -> None:
        usable = self._visibility.usable_pixels(keyframe)
        crop = crop_face(keyframe, usable, self._settings.dense.crop_resolution)
        self._roster.add(Member(keyframe, usable, crop, estimate, tracked=tracked), new=new)

    def _choose(self) -> None:
        """Settle who is worked on, strangers left out."""
        self._drop_strangers()
        self._roster.choose(self._refinement.evidence_of)

    def _drop_strangers(self) -> None:
        """Drop new keyframes that show another person, before they teach the fit anything."""
        if self._embedder is None:
            return
        faces = {key: member.keyframe.observation.embedding for key, member in self._roster.members.items()}
        known = {key: face for key, face in faces.items() if face is not None}
        while (key := stranger(known, self._embedder.same_person_distance, self._settings.consensus)) is not None:
            del known[key]
            self._drop(key, "it shows another person than the other pictures")

    def _drop_outlier(self) -> None:
        """Drop the keyframe that contradicts all others most, if one does."""
        roster, settings = self._roster, self._settings.consensus
        disagreements = {k: m.disagreement for k, m in roster.members.items() if m.disagreement is not None}
        key = outlier(disagreements, [member.key for member in roster.active], settings)
        held = len(roster) + len(roster.dropped)
        if key is None or len(roster.dropped) + 1 > settings.largest_share * held:
            return
        self._drop(key, f"it differs from what the other pictures show by {disagreements[key]:.2f} of white")
        self._choose()
        self._agenda.landmarks = True
        if not roster.new and self._appearance.inverted:
            self._agenda.forget_generator()

    def _drop(self, key: str, reason: str) -> None:
        self._roster.dropped[key] = reason
        self.remove_keyframe(key)
