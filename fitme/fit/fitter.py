"""The fit as a whole: keyframes in at any time, refinement in slices of time, the avatar out at any moment."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.errors import InputError
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.appearance import Appearance
from fitme.fit.displayed_head import DisplayedHead, FoundHead
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.generator_inversion import ReflectanceFit
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import ExpressionFrames
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet
from fitme.fit.keyframes.marginalized import MarginalizedKeyframes
from fitme.fit.keyframes.outliers import identity_outlier, outlier
from fitme.fit.settings import FitSettings
from fitme.fit.single_frame import SingleFrameFitter
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.stages import Refinement
from fitme.fit.state import FitState, RoundReport
from fitme.fit.texture.baking import map_arrays
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.expression_distance import expression_gram
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.texture.visibility import Visibility
from fitme.fit.work_queue import Task, WorkQueue
from fitme.geometry import Camera
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.texture_encoder import default_encoder_for
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder
from fitme.track.observation import FaceObservation

Progress = Callable[[Stage, float], None]
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
        self._keyframe_set = KeyframeSet(
            MarginalizedKeyframes(views.table, settings.fusion), settings.reference_keyframes
        )
        self._appearance = Appearance(reflectance, settings.map_resolution)
        self._refinement = Refinement(
            model, backend, settings, self._aligner, views, self._keyframe_set, self._appearance, embedder
        )
        self._single_frame = SingleFrameFitter(model, backend, settings, self._aligner)
        self._model = model
        self._work_queue = WorkQueue()
        self._displayed = DisplayedHead()
        self._expression_frames = ExpressionFrames(model)
        self._stage = Stage.WAITING
        self._rounds: list[RoundReport] = []

    def add_keyframe(self, keyframe: Keyframe) -> None:
        """Give the fit one more picture. Raises `InputError` if its key is taken."""
        if keyframe.key in self._keyframe_set:
            raise InputError(f"A keyframe named {keyframe.key!r} is already part of the fit: give each its own key.")
        self._hold(keyframe)
        self._work_queue.take(self._settings.dense, begun=self._appearance.inverted)

    def remove_keyframe(self, key: str) -> None:
        """Take a picture away again; what it taught stays in the latents until they are refined without it."""
        if key in self._keyframe_set and key not in self._keyframe_set.new:
            # What it taught the head that is shown is to be forgotten, too.
            self._displayed.restart()
        self._keyframe_set.remove(key)
        self._work_queue.texture = len(self._keyframe_set) > 0 and self._stage.has_reached(Stage.LANDMARKS)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The pictures held, in order of arrival."""
        return tuple(entry.keyframe for entry in self._keyframe_set.entries.values())

    @property
    def dropped(self) -> Mapping[str, str]:
        """Why keyframes were dropped, by their keys: they contradicted the others. They are not held any more."""
        return dict(self._keyframe_set.dropped)

    @property
    def stage(self) -> Stage:
        """The furthest stage reached so far; `Stage.WAITING` before the first round."""
        return self._stage

    @property
    def converged(self) -> bool:
        """Whether refining would change nothing until another keyframe comes."""
        return self._work_queue.next is None

    @property
    def absorbed(self) -> bool:
        """Whether the avatar has its skin, and has learnt from all keyframes held."""
        concatenated = self._displayed.has_joined or not self._keyframe_set.new
        return concatenated and self._stage.has_reached(Stage.SKIN)

    def refine(self, budget_s: float, on_progress: Progress | None = None) -> RoundReport:
        """Work for about `budget_s` seconds, one piece of work at least, or until converged; what was done.

        Raises `InputError` without keyframes.
        """
        if not len(self._keyframe_set):
            raise InputError("There is nothing to fit: add a keyframe first.")
        start = time.perf_counter()
        losses: dict[str, float] = {}
        while not self.converged:
            losses |= self._work()
            if on_progress is not None:
                on_progress(self.stage, self._work_queue.share_done(self._settings.dense))
            if time.perf_counter() - start >= budget_s:
                break
        if self.converged and (self._keyframe_set.new or not self._displayed.has_converged):
            self._keyframe_set.settle()
            self._displayed.rest(self._head(resting=True))
            self._displayed.apply_correctives(self._correctives())
            self._expression_frames.move_to(self._head().identity)
        seconds = time.perf_counter() - start
        report = RoundReport(len(self._rounds), self.stage, seconds, losses, len(self._keyframe_set))
        self._rounds.append(report)
        return report

    def avatar(self) -> Avatar:
        """The person as known now: a grey head before the skin stage. Raises `InputError` before the first round."""
        if self._stage is Stage.WAITING:
            raise InputError("There is no avatar yet: refine at least once.")
        head = self._head()
        return Avatar(
            torch.from_numpy(head.identity.copy()), head.maps, head.focal, self._stage, correctives=head.correctives
        )

    def state(self) -> FitState:
        """Everything found, for a store. Raises `InputError` before the first round."""
        if self._stage is Stage.WAITING:
            raise InputError("There is nothing to keep yet: refine at least once.")
        embeddings = [k.observation.embedding for k in self.keyframes if k.observation.embedding is not None]
        head, reflectance = self._head(), self._appearance.generator
        return FitState(
            stage=self._stage,
            focal=head.focal,
            identity=head.identity.copy(),
            w_plus=reflectance.w_plus,
            tuned=reflectance.tuned_weights(),
            maps=map_arrays(head.maps) if self._stage.has_reached(Stage.SKIN) else None,
            keyframes=self.keyframes,
            estimates=self._keyframe_set.estimates,
            fresh=self._keyframe_set.new,
            tracked=self._keyframe_set.tracked,
            work_queue=replace(self._work_queue),
            rounds=tuple(self._rounds),
            reference_embedding=np.mean(embeddings, 0).astype(np.float32) if embeddings else None,
            expression_frames=self._expression_frames.pictures,
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
        for picture in state.expression_frames:
            fitter._expression_frames.add(picture)
        fitter._refinement.focal, fitter._refinement.identity = state.focal, state.identity.copy()
        fitter._stage = state.stage
        fitter._rounds = list(state.rounds)
        fitter._appearance.generator.restore(state.w_plus, state.tuned)
        fitter._appearance.restore(state.maps)
        fitter._work_queue = replace(state.work_queue, recall=True)
        if len(state.fresh) < len(state.keyframes):
            fitter._displayed.rest(fitter._head())
        return fitter

    def fit_frame(self, observation: FaceObservation, image: UInt8Array) -> KeyframeEstimate:
        """Pose, expression and light of a picture (H, W, 3) outside of the fit; identity and reflectance stay.

        Raises `InputError` before the first round.
        """
        if self._stage is Stage.WAITING:
            raise InputError("There is no avatar yet: refine at least once.")
        keyframe = Keyframe("frame", image, observation, 0.0)
        usable = self._visibility.usable_pixels(keyframe)
        return self._single_frame.measured(self._fit_single_frame(keyframe, usable), keyframe, usable, self._head())

    def add_expression_frame(self, picture: Keyframe) -> None:
        """Give the fit a picture of which it is only to learn how its expression changes the skin: cheaper than a
        keyframe, and identity and reflectance stay. Raises `InputError` if its key is taken."""
        if picture.key in self._expression_frames:
            raise InputError(f"A picture named {picture.key!r} is studied already: give each its own key.")
        self._expression_frames.add(picture)

    def remove_expression_frame(self, key: str) -> None:
        """Take such a picture away again, and what it taught."""
        self._expression_frames.remove(key)

    @property
    def expression_frames(self) -> tuple[Keyframe, ...]:
        """Such pictures, in order of arrival."""
        return self._expression_frames.pictures

    @property
    def extracting_correctives(self) -> bool:
        """Whether such pictures wait, and the fit is ready for them. Those of a resumed fit wait again, and so do those
        that were studied on a head whose shape is outdated."""
        return self._stage.has_reached(Stage.LANDMARKS) and self.converged and self._expression_frames.next is not None

    def study(self) -> None:
        """Study the picture that waits longest, or do what must be done before that; `show_correctives` shows the
        result.

        A picture that cannot be studied is forgotten, and what it raised is passed on. Raises `InputError`
        unless `extracting_correctives`.
        """
        picture = self._expression_frames.next
        if self._stage is Stage.WAITING or not self.converged or picture is None:
            raise InputError("There is nothing to study now: add a picture, and refine until the fit has converged.")
        if self._work_queue.recall:
            self._refinement.recall(self._work_queue)
            return
        try:
            usable = self._visibility.usable_pixels(picture)
            estimate = self._fit_single_frame(picture, usable)
            head = self._head()
            view = self._refinement.read(picture, estimate, usable, head)
            self._expression_frames.learn(picture.key, view, head.identity.copy())
        except Exception:
            self._expression_frames.remove(picture.key)
            raise

    def show_correctives(self) -> None:
        """Let the avatar change as the pictures studied since have taught; a fit that converges does so by itself."""
        self._displayed.apply_correctives(self._correctives())

    def render_estimate(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """The avatar as a picture would show it: sRGB (H, W, 3) over black, and mask (H, W), 0 or 255.

        `camera` is the tracker's; the fit's focal length replaces its own.
        """
        head = self._head()
        maps = head.maps_with(estimate.expression)
        rendering = self._aligner.draw(estimate, head.identity, camera_of(camera, head.focal), maps)
        mask = np.where(rendering.mask[0, ..., 0].numpy() > 0.5, 255, 0).astype(np.uint8)
        return linear_to_bytes(rendering.image[0].numpy()), mask

    def _fit_single_frame(self, keyframe: Keyframe, usable: Float32Array) -> KeyframeEstimate:
        lights = [estimate.light_sh for estimate in self._keyframe_set.estimates.values()]
        return self._single_frame.fit_frame_pose(keyframe, usable, self._head(), lights)

    def _work(self) -> dict[str, float]:
        """Do what is next."""
        refinement, work_queue = self._refinement, self._work_queue
        if self._keyframe_set.stale and work_queue.next is not Task.RECALL:
            self._choose()
        losses: dict[str, float] = {}
        match work_queue.next:
            case Task.RECALL:
                refinement.recall(work_queue)
                self._displayed.apply_correctives(self._correctives())
            case Task.LANDMARKS:
                share = max(self._settings.newest_share, len(self._keyframe_set.new) / len(self._keyframe_set))
                self._displayed.begin(share, self._appearance.confidence())
                refinement.solve_landmarks(work_queue, warm=self._displayed.has_converged)
                self._reached(Stage.LANDMARKS)
            case Task.TEXTURE:
                losses = refinement.fuse(work_queue)
                self._reached(Stage.SKIN)
                if not work_queue.moves:
                    self._displayed.register()
                    self._drop_outlier()
            case Task.TRACKING:
                refinement.track(work_queue)
            case Task.ALIGNMENT:
                refinement.align(work_queue)
            case Task.COARSE_INVERSION:
                losses = refinement.invert_coarsely(work_queue)
                self._reached(Stage.INVERSION)
            case Task.INVERSION:
                losses = refinement.invert(work_queue)
                self._reached(Stage.INVERSION)
            case Task.TUNING:
                losses = refinement.tune(work_queue)
                if work_queue.tuning == 0:
                    self._reached(Stage.TUNING)
        self._displayed.changed()
        return losses

    def _reached(self, stage: Stage) -> None:
        if not self._stage.has_reached(stage):
            self._stage = stage

    def _head(self, *, resting: bool = False) -> FoundHead:
        """What is shown. Correctives are made when the fit is `resting`, for that head and those after it."""
        changed = resting or self._displayed.has_converged
        maps = self._appearance.converged_maps() if changed else self._appearance.maps()
        working = FoundHead(self._refinement.identity, self._refinement.focal, maps)
        return self._displayed.of(working)

    @cached_property
    def _gram(self) -> torch.Tensor:
        return expression_gram(self._model)

    def _correctives(self) -> AlbedoCorrectives | None:
        """What the expressions of all pictures whose skin was seen change in the texture."""
        held = [
            ExpressionView(entry.view_albedo, entry.estimate.expression, entry.sharpness)
            for entry in self._keyframe_set.entries.values()
            if entry.estimate is not None and entry.view_albedo is not None
        ]
        return self._appearance.correctives([*held, *self._expression_frames.views], self._gram, self._settings.fusion)

    def _hold(
        self,
        keyframe: Keyframe,
        estimate: KeyframeEstimate | None = None,
        tracked: MarginalInformation | None = None,
        *,
        new: bool = True,
    ) -> None:
        usable = self._visibility.usable_pixels(keyframe)
        crop = crop_face(keyframe, usable, self._settings.dense.crop_resolution)
        self._keyframe_set.add(KeyframeEntry(keyframe, usable, crop, estimate, tracked=tracked), new=new)

    def _choose(self) -> None:
        """Settle who is worked on, strangers left out."""
        self._drop_identity_outliers()
        self._keyframe_set.choose(self._refinement.information_of)

    def _drop_identity_outliers(self) -> None:
        """Drop new keyframes that show another person, before they teach the fit anything."""
        if self._embedder is None:
            return
        faces = {key: entry.keyframe.observation.embedding for key, entry in self._keyframe_set.entries.items()}
        known = {key: face for key, face in faces.items() if face is not None}
        while (
            key := identity_outlier(known, self._embedder.same_person_distance, self._settings.outliers)
        ) is not None:
            del known[key]
            self._drop(key, "it shows another person than the other pictures")

    def _drop_outlier(self) -> None:
        """Drop the keyframe that contradicts all others most, if one does."""
        keyframe_set, settings = self._keyframe_set, self._settings.outliers
        disagreements = {k: m.disagreement for k, m in keyframe_set.entries.items() if m.disagreement is not None}
        key = outlier(disagreements, [entry.key for entry in keyframe_set.active], settings)
        held = len(keyframe_set) + len(keyframe_set.dropped)
        if key is None or len(keyframe_set.dropped) + 1 > settings.largest_share * held:
            return
        self._drop(key, f"it differs from what the other pictures show by {disagreements[key]:.2f} of white")
        self._choose()
        self._work_queue.landmarks = True
        if not keyframe_set.new and self._appearance.inverted:
            self._work_queue.forget_generator()

    def _drop(self, key: str, reason: str) -> None:
        self._keyframe_set.dropped[key] = reason
        self.remove_keyframe(key)
