"""The fit as a whole: keyframes in at any time, refinement in slices of time, the avatar out at any moment."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.avatar import Avatar
from fitme.color import linear_to_bytes, linear_to_srgb
from fitme.errors import InputError
from fitme.fit.alignment import HeadAligner, camera_of, keyframe_estimate
from fitme.fit.baking import bake, enlarge, grey_maps, map_arrays, maps_of
from fitme.fit.consensus import outlier, stranger
from fitme.fit.crop import FaceCrop, crop_face
from fitme.fit.delit import DelitView
from fitme.fit.fusion import FusedTexture, fuse
from fitme.fit.gauss_newton import Freedom, JointEstimate, SharedEvidence, together
from fitme.fit.inversion import ReflectanceFit, TextureEvidence
from fitme.fit.keyframe import Keyframe
from fitme.fit.losses import TargetFace, target_face
from fitme.fit.photometric import DenseEvidence, SceneParameters, landmark_sigma
from fitme.fit.roster import Rest, companions
from fitme.fit.settings import FitSettings
from fitme.fit.state import STAGES, FitState, KeyframeEstimate, RoundReport
from fitme.fit.tracks import volume_evidence
from fitme.fit.views import TexelViews
from fitme.fit.visibility import Visibility
from fitme.geometry import Camera
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.texture_encoder import default_encoder_for
from fitme.render.light import Light
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder
from fitme.track.observation import FaceObservation

FloatArray = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Progress = Callable[[str, float], None]
"""Called with the stage reached and the share of the work that is done, [0, 1]."""

STEPS_PER_SLICE = 3
"""Steps of inversion or tuning between two looks at the clock."""
COARSE_STEPS_PER_SLICE = 10
DRAFT_FACTOR = 2
"""Texels of the avatar's maps per texel a side of a draft: of a texture that alignment is going to replace."""
DRAFT_FROM = 4
"""Keyframes from which sampling takes long enough for drafts to be worth what they lose."""
LIGHT_RESOLUTION = 96
"""Side of the map whose texels give a single frame's light."""
FRAME_FLOW_ROUNDS = 2
"""Alternations of flow and light for a frame outside of the fit."""
HELD = Freedom(identity=False, focal=False)
"""Dense matches that may not slip place the head; who it is comes from tracks, which may."""


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
        self._settings = settings or FitSettings()
        self._model = model
        self._embedder = embedder
        self._visibility = Visibility()
        backend = select_backend("cpu")
        self._aligner = HeadAligner(model, backend, self._settings)
        self._reflectance = ReflectanceFit(
            generator, model, backend, self._settings.dense, default_encoder_for(generator)
        )
        self._views = TexelViews(model, backend, self._settings.map_resolution)
        self._draft_views = TexelViews(model, backend, self._settings.map_resolution // DRAFT_FACTOR)
        self._rest = Rest(self._views.table, self._settings.fusion)
        self._new: set[str] = set()
        self._active: tuple[str, ...] = ()
        self._delit: dict[str, DelitView] = {}
        self._disagreements: dict[str, float] = {}
        self._dropped: dict[str, str] = {}
        self._faces: dict[str, TargetFace] = {}
        self._light_views = TexelViews(model, backend, LIGHT_RESOLUTION)
        self._keyframes: dict[str, Keyframe] = {}
        self._usable: dict[str, FloatArray] = {}
        self._crops: dict[str, FaceCrop] = {}
        self._estimates: dict[str, KeyframeEstimate] = {}
        self._focal = self._settings.solver.focal_prior
        self._turned = False
        self._identity: FloatArray = np.zeros(model.identity_count, np.float32)
        self._stage: str | None = None
        self._texture: FusedTexture | None = None
        self._texture_table = self._views.table
        self._evidence: TextureEvidence | None = None
        self._rounds: list[RoundReport] = []
        self._maps: ReflectanceMaps = grey_maps()
        self._maps_stale = self._landmarks_stale = self._texture_stale = self._choice_stale = False
        self._shape_left = self._alignments_left = 0
        self._coarse_left = self._inversion_left = self._tuning_left = 0
        self._tracked: dict[str, SharedEvidence] = {}

    def add_keyframe(self, keyframe: Keyframe) -> None:
        """Give the fit one more picture. Raises `InputError` if its key is taken."""
        if keyframe.key in self._keyframes:
            raise InputError(f"A keyframe named {keyframe.key!r} is already part of the fit: give each its own key.")
        self._hold(keyframe)
        self._landmarks_stale = True
        dense = self._settings.dense
        begun = self._reflectance.w_plus is not None
        self._coarse_left = 0 if begun else dense.coarse_steps
        self._inversion_left = max(self._inversion_left, dense.refresh_steps if begun else dense.inversion_steps)
        self._tuning_left = max(self._tuning_left, dense.refresh_steps if begun else dense.tuning_steps)

    def remove_keyframe(self, key: str) -> None:
        """Take a picture away again; what it taught stays in the latents until they are refined without it."""
        held_by_key: tuple[dict[str, Any], ...] = (
            self._keyframes, self._usable, self._crops, self._estimates, self._delit, self._disagreements, self._faces,
            self._tracked,
        )  # fmt: skip
        for held in held_by_key:
            held.pop(key, None)
        self._new.discard(key)
        self._rest.wake(key)
        self._choice_stale = True
        self._texture_stale = bool(self._keyframes) and self._stage is not None

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The pictures held, in order of arrival."""
        return tuple(self._keyframes.values())

    @property
    def dropped(self) -> Mapping[str, str]:
        """Why keyframes were dropped, by their keys: they contradicted the others. They are not held any more."""
        return dict(self._dropped)

    @property
    def stage(self) -> str:
        """The furthest stage reached so far, one of `STAGES`."""
        return self._stage or STAGES[0]

    @property
    def converged(self) -> bool:
        """Whether refining would change nothing until another keyframe comes."""
        left = self._alignments_left + self._coarse_left + self._inversion_left + self._tuning_left
        return not (self._landmarks_stale or self._texture_stale or left)

    def refine(self, budget_s: float, on_progress: Progress | None = None) -> RoundReport:
        """Work for about `budget_s` seconds, one piece of work at least, or until converged; what was done.

        Raises `InputError` without keyframes.
        """
        if not self._keyframes:
            raise InputError("There is nothing to fit: add a keyframe first.")
        start = time.perf_counter()
        losses: dict[str, float] = {}
        while not self.converged:
            losses |= self._work()
            if on_progress is not None:
                on_progress(self.stage, self._share_done())
            if time.perf_counter() - start >= budget_s:
                break
        if self.converged:
            self._new.clear()
        seconds = time.perf_counter() - start
        report = RoundReport(len(self._rounds), self.stage, seconds, losses, len(self._keyframes))
        self._rounds.append(report)
        return report

    def avatar(self) -> Avatar:
        """The person as known now: a grey head before the skin stage. Raises `InputError` before the first round."""
        if self._stage is None:
            raise InputError("There is no avatar yet: refine at least once.")
        return Avatar(torch.from_numpy(self._identity.copy()), self._baked(), self._focal, self._stage)

    def state(self) -> FitState:
        """Everything found, for a store. Raises `InputError` before the first round."""
        if self._stage is None:
            raise InputError("There is nothing to keep yet: refine at least once.")
        embeddings = [k.observation.embedding for k in self.keyframes if k.observation.embedding is not None]
        return FitState(
            stage=self._stage,
            focal=self._focal,
            identity=self._identity.copy(),
            w_plus=self._reflectance.w_plus,
            tuned=self._reflectance.tuned_weights(),
            maps=None if self._stage == STAGES[0] else map_arrays(self._baked()),
            keyframes=self.keyframes,
            estimates=dict(self._estimates),
            rounds=tuple(self._rounds),
            reference_embedding=np.mean(embeddings, 0).astype(np.float32) if embeddings else None,
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
            fitter._hold(keyframe)
        fitter._estimates = dict(state.estimates)
        fitter._focal, fitter._identity = state.focal, state.identity.copy()
        fitter._stage = state.stage
        fitter._rounds = list(state.rounds)
        fitter._reflectance.restore(state.w_plus, state.tuned)
        if state.maps is not None:
            fitter._maps = maps_of(state.maps)
        dense = fitter._settings.dense
        fitter._landmarks_stale = any(key not in state.estimates for key in fitter._keyframes)
        fitter._texture_stale = bool(state.keyframes)
        fitter._coarse_left = dense.coarse_steps if state.w_plus is None else 0
        fitter._inversion_left = dense.inversion_steps if state.w_plus is None else dense.refresh_steps
        fitter._tuning_left = dense.refresh_steps if state.tuned else dense.tuning_steps
        return fitter

    def fit_frame(self, observation: FaceObservation, image: Picture) -> KeyframeEstimate:
        """Pose, expression and light of a picture (H, W, 3) outside of the fit; identity and reflectance stay.

        Raises `InputError` before the first round.
        """
        avatar = self.avatar()
        keyframe = Keyframe("frame", image, observation, 0.0)
        usable = self._visibility.usable_pixels(keyframe)
        crop = crop_face(keyframe, usable, self._settings.dense.crop_resolution)
        joint = self._aligner.by_landmarks([keyframe], {}, self._focal, self._identity, HELD)
        light = self._frame_light(keyframe, joint, usable)
        for _ in range(FRAME_FLOW_ROUNDS):
            joint = self._aligner.by_flow([keyframe], [crop], joint, avatar.maps, [light], HELD)
            light = self._frame_light(keyframe, joint, usable)
        estimate = keyframe_estimate(joint, 0, light)
        return replace(estimate, loss=self._photometric_error(estimate, keyframe, crop))

    def render_estimate(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[Picture, Picture]:
        """The avatar as a picture would show it: sRGB (H, W, 3) over black, and mask (H, W), 0 or 255.

        `camera` is the tracker's; the fit's focal length replaces its own.
        """
        rendering = self._aligner.draw(estimate, self._identity, camera_of(camera, self._focal), self._baked())
        mask = np.where(rendering.mask[0, ..., 0].numpy() > 0.5, 255, 0).astype(np.uint8)
        return linear_to_bytes(rendering.image[0].numpy()), mask

    # Work, in the order of what shows soonest.

    def _work(self) -> dict[str, float]:
        if self._choice_stale:
            self._choose()
        if self._landmarks_stale:
            return self._solve_landmarks()
        if self._texture_stale:
            return self._fuse()
        if self._alignments_left:
            return self._align()
        if self._coarse_left:
            return self._invert_coarsely()
        return self._invert() if self._inversion_left else self._tune()

    def _share_done(self) -> float:
        total = self._settings.dense.inversion_steps + self._settings.dense.tuning_steps
        return 1.0 - min(total, self._inversion_left + self._tuning_left) / total

    def _choose(self) -> None:
        """Settle which keyframes are worked on and which rest."""
        self._drop_strangers()
        directions = {key: _direction(frame) for key, frame in self._keyframes.items()}
        losses = {key: self._estimates[key].loss for key in self._keyframes if key not in self._new}
        new = [key for key in self._keyframes if key in self._new]
        called = {*new, *companions(directions, losses, new, self._settings.companions)}
        for key in called:
            self._rest.wake(key)
        for key in [key for key in self._keyframes if key not in called and key not in self._rest]:
            frame, estimate = self._keyframes[key], self._estimates[key]
            shared = self._aligner.evidence_of(frame, estimate, self._focal, self._identity, measured=self._turned)
            self._rest.lay(key, self._delit[key], frame.observation.quality.sharpness, shared)
        self._active = tuple(key for key in self._keyframes if key in called)
        self._choice_stale = False

    def _frames(self) -> list[Keyframe]:
        """The keyframes that are worked on."""
        return [self._keyframes[key] for key in self._active]

    def _solve_landmarks(self) -> dict[str, float]:
        """Landmarks, and what tracks of the same and of resting keyframes have said."""
        freedom = Freedom(focal=len(self._keyframes) > 1)
        tracks = self._settings.tracks
        directions = [_direction(frame) for frame in self._keyframes.values()]
        self._turned = bool(np.degrees(_parallax(directions)) >= tracks.parallax_deg)
        known, elsewhere = self._estimates, self._rest.shared()
        heard = together([elsewhere, *self._tracked.values()])
        if heard is not None and self._tracked:
            elsewhere = heard + volume_evidence(self._model, self._identity, heard)
        frames = self._frames()
        joint = self._aligner.by_landmarks(
            frames, known, self._focal, self._identity, freedom, elsewhere, measured=self._turned
        )
        self._accept(joint)
        active = [_direction(frame) for frame in frames]
        self._shape_left = tracks.rounds if np.degrees(_parallax(active)) >= tracks.parallax_deg else 0
        if self._turned and not self._shape_left:
            # Shape was looked for with doubt in what a frame's landmarks do together; its expression is just that.
            self._accept(self._aligner.by_landmarks(frames, self._estimates, self._focal, self._identity, HELD))
        self._landmarks_stale, self._texture_stale = False, True
        # Expressions are settled last, by flow on the shape that tracks found.
        self._alignments_left = self._shape_left + 1 if self._shape_left else self._settings.alignment_rounds
        self._reached("landmarks")
        return {}

    def _align(self) -> dict[str, float]:
        known = [self._estimates[key] for key in self._active]
        joint = self._aligner.estimate_of(known, self._focal, self._identity)
        lights = [estimate.light_sh for estimate in known]
        if self._shape_left:
            self._track(joint, lights)
            self._shape_left -= 1
        else:
            crops = [self._crops[key] for key in self._active]
            self._accept(self._aligner.by_flow(self._frames(), crops, joint, self._baked(), lights, HELD))
        self._alignments_left -= 1
        self._texture_stale = True
        return {}

    def _track(self, joint: JointEstimate, lights: Sequence[FloatArray]) -> None:
        """Solve for shape by tracks. A keyframe that rests leaves two things behind: the evidence of its landmarks, and
        an equal share of what the last solve that it took part in said by tracks."""
        resolution = self._settings.tracks.resolution
        crops = [crop_face(self._keyframes[key], self._usable[key], resolution) for key in self._active]
        resting = [part for key, part in self._tracked.items() if key not in self._active]
        elsewhere = together([self._rest.shared(), *resting])
        solution = self._aligner.by_tracks(self._frames(), crops, joint, self._baked(), lights, elsewhere)
        self._accept(solution.estimate)
        self._tracked |= dict.fromkeys(self._active, solution.evidence.shared_among(len(self._active)))

    def _fuse(self) -> dict[str, float]:
        resting = self._rest.texture()
        # What flow is going to move is not worth sampling finely, unless it joins what was sampled so.
        draft = self._alignments_left > 0 and resting is None and len(self._active) >= DRAFT_FROM
        views = self._draft_views if draft else self._views
        seen = [
            views.see(
                self._estimates[key], self._identity, self._focal, self._keyframes[key].observation.camera,
                self._keyframes[key].image, self._usable[key],
            )
            for key in self._active
        ]  # fmt: skip
        prior = self._reflectance.maps()
        texture = fuse(
            views.table,
            seen,
            [frame.observation.quality.sharpness for frame in self._frames()],
            views.at_texels(prior.diffuse),
            views.at_texels(prior.specular),
            self._settings.fusion,
            self._settings.light,
            resting,
        )
        self._texture, self._texture_table, self._evidence = texture, views.table, None
        for key, light, error in zip(self._active, texture.lights, texture.errors, strict=True):
            self._estimates[key] = replace(self._estimates[key], light_sh=light, loss=error)
        self._texture_stale = False
        self._reached("skin")
        if not draft:
            self._delit |= dict(zip(self._active, texture.delit, strict=True))
        if self._alignments_left == 0:
            self._disagreements |= dict(zip(self._active, texture.disagreements, strict=True))
            self._drop_outlier()
        return {"texture": float(np.mean(texture.errors))}

    def _drop_strangers(self) -> None:
        """Drop new keyframes that show another person, before they teach the fit anything."""
        if self._embedder is None:
            return
        faces = {key: frame.observation.embedding for key, frame in self._keyframes.items()}
        known = {key: face for key, face in faces.items() if face is not None}
        while (key := stranger(known, self._embedder.same_person_distance, self._settings.consensus)) is not None:
            del known[key]
            self._drop(key, "it shows another person than the other pictures")

    def _drop_outlier(self) -> None:
        """Drop the keyframe that contradicts all others most, if one does."""
        settings = self._settings.consensus
        key = outlier(self._disagreements, self._active, settings)
        held = len(self._keyframes) + len(self._dropped)
        if key is None or len(self._dropped) + 1 > settings.largest_share * held:
            return
        self._drop(key, f"it differs from what the other pictures show by {self._disagreements[key]:.2f} of white")
        self._choose()
        self._landmarks_stale = True
        if not self._new and self._reflectance.w_plus is not None:
            self._inversion_left = self._tuning_left = 0

    def _drop(self, key: str, reason: str) -> None:
        self._dropped[key] = reason
        self.remove_keyframe(key)

    def _invert_coarsely(self) -> dict[str, float]:
        steps = min(COARSE_STEPS_PER_SLICE, self._coarse_left)
        loss = self._reflectance.invert_coarsely(self._texture_evidence(), steps)
        self._coarse_left -= steps
        self._reached("inversion")
        return {"coarse": loss}

    def _invert(self) -> dict[str, float]:
        steps = min(STEPS_PER_SLICE, self._inversion_left)
        scene = self._scene()
        losses = self._reflectance.invert(
            self._texture_evidence(), scene, self._dense_evidence(), self._embedder, steps
        )
        self._inversion_left -= steps
        self._adopt(scene)
        if self._inversion_left == 0:
            # Geometry has moved: bring the pictures into register again, then sample them where they lie now.
            self._alignments_left = 1
        self._reached("inversion")
        return losses

    def _tune(self) -> dict[str, float]:
        steps = min(STEPS_PER_SLICE, self._tuning_left)
        scene = self._scene()
        losses = self._reflectance.tune(self._texture_evidence(), scene, self._dense_evidence(), self._embedder, steps)
        self._tuning_left -= steps
        self._adopt(scene)
        self._reached("tuning" if self._tuning_left == 0 else self.stage)
        return losses

    def _reached(self, stage: str) -> None:
        if self._stage is None or STAGES.index(stage) > STAGES.index(self._stage):
            self._stage = stage
        self._maps_stale = True

    # Pieces of the state.

    def _hold(self, keyframe: Keyframe) -> None:
        usable = self._visibility.usable_pixels(keyframe)
        self._keyframes[keyframe.key] = keyframe
        self._new.add(keyframe.key)
        self._choice_stale = True
        self._usable[keyframe.key] = usable
        self._crops[keyframe.key] = crop_face(keyframe, usable, self._settings.dense.crop_resolution)

    def _accept(self, joint: JointEstimate) -> None:
        self._focal = joint.focal
        self._identity = joint.identity.astype(np.float32)
        ambient = Light.ambient().sh[0].numpy()
        for index, key in enumerate(self._active):
            light = self._estimates[key].light_sh if key in self._estimates else ambient
            self._estimates[key] = keyframe_estimate(joint, index, light)

    def _scene(self) -> SceneParameters:
        return SceneParameters(self._identity, [self._estimates[key] for key in self._active])

    def _adopt(self, scene: SceneParameters) -> None:
        self._identity = scene.identity.detach().numpy().copy()
        for index, key in enumerate(self._active):
            self._estimates[key] = scene.estimate(index, self._estimates[key].loss)

    def _frame_light(self, keyframe: Keyframe, joint: JointEstimate, usable: FloatArray) -> FloatArray:
        lights = [estimate.light_sh for estimate in self._estimates.values()]
        prior = np.mean(lights, 0).astype(np.float32)
        camera = keyframe.observation.camera
        estimate = keyframe_estimate(joint, 0, prior)
        view = self._light_views.see(estimate, self._identity, self._focal, camera, keyframe.image, usable)
        return self._light_views.light(view, self._baked(), self._settings.light, prior)

    def _photometric_error(self, estimate: KeyframeEstimate, keyframe: Keyframe, crop: FaceCrop) -> float:
        """Root mean square over the face, sRGB-encoded units."""
        camera = crop.camera(camera_of(keyframe.observation.camera, self._focal))
        rendering = self._aligner.draw(estimate, self._identity, camera, self._baked())
        target = torch.from_numpy(crop.image).float() / 255.0
        weight = torch.from_numpy(crop.usable)[..., None] * rendering.mask[0]
        squared = (linear_to_srgb(rendering.image[0]) - target).square().mean(-1, keepdim=True)
        return float(((squared * weight).sum() / weight.sum().clamp(min=1e-6)).sqrt())

    def _baked(self) -> ReflectanceMaps:
        if self._maps_stale and self._texture is not None:
            inverted = self._reflectance.w_plus is not None
            maps = bake(self._texture_table, self._texture, self._reflectance.maps(), inverted)
            resolution = self._settings.map_resolution
            self._maps = maps if maps.diffuse.shape[1] == resolution else enlarge(maps, resolution)
            self._maps_stale = False
        return self._maps

    def _texture_evidence(self) -> TextureEvidence:
        if self._texture is None:
            raise InputError("The fit holds no texture yet: it must reach the skin stage before the generator's.")
        if self._evidence is None:
            albedo = torch.from_numpy(self._texture_table.to_filled_map(self._texture.albedo))[None]
            confidence = torch.from_numpy(self._texture_table.to_map(self._texture.confidence[:, None]))[None]
            whole = TextureEvidence(linear_to_srgb(albedo), confidence)
            self._evidence = whole.at(self._reflectance.resolution)
        return self._evidence

    def _dense_evidence(self) -> list[DenseEvidence]:
        evidence = []
        for key in self._active:
            keyframe, crop = self._keyframes[key], self._crops[key]
            camera = crop.camera(camera_of(keyframe.observation.camera, self._focal))
            landmarks = crop.to_window(keyframe.observation.landmarks.astype(np.float64)).astype(np.float32)
            sigma = landmark_sigma(self._model, landmarks, self._settings.landmarks)
            if self._embedder is not None and key not in self._faces:
                target = torch.from_numpy(crop.image)[None].float() / 255.0
                self._faces[key] = target_face(self._embedder, target, landmarks)
            evidence.append(DenseEvidence(crop, camera, landmarks, sigma, self._faces.get(key)))
        return evidence


def _direction(keyframe: Keyframe) -> npt.NDArray[np.float64]:
    """Yaw and pitch (2,) of the head as tracked, radians."""
    return np.array(keyframe.observation.pose.yaw_pitch_roll()[:2])


def _parallax(directions: Sequence[npt.NDArray[np.float64]]) -> float:
    """Largest distance between two of some heads' yaws and pitches (2,), radians."""
    stacked = np.stack(directions)  # (N, 2)
    return float(np.linalg.norm(stacked[:, None] - stacked[None], axis=-1).max())
