"""One session in the live process: camera frames in; events, keyframes and renders out."""

import math
import time
from collections.abc import Callable

import numpy as np

from fitme.geometry import HeadPose
from fitme.session.folder import is_session
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import landmark_backend
from fitme.track.observation import FaceObservation, FaceStatus, status_of
from fitme.track.tracker import FrameTracker
from stream.engine.avatar_view import AvatarView
from stream.engine.expression_selection import ExpressionSelector
from stream.engine.frame_slots import CameraFrame, FrameSlots
from stream.engine.keyframe_selection import KeyframeSelector
from stream.engine.messages import (
    DropExpressionFrame,
    DropKeyframe,
    FitOpened,
    Fitted,
    FittedCorrectives,
    KeepExpressionFrame,
    KeepKeyframe,
    Open,
    Show,
    Tell,
)
from stream.protocol.events import LANDMARK_SCALE, Event, TrackingEvent
from stream.protocol.protocol import Mode, PromptCode
from stream.protocol.render import Codec, Render
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

Send = Callable[[object], None]

_STATUS_PROMPTS = {
    FaceStatus.NO_FACE: PromptCode.SHOW_FACE,
    FaceStatus.SEVERAL_FACES: PromptCode.ONE_PERSON,
    FaceStatus.OTHER_PERSON: PromptCode.SAME_PERSON,
}


