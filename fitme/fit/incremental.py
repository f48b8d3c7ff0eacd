"""The fit as a whole: keyframes in at any time, refinement in slices of time, the avatar out at any moment."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from fitme.avatar import Avatar
from fitme.color import linear_to_bytes, linear_to_srgb
from fitme.errors import InputError
from fitme.fit.alignment import HeadAligner, camera_of
from fitme.fit.baking import bake, grey_maps, map_arrays, maps_of
from fitme.fit.crop import FaceCrop, crop_face
from fitme.fit.fusion import FusedTexture, fuse
from fitme.fit.gauss_newton import Freedom, JointEstimate
from fitme.fit.inversion import ReflectanceFit, TextureEvidence
from fitme.fit.keyframe import Keyframe
from fitme.fit.landmarks import pose_of
from fitme.fit.photometric import DenseEvidence, SceneParameters, landmark_sigma
from fitme.fit.settings import FitSettings
from fitme.fit.state import STAGES, FitState, KeyframeEstimate, RoundReport
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
LIGHT_RESOLUTION = 96
"""Side of the map whose texels give a single frame's light."""
FRAME_FLOW_ROUNDS = 2
"""Alternations of flow and light for a frame outside of the fit."""
HELD = Freedom(identity=False, focal=False)
"""Dense matches place the head; who it is stays with landmarks and photometric terms, which flow would overfit."""


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
        self._light_views = TexelViews(model, backend, LIGHT_RESOLUTION)
        self._keyframes: dict[str, Keyframe] = {}
        self._usable: dict[str, FloatArray] = {}
        self._crops: dict[str, FaceCrop] = {}
        self._estimates: dict[str, KeyframeEstimate] = {}
        self._focal = self._settings.solver.focal_prior
        self._identity: FloatArray = np.zeros(model.identity_count, np.float32)
        self._stage: str | None = None
        self._texture: FusedTexture | None = None
        self._rounds: list[RoundReport] = []
        self._maps: ReflectanceMaps = grey_maps()
        self._maps_stale = self._landmarks_stale = self._texture_stale = False
        self._alignments_left = self._coarse_left = self._inversion_left = self._tuning_left = 0

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
        for held in (self._keyframes, self._usable, self._crops, self._estimates):
            held.pop(key, None)
        self._texture_stale = bool(self._keyframes) and self._stage is not None

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The pictures held, in order of arrival."""
        return tuple(self._keyframes.values())

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
        estimate = _estimate(joint, 0, light)
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

    def _solve_landmarks(self) -> dict[str, float]:
        freedom = Freedom(focal=len(self._keyframes) > 1)
        self._accept(self._aligner.by_landmarks(self.keyframes, self._estimates, self._focal, self._identity, freedom))
        self._landmarks_stale, self._texture_stale = False, True
        self._alignments_left = self._settings.alignment_rounds
        self._reached("landmarks")
        return {}

    def _align(self) -> dict[str, float]:
        known = [self._estimates[key] for key in self._keyframes]
        joint = self._aligner.estimate_of(known, self._focal, self._identity)
        crops = [self._crops[key] for key in self._keyframes]
        lights = [estimate.light_sh for estimate in known]
        self._accept(self._aligner.by_flow(self.keyframes, crops, joint, self._baked(), lights, HELD))
        self._alignments_left -= 1
        self._texture_stale = True
        return {}

    def _fuse(self) -> dict[str, float]:
        views = [
            self._views.see(
                self._estimates[key], self._identity, self._focal, frame.observation.camera, frame.image,
                self._usable[key],
            )
            for key, frame in self._keyframes.items()
        ]  # fmt: skip
        prior = self._reflectance.maps()
        self._texture = fuse(
            self._views.table,
            views,
            [frame.observation.quality.sharpness for frame in self.keyframes],
            self._views.at_texels(prior.diffuse),
            self._views.at_texels(prior.specular),
            self._settings.fusion,
            self._settings.light,
        )
        for key, light, error in zip(self._keyframes, self._texture.lights, self._texture.errors, strict=True):
            self._estimates[key] = replace(self._estimates[key], light_sh=light, loss=error)
        self._texture_stale = False
        self._reached("skin")
        return {"texture": float(np.mean(self._texture.errors))}

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
        self._usable[keyframe.key] = usable
        self._crops[keyframe.key] = crop_face(keyframe, usable, self._settings.dense.crop_resolution)

    def _accept(self, joint: JointEstimate) -> None:
        self._focal = joint.focal
        self._identity = joint.identity.astype(np.float32)
        ambient = Light.ambient().sh[0].numpy()
        for index, key in enumerate(self._keyframes):
            light = self._estimates[key].light_sh if key in self._estimates else ambient
            self._estimates[key] = _estimate(joint, index, light)

    def _scene(self) -> SceneParameters:
        return SceneParameters(self._identity, [self._estimates[key] for key in self._keyframes])

    def _adopt(self, scene: SceneParameters) -> None:
        self._identity = scene.identity.detach().numpy().copy()
        for index, (key, old) in enumerate(list(self._estimates.items())):
            self._estimates[key] = scene.estimate(index, old.loss)

    def _frame_light(self, keyframe: Keyframe, joint: JointEstimate, usable: FloatArray) -> FloatArray:
        lights = [estimate.light_sh for estimate in self._estimates.values()]
        prior = np.mean(lights, 0).astype(np.float32)
        camera = keyframe.observation.camera
        estimate = _estimate(joint, 0, prior)
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
            self._maps = bake(self._views.table, self._texture, self._reflectance.maps(), inverted)
            self._maps_stale = False
        return self._maps

    def _texture_evidence(self) -> TextureEvidence:
        if self._texture is None:
            raise InputError("The fit holds no texture yet: it must reach the skin stage before the generator's.")
        albedo = torch.from_numpy(self._views.table.to_filled_map(self._texture.albedo))[None]
        confidence = torch.from_numpy(self._views.table.to_map(self._texture.confidence[:, None]))[None]
        return TextureEvidence(linear_to_srgb(albedo), confidence).at(self._reflectance.resolution)

    def _dense_evidence(self) -> list[DenseEvidence]:
        evidence = []
        for key, keyframe in self._keyframes.items():
            crop = self._crops[key]
            camera = crop.camera(camera_of(keyframe.observation.camera, self._focal))
            landmarks = crop.to_window(keyframe.observation.landmarks.astype(np.float64)).astype(np.float32)
            sigma = landmark_sigma(self._model, landmarks, self._settings.landmarks)
            evidence.append(DenseEvidence(crop, camera, landmarks, sigma))
        return evidence


def _estimate(joint: JointEstimate, index: int, light: FloatArray) -> KeyframeEstimate:
    expression = joint.expressions[index].astype(np.float32)
    return KeyframeEstimate(pose_of(joint, index), expression, light, float("nan"))
