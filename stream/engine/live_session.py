"""One session in the live process: camera frames in; events, keyframes and renders out."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array
from fitme.geometry import HeadPose
from fitme.motion.rotations import axis_angle_of_rotation
from fitme.session.folder import is_session
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import landmark_backend
from fitme.track.motion import motion_of
from fitme.track.observation import FaceObservation, FaceStatus, status_of
from fitme.track.tracker import FrameTracker
from stream.engine.avatar_view import AvatarView
from stream.engine.frame_selection import FrameSelection
from stream.engine.frame_slots import CameraFrame, FrameSlots
from stream.engine.messages import (
    FitOpened,
    Fitted,
    FittedCorrectives,
    FittedGlasses,
    FittedHair,
    OpenSession,
    SessionEvent,
    SessionParameters,
    SessionRender,
)
from stream.protocol.events import LANDMARK_SCALE, Event, TrackingEvent
from stream.protocol.parameters import Parameters
from stream.protocol.protocol import Mode, PromptCode
from stream.protocol.render import Codec, Render
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

JITTER_SHARE = 0.5
"""Share of the period between two frames by which one may come early and is tracked all the same."""

Send = Callable[[object], None]

_STATUS_PROMPTS = {
    FaceStatus.NO_FACE: PromptCode.SHOW_FACE,
    FaceStatus.SEVERAL_FACES: PromptCode.ONE_PERSON,
    FaceStatus.OTHER_PERSON: PromptCode.SAME_PERSON,
}


class LiveSession:
    """Tracks the newest frame, offers it to the fit, and draws when a render is requested and something has changed."""

    def __init__(
        self, opened: OpenSession, model: MorphableModel, settings: ServeSettings, to_web: Send, to_fit: Send
    ) -> None:
        """
        :raises FileNotFoundError: if the session's shared memory is gone: it was closed meanwhile.
        """
        self.id = opened.session
        self.folder, self.secret = opened.folder, opened.secret
        self._settings = settings
        self._to_web, self._to_fit = to_web, to_fit
        self._slots = FrameSlots.attach(opened.frames_name, opened.max_pixels)
        self._scene = opened.scene
        self._tracker = FrameTracker(model, settings=settings.tracker, backend=landmark_backend(settings.networks))
        self._selection = FrameSelection(self.id, model, self._tracker, settings, to_fit)
        # An object store is asked by the fit process alone: this one serves others meanwhile.
        self._stored_known = isinstance(opened.folder, Path) and not is_session(opened.folder)
        self._view = AvatarView(model, settings.render)
        self._frame: CameraFrame | None = None
        self._observation: FaceObservation | None = None
        self._driven: Parameters | None = None
        """Motion of another program under which the avatar is drawn."""
        self._check_due_s = 0.0
        self._unchecked = False
        """`_observation` is to be checked, and has not been checked and offered to the fit yet."""
        self._render_requested = False
        self._changed = True
        self._sequence = 0
        self._frame_due_s = self._render_due_s = self._event_due_s = 0.0

    def close(self) -> None:
        """Release the tracker, the renderer and the shared memory."""
        self._tracker.close()
        self._view.close()
        self._slots.close()

    def set_scene(self, scene: Scene) -> None:
        """Draw under other controls from now on."""
        self._scene, self._changed = scene, True

    def drive(self, parameters: bytes | None) -> None:
        """Draw under packed parameters of another program from now on; under the camera's again if None."""
        self._driven = None if parameters is None else Parameters.unpack(parameters)
        self._changed = True

    def request_render(self) -> None:
        """Draw one render for the web process as soon as something has changed."""
        self._render_requested = True

    def resume(self, opened: FitOpened) -> None:
        """Select frames from now on beside those that the fit has read from the store."""
        if self._stored_known:
            return  # a new session: frames may have been selected already
        self._selection.restore(opened)
        self._stored_known = True
        self._send_event(self._selection.coverage())

    def detach_fit(self) -> None:
        """Select no frames until another fit process has read the session from the store."""
        self._stored_known = False

    def set_correctives(self, fitted: FittedCorrectives) -> None:
        """Blend these albedo correctives by the expression from now on."""
        self._view.set_correctives(fitted)
        self._changed = True

    def set_glasses(self, fitted: FittedGlasses) -> None:
        """Draw these glasses from now on."""
        self._view.set_glasses(fitted)

    def set_hair(self, fitted: FittedHair) -> None:
        """Draw this hair from now on."""
        self._view.set_hair(fitted)
        self._changed = True

    def adopt(self, fitted: Fitted) -> None:
        """Draw and track with the head of this round."""
        self._view.adopt(fitted)
        self._tracker.set_identity(fitted.identity)
        self._tracker.set_focal(fitted.focal)
        self._changed = True

    def step(self) -> float:
        """Do what there is to do; returns after how many seconds to come again, infinity if not before a message."""
        now_s = time.monotonic()
        next_s = math.inf
        period_s = 1.0 / self._settings.camera.tracked_per_second
        if now_s < self._frame_due_s:
            next_s = self._frame_due_s
        elif (frame := self._slots.take()) is not None:
            self.check()
            self._track(frame)
            # Early and late frames of a camera with this very rate wait for nothing.
            next_s = self._frame_due_s = max(self._frame_due_s + period_s, now_s + (1.0 - JITTER_SHARE) * period_s)
        if self._render_requested and (self._changed or self._scene.mode is Mode.TURNTABLE):
            if now_s >= self._render_due_s:
                self._draw(now_s)
                # A late render does not shift the later ones, unless it is very late.
                self._render_due_s = max(self._render_due_s + 1.0 / self._settings.render.per_second, now_s)
            next_s = min(next_s, self._render_due_s)
        return max(0.0, next_s - time.monotonic())

    def _track(self, frame: CameraFrame) -> None:
        previous = self._frame
        if previous is not None and (
            previous.image.shape != frame.image.shape or previous.capture_time_s >= frame.capture_time_s
        ):
            self._tracker.reset()  # another camera, or another format of it
        observation = self._tracker.track_pose(frame.image, frame.received_time_s)
        self._frame, self._observation = frame, observation
        self._unchecked = observation is not None and time.monotonic() >= self._check_due_s
        if self._scene.mode is Mode.MIRROR:
            self._changed = True
        self._send_parameters(frame, observation)
        if observation is None:
            self._report(frame, None)

    def check(self) -> bool:
        """Check the frame that was tracked last, offer it to the fit and report it, unless that is done; whether there
        was such a frame.

        That takes longer than tracking at times, and pages do not wait for it: other sessions' frames come first.
        """
        frame, observation = self._frame, self._observation
        if not self._unchecked or frame is None or observation is None:
            return False
        self._unchecked = False
        self._check_due_s = time.monotonic() + 1.0 / self._settings.camera.checked_per_second
        observation = self._observation = self._tracker.check(frame.image, observation, frame.received_time_s)
        self._consider(frame, observation)
        self._report(frame, observation)
        return True

    def _report(self, frame: CameraFrame, observation: FaceObservation | None) -> None:
        now_s = time.monotonic()
        if now_s >= self._event_due_s:
            self._event_due_s = now_s + 1.0 / self._settings.camera.tracking_events_per_second
            self._send_event(self._tracking_event(frame, observation))

    def _send_parameters(self, frame: CameraFrame, observation: FaceObservation | None) -> None:
        """Send the pages that draw for themselves what the frame shows. First of all that is done with it."""
        motion = motion_of(observation, frame.received_time_s)
        parameters = Parameters(
            sequence=0,  # counted where they are sent to the pages
            tracked=motion.tracked,
            capture_time_s=frame.capture_time_s,
            received_time_s=frame.received_time_s,
            delay_s=time.monotonic() - frame.received_time_s,
            rotation=motion.rotation,
            position=motion.position,
            gaze=motion.gaze,
            weights=motion.weights,
        )
        self._to_web(SessionParameters(self.id, parameters.pack()))

    def _consider(self, frame: CameraFrame, observation: FaceObservation) -> None:
        """Offer a frame to the fit, once it is known which frames that has."""
        if not self._stored_known:
            return
        if self._selection.consider(frame.image, observation, frame.received_time_s):
            self._send_event(self._selection.coverage())

    def _draw(self, now_s: float) -> None:
        frame = self._frame
        pose, expression = self._shown_motion()
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
        self._render_requested = self._changed = False
        self._to_web(SessionRender(self.id, render))

    def _shown_motion(self) -> tuple[HeadPose | None, Float32Array | None]:
        """Pose and expression (52,) under which the avatar is drawn; None while there is no face."""
        if (driven := self._driven) is None:
            seen = self._observation
            return (None, None) if seen is None else (seen.pose, seen.expression)
        if not driven.tracked:
            return None, None
        rotation = np.array(axis_angle_of_rotation(driven.rotation), np.float32)
        return HeadPose(rotation, np.array(driven.position, np.float32)), np.array(driven.weights, np.float32)

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
            prompt=_STATUS_PROMPTS.get(status) or self._selection.prompt(),
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

    def _send_event(self, event: Event) -> None:
        self._to_web(SessionEvent(self.id, event))


def _pose_values(pose: HeadPose) -> tuple[float, float, float, float, float, float]:
    yaw, pitch, roll = pose.yaw_pitch_roll()
    x, y, z = (float(value) for value in pose.translation)
    return yaw, pitch, roll, x, y, z
