"""`fitme drive`: motion of a camera, a video, a take or another program, to other programs."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitme.errors import ConfigError, InputError

if TYPE_CHECKING:
    from fitme.avatar import Avatar
    from fitme.commands.drive.frames import TimedFrame
    from fitme.commands.drive.run import Driven, OpenOutput, OpenSource
    from fitme.commands.drive.settings import DriveSettings
    from fitme.commands.drive.tracked_source import TrackedSource
    from fitme.motion.endpoints import MotionOutput, MotionSource
    from fitme.track.tracker import FrameTracker

CAMERA, VIRTUAL_CAMERA = "camera", "virtualcam"


def drive(
    source: Annotated[
        str,
        typer.Option(
            help="camera or camera:1, a video, a take (.jsonl), or an address: vmc://, livelink://, websocket:// or "
            "ws://; 0.0.0.0 as host listens to other machines."
        ),
    ] = CAMERA,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="Where motion goes; may be repeated: vmc://HOST, livelink://HOST/SUBJECT, websocket://127.0.0.1 "
            "(listens), ws://HOST:PORT (connects), FILE.jsonl (records a take), or virtualcam (needs --avatar)."
        ),
    ] = None,
    avatar: Annotated[
        Path | None, typer.Option(help="Folder that `fitme fit` wrote: tracked with its shape, drawn by virtualcam.")
    ] = None,
    repeat: Annotated[bool, typer.Option(help="Play a take again and again.")] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; see configs/drive.yaml.")] = None,
) -> None:
    """Send pose, gaze and ARKit's 52 weights to VSeeFace, Warudo, Unity, Unreal, Blender, pages, calls, or a file.

    Ctrl-C ends it. Nothing of the camera's images leaves this program.
    """
    from fitme.commands.drive.settings import DriveSettings
    from fitme.configuration import load_settings
    from fitme.quiet import quiet_libraries

    settings = DriveSettings() if config is None else load_settings(DriveSettings, config)
    if not to:
        raise ConfigError("name a receiver: --to vmc://127.0.0.1, livelink://HOST, websocket://127.0.0.1 or FILE.jsonl")
    with quiet_libraries():
        driven = _Drive(source, tuple(to), avatar, repeat, settings).run()
    _report(f"sent {driven}")


def _report(text: str) -> None:
    print(f"fitme: {text}", file=sys.stderr, flush=True)


class _Drive:
    """What the command line asks for."""

    def __init__(
        self, source: str, to: tuple[str, ...], avatar: Path | None, repeat: bool, settings: "DriveSettings"
    ) -> None:
        self._source = source
        self._to = to
        self._avatar_path = avatar
        self._repeat = repeat
        self._settings = settings

    def run(self) -> "Driven":
        from fitme.commands.drive.run import convert
        from fitme.commands.drive.run import drive as drive_motion

        # What can be wrong with names is found before models are read.
        outputs = [self._output(text) for text in self._to]
        avatar = self._avatar()
        outputs = [self._virtual_camera(avatar) if opened is None else opened for opened in outputs]
        opened = [output for output in outputs if output is not None]
        if self._is_video and all(_is_take(text) for text in self._to):
            from fitme.commands.drive.frames import video_frames
            from fitme.commands.drive.tracked_source import tracked_motion

            motions = tracked_motion(video_frames(Path(self._source)), self._tracker(avatar))
            return asyncio.run(convert(motions, opened))
        source = self._open_source(avatar)
        _report(f"{self._source} -> {', '.join(self._to)}; Ctrl-C ends")
        return asyncio.run(drive_motion(source, opened, _report))

    @property
    def _is_video(self) -> bool:
        from fitme.motion.addresses import is_address

        return not (self._camera is not None or is_address(self._source) or _is_take(self._source))

    @property
    def _camera(self) -> int | None:
        """Number of the camera; None if the source is something else."""
        name, _, number = self._source.partition(":")
        if name != CAMERA or (number and not number.isdecimal()):
            return None
        return int(number or 0)

    def _avatar(self) -> "Avatar | None":
        if self._avatar_path is None:
            return None
        from fitme.avatar import Avatar

        return Avatar.load(self._avatar_path)

    def _output(self, text: str) -> "OpenOutput | None":
        """Function that opens an output; None for the virtual camera, which needs the avatar."""
        from fitme.motion.addresses import parse_address
        from fitme.motion.endpoints import TakeOutput, open_output

        if text == VIRTUAL_CAMERA:
            if self._avatar_path is None:
                raise ConfigError("--to virtualcam draws an avatar: name one that `fitme fit` wrote, with --avatar")
            return None
        if _is_take(text):

            async def record() -> "MotionOutput":
                return TakeOutput(Path(text), self._source)

            return record
        address = parse_address(text)
        return lambda: open_output(address, self._settings.motion, _report)

    def _virtual_camera(self, avatar: "Avatar | None") -> "OpenOutput":
        from fitme.commands.drive.virtual_camera import AvatarFrames, VirtualCameraOutput, open_virtual_camera
        from fitme.shape.model_file import load_default_model

        assert avatar is not None
        settings = self._settings.virtual_camera
        device = open_virtual_camera(settings)
        frames = AvatarFrames(avatar, load_default_model(), settings)

        async def open_output() -> "MotionOutput":
            _report(f"the virtual camera is {device.device}")
            return VirtualCameraOutput(frames, device)

        return open_output

    def _open_source(self, avatar: "Avatar | None") -> "OpenSource":
        from fitme.motion.addresses import is_address, parse_address
        from fitme.motion.endpoints import TakeSource, open_source
        from fitme.motion.take import read_take

        if is_address(self._source):
            address = parse_address(self._source)
            return lambda: open_source(address, _report)
        if _is_take(self._source):
            take = read_take(Path(self._source))

            async def play() -> "MotionSource":
                return TakeSource(take, repeat=self._repeat)

            return play
        open_frames, tracker = self._frames(), self._tracker(avatar)

        async def track() -> "MotionSource":
            from fitme.commands.drive.tracked_source import TrackedSource

            return TrackedSource(open_frames, tracker)

        return track

    def _frames(self) -> "Callable[[TrackedSource], Iterator[TimedFrame]]":
        from fitme.commands.drive.frames import camera_frames, in_real_time, video_frames

        if (number := self._camera) is not None:
            return lambda _: camera_frames(number, self._settings.camera)
        path = Path(self._source)
        if not path.is_file():
            raise InputError(f"{path}: there is no such file, nor is it camera, camera:1 or an address like vmc://HOST")
        return lambda tracked: in_real_time(video_frames(path), tracked.wait)

    def _tracker(self, avatar: "Avatar | None") -> "FrameTracker":
        from fitme.shape.model_file import load_default_model
        from fitme.track.factory import landmark_backend
        from fitme.track.tracker import FrameTracker

        backend = landmark_backend(self._settings.networks)
        tracker = FrameTracker(load_default_model(), settings=self._settings.tracker, backend=backend)
        if avatar is not None:
            tracker.set_identity(avatar.identity.numpy())
        return tracker


def _is_take(text: str) -> bool:
    from fitme.motion.take import SUFFIX

    return text.lower().endswith(SUFFIX)