class LiveSession:
    """Tracks the newest frame, offers it as a keyframe, and draws when a render is requested and there is news."""

    def __init__(
        self, opened: Open, model: MorphableModel, settings: ServeSettings, to_web: Send, to_fit: Send
    ) -> None:
        """
        :raises FileNotFoundError: if the session's shared memory is gone: it was closed meanwhile.
        """
        self.id = opened.session
        self._settings = settings
        self._to_web, self._to_fit = to_web, to_fit
        self._slots = FrameSlots.attach(opened.frames_name, opened.max_pixels)
        self._scene = opened.scene
        self._tracker = FrameTracker(model, backend=landmark_backend(settings.networks))
        self._selector = KeyframeSelector()
        self._expressions = ExpressionSelector(model, settings.fit.expression_frames)
        self._earlier_known = not is_session(opened.folder)
        self._view = AvatarView(model, settings.render)
        self._frame: CameraFrame | None = None
        self._observation: FaceObservation | None = None
        self._render_requested = False
        self._news = True
        self._sequence = 0
        self._due_s = 0.0
        self._tracking_due_s = 0.0

    def close(self) -> None:
        """Release the tracker and the shared memory."""
        self._tracker.close()
        self._slots.close()

    def set_scene(self, scene: Scene) -> None:
        """Draw under other controls from now on."""
        self._scene, self._news = scene, True

    def request_render(self) -> None:
        """The web process waits for a render."""
        self._render_requested = True

    def resume(self, opened: FitOpened) -> None:
        """Choose pictures from now on beside those of an earlier process, if there was one."""
        for keyframe in opened.keyframes:
            self._selector.restore(keyframe)
        for picture in opened.expression_frames:
            self._expressions.restore(picture)
        self._earlier_known = True
        if opened.keyframes:
            self._tell(self._selector.coverage())

    def wear(self, fitted: FittedCorrectives) -> None:
        """Change the skin with the expression from now on."""
        self._view.wear(fitted)
        self._news = True

    def adopt(self, fitted: Fitted) -> None:
        """Draw and track with what a round found."""
        self._view.adopt(fitted)
        self._tracker.set_identity(fitted.identity)
        self._tracker.set_focal(fitted.focal)
        if fitted.reference_embedding is not None:
            self._tracker.set_reference_embedding(fitted.reference_embedding)
        self._news = True

    def step(self) -> float:
        """Do what there is to do; returns after how many seconds to come again, infinity if not before a message."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return self._due_s - now_s
        frame = self._slots.take()
        if frame is not None:
            self._track(frame)
        wanted = self._render_requested and (self._news or self._scene.mode is Mode.TURNTABLE)
        if wanted:
            self._draw(now_s)
        if wanted or frame is not None:
            # Late steps do not shift the later ones, unless they are very late.
            self._due_s = max(self._due_s + 1.0 / self._settings.render.per_second, now_s)
            return max(0.0, self._due_s - time.monotonic())
        return math.inf

    def _track(self, frame: CameraFrame) -> None:
        previous = self._frame
        if previous is not None and (
            previous.image.shape != frame.image.shape or previous.capture_time_s >= frame.capture_time_s
        ):
            self._tracker.reset()  # another camera, or another format of it
        observation = self._tracker.track(frame.image, frame.received_time_s)
        self._frame, self._observation = frame, observation
        if self._scene.mode is Mode.MIRROR:
            self._news = True
        if observation is not None and self._earlier_known:
            self._consider(frame, observation)
        now_s = time.monotonic()
        if now_s >= self._tracking_due_s:
            self._tracking_due_s = now_s + 1.0 / self._settings.camera.tracking_events_per_second
            self._tell(self._tracking_event(frame, observation))

    def _consider(self, frame: CameraFrame, observation: FaceObservation) -> None:
        keyframe, dropped = self._selector.offer(frame.image, observation, frame.received_time_s)
        for key in dropped:
            self._to_fit(DropKeyframe(self.id, key))
        if keyframe is not None:
            self._to_fit(KeepKeyframe(self.id, keyframe))
            self._tell(self._selector.coverage())
            return
        picture, dropped = self._expressions.offer(
            frame.image, observation, frame.received_time_s, self._selector.keyframes
        )
        for key in dropped:
            self._to_fit(DropExpressionFrame(self.id, key))
        if picture is not None:
            self._to_fit(KeepExpressionFrame(self.id, picture))

    def _draw(self, now_s: float) -> None:
        seen, frame = self._observation, self._frame
        pose, expression = (None, None) if seen is None else (seen.pose, seen.expression)
        image = self._view.draw(self._scene, pose, expression, now_s)
        payload = self._view.encode(image)
        self._sequence += 1
        render = Render(
            sequence=self._sequence,
            codec=Codec.JPEG,
            stage=self._view.stage.position,
            width=image.shape[1],
            height=image.shape[0],
            capture_time_s=0.0 if frame is None else frame.capture_time_s,
            received_time_s=0.0 if frame is None else frame.received_time_s,
            rendered_time_s=time.monotonic(),
            sent_time_s=0.0,
            pose=(0.0,) * 6 if pose is None else _pose_values(pose),
            rounds=self._view.rounds,
            payload=payload,
        )
        self._render_requested = self._news = False
        self._to_web(Show(self.id, render))

    def _tracking_event(self, frame: CameraFrame, observation: FaceObservation | None) -> TrackingEvent:
        height, width = frame.image.shape[:2]
        landmarks = None
        if observation is not None:
            steps = observation.landmarks * (LANDMARK_SCALE / np.array([width, height], np.float32))
            landmarks = tuple(np.rint(steps).astype(int).flatten().tolist())
        quality = None if observation is None else observation.quality
        status = status_of(observation)
        return TrackingEvent(
            status=status.value,
            prompt=_STATUS_PROMPTS.get(status) or self._selector.prompt(),
            capture_time_s=frame.capture_time_s,
            frame_width=width,
            frame_height=height,
            landmarks=landmarks,
            pose=None if observation is None else _pose_values(observation.pose),
            sharpness=None if quality is None else quality.sharpness,
            exposure=None if quality is None else quality.exposure,
            face_size_px=None if quality is None else quality.face_size_px,
            occlusion=None if quality is None else quality.occlusion,
        )

    def _tell(self, event: Event) -> None:
        self._to_web(Tell(self.id, event))


def _pose_values(pose: HeadPose) -> tuple[float, float, float, float, float, float]:
    yaw, pitch, roll = pose.yaw_pitch_roll()
    x, y, z = (float(value) for value in pose.translation)
    return yaw, pitch, roll, x, y, z
