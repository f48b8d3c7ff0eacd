"""Incremental fitter: accepts keyframes at any time, refines in slices of time, yields the avatar at any moment.

`fitme.fit.work_queue` decides which task comes next, `fitme.fit.stages` runs it.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.errors import InputError
from fitme.fit.alignment.aligner import HeadAligner
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.appearance import Appearance
from fitme.fit.device import network_on
from fitme.fit.displayed_head import DisplayedHead, HeadEstimate
from fitme.fit.ear_stage import EarStage
from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.estimate_render import EstimateRenderer
from fitme.fit.expression_stage import ExpressionStage
from fitme.fit.glasses_stage import GlassesStage
from fitme.fit.hair_stage import HairStage
from fitme.fit.inversion.generator_inversion import ReflectanceFit
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import ExpressionFrames
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet
from fitme.fit.keyframes.marginalized import MarginalizedKeyframes
from fitme.fit.keyframes.outlier_rejection import identity_outliers, texture_outlier
from fitme.fit.settings import FitSettings
from fitme.fit.single_frame import SingleFrameFitter
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.stages import FitStages
from fitme.fit.state import FitState, RoundReport
from fitme.fit.texture.baking import map_arrays
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.skin.completion import blink_of
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.texture.unprojection import TexelTable
from fitme.fit.texture.visibility import Visibility
from fitme.fit.work_queue import Task, WorkQueue
from fitme.frame_pool import FramePool
from fitme.geometry import Camera
from fitme.reflectance.expression_prior import packaged_expression_prior
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.packaged_models import packaged_encoder
from fitme.reflectance.skin_detail import packaged_skin_detail
from fitme.render.light import Light
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.resting_lids import resting_lids
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder
from fitme.track.observation import FaceObservation

Progress = Callable[[Stage, float], None]
"""Called with the stage reached and the share of the work that is done, [0, 1]."""

STAGE_OF_TASK = {
    Task.LANDMARKS: Stage.LANDMARKS,
    Task.TEXTURE: Stage.SKIN,
    Task.COARSE_INVERSION: Stage.INVERSION,
    Task.INVERSION: Stage.INVERSION,
    Task.TUNING: Stage.TUNING,
}
"""The stage that a completed task reaches; the last one only with its last step."""


class IncrementalFitter:
    """Fit of one person to a growing set of keyframes, warm-started from all earlier ones.

    Not thread-safe: one process or thread owns a fitter.
    """

    def __init__(
        self,
        model: MorphableModel,
        generator: ReflectanceGenerator,
        settings: FitSettings | None = None,
        embedder: DlibEmbedder | None = None,
        device: torch.device | str = "cpu",
        visibility: Visibility | None = None,
    ) -> None:
        """
        :param model: on the CPU, as `generator` and `embedder`.
        :param generator: the package's own one gets its first latent from the texture encoder.
        :param embedder: for the identity loss and identity outliers; without it both are left out.
        :param device: where heads are rendered and the generator is optimised; all else is computed on the CPU.
        :param visibility: which pixels show the head; by default MediaPipe's segmentation.
        :raises BackendError: the device cannot be used.
        """
        self._settings = settings = settings or FitSettings()
        self._visibility = Visibility(model) if visibility is None else visibility
        rasterizer, backend = select_backend(device), select_backend("cpu")
        self._embedder = None if embedder is None else network_on(embedder, rasterizer.device)
        self._pool = FramePool()
        self._aligner = HeadAligner(model, rasterizer, settings.alignment, self._pool)
        self._estimate_renderer = EstimateRenderer(model)
        reflectance = ReflectanceFit(generator, model, rasterizer, settings.inversion, packaged_encoder)
        views = TexelViews(model, settings.map_resolution)
        self._keyframe_set = KeyframeSet(
            MarginalizedKeyframes(views.table, settings.fusion), settings.reference_keyframes
        )
        detail = packaged_skin_detail() if settings.skin_detail else None
        expressions = packaged_expression_prior() if settings.expression_prior else None
        self._appearance = Appearance(reflectance, settings.map_resolution, blink_of(model), detail, expressions)
        self._stages = FitStages(
            model, settings, self._aligner, views, self._keyframe_set, self._appearance, self._embedder,
            self._pool,
        )  # fmt: skip
        crop_resolution = settings.inversion.crop_resolution
        self._hair = HairStage(model, backend, settings.hair, self._visibility, self._pool, crop_resolution)
        self._ears = EarStage(model, self._visibility, settings.ears)
        self._glasses = GlassesStage(model, settings.glasses, crop_resolution)
        self._single_frame = SingleFrameFitter(model, settings, self._aligner)
        self._model = model
        self._work_queue = WorkQueue(settings)
        self._displayed = DisplayedHead()
        self._expression_frames = ExpressionFrames(model)
        self._expression_stage = ExpressionStage(
            self._expression_frames, self._visibility, self._single_frame, self._glasses, self._hair, self._stages,
            self._pool,
        )  # fmt: skip
        self._shape_sigma: torch.Tensor | None = None
        self._stage = Stage.WAITING
        self._rounds: list[RoundReport] = []

    def close(self) -> None:
        """Release the segmentation networks and all threads. What the fit has found can still be read."""
        self._visibility.close()
        self._pool.close()

    def add_keyframe(self, keyframe: Keyframe) -> None:
        """Add a keyframe and the work that it needs. Raises `InputError` if its key is taken."""
        if keyframe.key in self._keyframe_set:
            raise InputError(f"A keyframe named {keyframe.key!r} is already part of the fit: give each its own key.")
        self._add_entry(keyframe)
        self._work_queue.enqueue_keyframe(inverted=self._appearance.inverted)

    def remove_keyframe(self, key: str) -> None:
        """Remove a keyframe, if it is held. Latent and weights change only when they are refined without it."""
        if key in self._keyframe_set and key not in self._keyframe_set.new:
            # It has contributed to the running mean of heads, too.
            self._displayed.reset()
        self._keyframe_set.remove(key)
        self._work_queue.keyframe_removed(fuse=len(self._keyframe_set) > 0 and self._stage is not Stage.WAITING)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The keyframes held, in order of arrival."""
        return tuple(entry.keyframe for entry in self._keyframe_set.entries.values())

    @property
    def dropped(self) -> Mapping[str, str]:
        """Reasons why outliers were dropped, by their keys. Dropped keyframes are not held any more."""
        return dict(self._keyframe_set.dropped)

    @property
    def stage(self) -> Stage:
        """The furthest stage reached so far; `Stage.WAITING` before the first round."""
        return self._stage

    @property
    def next_task(self) -> Task | None:
        """The task that `refine` takes next; None when the fit has converged."""
        return self._work_queue.next

    @property
    def converged(self) -> bool:
        """Whether nothing is left to do until another keyframe is added."""
        return self.next_task is None

    @property
    def displays_all_keyframes(self) -> bool:
        """Whether the avatar has its skin, and all keyframes held contribute to it."""
        included = self._displayed.includes_working_head or not self._keyframe_set.new
        return included and self._stage.has_reached(Stage.SKIN)

    def refine(self, budget_s: float, on_progress: Progress | None = None) -> RoundReport:
        """Run tasks for about `budget_s` seconds, one task at least, or until the fit has converged.

        Raises `InputError` without keyframes.
        """
        if not len(self._keyframe_set):
            raise InputError("There is nothing to fit: add a keyframe first.")
        start = time.perf_counter()
        losses: dict[str, float] = {}
        while not self.converged:
            losses |= self._work()
            if on_progress is not None:
                on_progress(self.stage, self._work_queue.share_done)
            if time.perf_counter() - start >= budget_s:
                break
        if self.converged and (self._keyframe_set.new or not self._displayed.has_converged):
            self._keyframe_set.converge()
            self._displayed.converge(self._head(converged=True))
            self._show_expressions()
            self._expression_frames.update_identity(self._head().identity)
            self._shape_sigma = torch.from_numpy(self._stages.shape_sigma())
        seconds = time.perf_counter() - start
        report = RoundReport(len(self._rounds), self.stage, seconds, losses, len(self._keyframe_set))
        self._rounds.append(report)
        return report

    def avatar(self) -> Avatar:
        """The avatar as displayed: a grey head before the skin stage. Raises `InputError` before the first round."""
        if self._stage is Stage.WAITING:
            raise InputError("There is no avatar yet: refine at least once.")
        head = self._head()
        identity = torch.from_numpy(head.identity.copy())
        observed = self._appearance.observed()
        # The displayed maps can be older than the texture, at another resolution.
        if observed is not None and observed.shape != head.maps.diffuse.shape[1:3]:
            observed = None
        return Avatar(
            identity, head.maps, head.focal, self._stage, correctives=head.correctives, hair=head.hair,
            glasses=head.glasses, observed=observed, shape_sigma=self._shape_sigma,
            resting_lids=resting_lids([estimate.expression for estimate in self._keyframe_set.estimates.values()]),
        )  # fmt: skip

    def fused_texture(self) -> tuple[TexelTable, FusedTexture]:
        """De-lit albedo of all keyframes, and the texels that it lists. Raises `InputError` before the skin stage."""
        return self._appearance.fused_texture()

    def state(self) -> FitState:
        """All that `from_state` needs to resume the fit. Raises `InputError` before the first round."""
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
            new_keyframes=self._keyframe_set.new,
            track_information=self._keyframe_set.track_information,
            work_queue=self._work_queue.pending,
            hair=head.hair,
            glasses=self._glasses.glasses,
            rounds=tuple(self._rounds),
            reference_embedding=np.mean(embeddings, 0).astype(np.float32) if embeddings else None,
            expression_frames=self._expression_frames.frames,
        )

    @classmethod
    def from_state(
        cls,
        state: FitState,
        model: MorphableModel,
        generator: ReflectanceGenerator,
        settings: FitSettings | None = None,
        embedder: DlibEmbedder | None = None,
        device: torch.device | str = "cpu",
        visibility: Visibility | None = None,
    ) -> "IncrementalFitter":
        """Resume another fitter's fit, warm-started from its geometry, latent and weights, on any device."""
        fitter = cls(model, generator, settings, embedder, device, visibility)
        fitter._visibility.learn_face(state.keyframes)
        for keyframe in state.keyframes:
            key, information = keyframe.key, state.track_information.get(keyframe.key)
            fitter._add_entry(keyframe, state.estimates.get(key), information, new=key in state.new_keyframes)
        for frame in state.expression_frames:
            fitter._expression_frames.add(frame)
        components = model.identity_count
        fitter._stages.focal, fitter._stages.identity = state.focal, state.identity[:components].copy()
        fitter._stages.teeth.height = float(state.identity[components:].sum())
        fitter._stage = state.stage
        fitter._rounds = list(state.rounds)
        fitter._appearance.generator.restore(state.w_plus, state.tuned)
        fitter._appearance.restore(state.maps)
        fitter._hair.hair = state.hair
        fitter._appearance.set_bald(fitter._hair.bald)
        fitter._glasses.glasses = state.glasses
        fitter._work_queue = WorkQueue(fitter._settings, state.work_queue)
        fitter._work_queue.enqueue_recall()
        if len(state.new_keyframes) < len(state.keyframes):
            fitter._displayed.converge(fitter._head())
        return fitter

    def set_uncovered_face(self, image: UInt8Array, observation: FaceObservation) -> None:
        """Compare the keyframes, before any is added, with a face in an image (H, W, 3) sRGB that nothing covers."""
        self._visibility.set_uncovered_face(image, observation)

    def fit_frame(self, observation: FaceObservation, image: UInt8Array) -> KeyframeEstimate:
        """Fit pose, expression and light to an image (H, W, 3) sRGB, identity and reflectance fixed.

        Raises `InputError` before the first round.
        """
        if self._stage is Stage.WAITING:
            raise InputError("There is no avatar yet: refine at least once.")
        keyframe = Keyframe("frame", image, observation, 0.0)
        usable = self._visibility.usable_pixels(keyframe)
        head = self._head()
        estimate = self._single_frame.fit(keyframe, usable, head, self._lights())
        return self._single_frame.with_loss(estimate, keyframe, usable, head)

    def add_expression_frame(self, frame: Keyframe) -> None:
        """Add a frame from which only expression correctives are extracted: cheaper than a keyframe, identity and
        reflectance fixed. Raises `InputError` if its key is taken."""
        if frame.key in self._expression_frames:
            raise InputError(f"An expression frame named {frame.key!r} is part of the fit: give each its own key.")
        self._expression_frames.add(frame)

    def remove_expression_frame(self, key: str) -> None:
        """Remove an expression frame, if it is held, and its correctives."""
        self._expression_frames.remove(key)

    @property
    def expression_frames(self) -> tuple[Keyframe, ...]:
        """The expression frames held, in order of arrival."""
        return self._expression_frames.frames

    @property
    def correctives_pending(self) -> bool:
        """Whether the fit has converged and correctives are to be extracted: those of new expression frames, of all
        after resuming, and of those whose extraction used a much different identity."""
        return self._stage.has_reached(Stage.LANDMARKS) and self.converged and bool(self._expression_frames.waiting(1))

    def extract_correctives(self) -> int:
        """Extract the correctives of the next few expression frames, or recall a resumed fit's texture before the
        first ones; `apply_correctives` puts the results into the avatar.

        :returns: number of frames.
        :raises InputError: unless `correctives_pending`.
        :raises Exception: what the extraction of one of them raised; that frame is removed then.
        """
        if not self.correctives_pending:
            raise InputError(
                "There is no corrective to extract: add an expression frame, and refine until the fit has converged."
            )
        if self._work_queue.recall_pending:
            self._stages.recall()
            self._work_queue.complete(Task.RECALL)
            return 0
        return self._expression_stage.extract(self._head(), self._lights())

    def apply_correctives(self) -> None:
        """Put the correctives extracted so far into the avatar; a fit that converges does so by itself."""
        self._show_expressions()

    def finish_correctives(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Extract all correctives that are pending while `go_on`, and put them into the avatar."""
        while self.correctives_pending and go_on():
            self.extract_correctives()
        self.apply_correctives()

    def render_estimate(
        self, estimate: KeyframeEstimate, camera: Camera, light: Light | None = None
    ) -> tuple[UInt8Array, UInt8Array]:
        """Render the avatar, all parts and hair included, with an estimate: sRGB (H, W, 3) uint8 over black, and mask
        (H, W) uint8, 0 or 255.

        :param camera: the tracker's; the fit's focal length replaces its own.
        :param light: batch of 1; None for the estimate's.
        """
        return self._estimate_renderer.render(self._head(), estimate, camera, light)

    def _lights(self) -> list[Illumination]:
        """Of all keyframes."""
        return [estimate.illumination for estimate in self._keyframe_set.estimates.values()]

    def _work(self) -> dict[str, float]:
        """Take the next task, run its stage, complete it; the stage's figures."""
        if self._keyframe_set.selection_stale and self._work_queue.next is not Task.RECALL:
            self._select_active()
        task = self._work_queue.next
        if task is None:
            return {}
        losses = self._run(task)
        self._work_queue.complete(task)
        self._completed(task)
        self._displayed.invalidate()
        return losses

    def _run(self, task: Task) -> dict[str, float]:
        """Run the stage of a task on the active keyframes; its figures."""
        stages, work_queue = self._stages, self._work_queue
        match task:
            case Task.RECALL:
                self._glasses.leave_out(self._keyframe_set, stages.focal)
                self._hair.leave_out(self._keyframe_set, stages.identity, stages.focal)
                stages.recall()
            case Task.LANDMARKS:
                warm = self._displayed.has_converged
                share = max(self._settings.newest_share, len(self._keyframe_set.new) / len(self._keyframe_set))
                self._displayed.begin(share, self._appearance.confidence())
                work_queue.plan_registration(warm=warm, trackable=stages.trackable)
                stages.solve_landmarks(tracking_follows=work_queue.tracking_pending)
                self._place_ears()
                stages.teeth.place(self._keyframe_set, stages.identity, stages.focal)
                self._glasses.fit(self._keyframe_set, stages.identity, stages.focal)
            case Task.TEXTURE:
                return stages.fuse(final=not work_queue.registration_pending)
            case Task.TRACKING:
                stages.track()
                self._place_ears()
            case Task.ALIGNMENT:
                stages.align()
                stages.teeth.place(self._keyframe_set, stages.identity, stages.focal)
            case Task.HAIR:
                self._glasses.fit(self._keyframe_set, stages.identity, stages.focal)
                self._hair.fit(self._keyframe_set, stages.identity, stages.focal)
                self._hair.leave_out(self._keyframe_set, stages.identity, stages.focal)
                self._appearance.set_bald(self._hair.bald)
            case Task.COARSE_INVERSION:
                return stages.invert_coarsely(work_queue.slice_of(task))
            case Task.INVERSION:
                return stages.invert(work_queue.slice_of(task))
            case Task.TUNING:
                return stages.tune(work_queue.slice_of(task))
        return {}

    def _place_ears(self) -> None:
        stages = self._stages
        stages.identity = self._ears.placed(self._keyframe_set, stages.identity, stages.focal)
        stages.ears_shown = self._ears.shown

    def _completed(self, task: Task) -> None:
        """Effects of a completed task on the stage, on the displayed head, and on the keyframes held."""
        if task in STAGE_OF_TASK and not (task is Task.TUNING and self._work_queue.tuning_pending):
            self._reached(STAGE_OF_TASK[task])
        if task is Task.RECALL:
            self._show_expressions()
        elif task is Task.TEXTURE and not self._work_queue.registration_pending:
            self._displayed.register()
            self._drop_texture_outlier()

    def _reached(self, stage: Stage) -> None:
        if not self._stage.has_reached(stage):
            self._stage = stage

    def _head(self, *, converged: bool = False) -> HeadEstimate:
        """The displayed head. Heads from the first `converged` one on have the maps that correctives are added to."""
        corrected = converged or self._displayed.has_converged

        def working() -> HeadEstimate:
            maps = self._appearance.converged_maps() if corrected else self._appearance.maps()
            stages, hair, glasses = self._stages, self._hair.hair, self._glasses.shown
            return HeadEstimate(stages.teeth.placed(stages.identity), stages.focal, maps, hair=hair, glasses=glasses)

        return self._displayed.of(working)

    def _show_expressions(self) -> None:
        """Put correctives and the mouth's inside, as all frames show them, into the displayed head."""
        correctives = self._stages.correctives(self._expression_frames.views)
        self._displayed.set_expressions(correctives, self._appearance.with_mouth)

    def _add_entry(
        self,
        keyframe: Keyframe,
        estimate: KeyframeEstimate | None = None,
        track_information: MarginalInformation | None = None,
        *,
        new: bool = True,
    ) -> None:
        usable = self._visibility.usable_pixels(keyframe)
        crop = crop_face(keyframe, usable, self._settings.inversion.crop_resolution)
        entry = KeyframeEntry(keyframe, usable, crop, estimate, track_information=track_information)
        self._keyframe_set.add(entry, new=new)

    def _select_active(self) -> None:
        """Select the active keyframes, after those of another person are dropped: none is to contribute to the fit."""
        if self._embedder is not None:
            distance, settings = self._embedder.same_person_distance, self._settings.outliers
            for key, reason in identity_outliers(self._keyframe_set, distance, settings).items():
                self._drop(key, reason)
        self._keyframe_set.select_active(self._stages.information_of)

    def _drop_texture_outlier(self) -> None:
        """Drop the active keyframe whose albedo disagrees with the others', if there is one, and solve without it."""
        found = texture_outlier(self._keyframe_set, self._settings.outliers)
        if found is None:
            return
        self._drop(*found)
        self._select_active()
        # The generator is left as it is where nothing new is left to fit it to.
        refine_generator = bool(self._keyframe_set.new) or not self._appearance.inverted
        self._work_queue.outlier_removed(refine_generator=refine_generator)

    def _drop(self, key: str, reason: str) -> None:
        self._keyframe_set.dropped[key] = reason
        self.remove_keyframe(key)
