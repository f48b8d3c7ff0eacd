"""Settings of `fitme drive`: `configs/drive.yaml`, overridden by the command line."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from fitme.motion.settings import MotionSettings
from fitme.track.settings import NetworkSettings, TrackerSettings


@dataclass(frozen=True)
class CaptureSettings:
    """Camera of this machine; it may choose other values that it has."""

    width: Annotated[int, Meta(ge=160, le=3840)] = 640
    height: Annotated[int, Meta(ge=120, le=2160)] = 480
    frames_per_second: Annotated[float, Meta(ge=1.0, le=240.0)] = 60.0


@dataclass(frozen=True)
class VirtualCameraSettings:
    """Virtual camera; the avatar is drawn in its middle."""

    width: Annotated[int, Meta(ge=160, le=3840)] = 640
    height: Annotated[int, Meta(ge=120, le=2160)] = 480
    frames_per_second: Annotated[float, Meta(ge=1.0, le=120.0)] = 30.0
    background: tuple[float, float, float] = (0.0, 0.69, 0.25)
    """sRGB-encoded, [0, 1]: a green that programs can key out."""


@dataclass(frozen=True)
class DriveTrackerSettings(TrackerSettings):
    """Tracking of whoever is before the camera: persons are not told apart, what covers faces is not searched."""

    face_search_period_s: Annotated[float, Meta(ge=0.0)] = 1e9
    occlusion_period_s: Annotated[float, Meta(ge=0.0)] = 1e9
    embedding_period_s: Annotated[float, Meta(ge=0.0)] = 1e9


@dataclass(frozen=True)
class DriveSettings:
    """All settings of `fitme drive`."""

    camera: CaptureSettings = field(default_factory=CaptureSettings)
    virtual_camera: VirtualCameraSettings = field(default_factory=VirtualCameraSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    tracker: DriveTrackerSettings = field(default_factory=DriveTrackerSettings)
