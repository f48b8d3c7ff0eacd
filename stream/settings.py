"""Settings of the live service: `configs/serve.yaml`, overridden by the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from fitme.configuration import bounded


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, as `RTCIceServer` of the browser has it."""

    urls: tuple[str, ...] = ()
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True)
class SessionSettings:
    """Limits and time-outs of sessions."""

    limit: int = bounded(2, 1, 64)
    """Sessions at a time; a further one is answered 503 with `Retry-After`."""
    grace_s: float = bounded(60.0, 0.0, 86_400.0)
    """A session without a camera and without a page ends after this time."""
    connect_timeout_s: float = bounded(20.0, 0.1, 600.0)
    """A camera that has sent no frame by then is closed."""
    silence_timeout_s: float = bounded(10.0, 0.1, 600.0)
    """A camera that has sent no frame for this long is closed."""
    retry_after_s: int = bounded(10, 1, 3600)
    """`Retry-After` of answers while the server is full or its engine is starting."""
    watchers_limit: int = bounded(8, 1, 256)
    """Websockets that may watch one session."""


@dataclass(frozen=True)
class CameraSettings:
    """Video of the person."""

    max_pixels: int = bounded(1280 * 720, 160 * 120, 3840 * 2160)
    """Larger frames are shrunk on arrival."""
    tracking_events_per_second: float = bounded(10.0, 0.1, 60.0)


@dataclass(frozen=True)
class RenderSettings:
    """Renders of the avatar."""

    size_px: int = bounded(512, 64, 2048)
    per_second: float = bounded(20.0, 1.0, 60.0)
    """Upper limit for each session, of renders and of camera frames that are tracked."""
    jpeg_quality: int = bounded(85, 10, 100)


@dataclass(frozen=True)
class FitSettings:
    """Fit of a session, and its share of the machine."""

    slice_s: float = bounded(1.0, 0.05, 30.0)
    """Time budget of one round; a new keyframe waits at most this long."""
    collect_s: float = bounded(5.0, 0.0, 600.0)
    """The first keyframe is fitted at once, those of the time after it together; later ones wait until the first full
    fit is done, since each takes the fit some steps back."""
    adopt_period_s: float = bounded(8.0, 0.0, 600.0)
    """Interval between later batches of keyframes."""
    batch: int = bounded(5, 1, 100)
    """Keyframes that are added at a time at most, most novel head directions first."""
    expression_frames: int = bounded(24, 0, 64)
    """Further frames at most of which, once the fit has converged, only expression correctives are extracted."""
    alignment_rounds: int = bounded(1, 0, 100)
    coarse_steps: int = bounded(16, 1, 10_000)
    inversion_steps: int = bounded(8, 1, 10_000)
    tuning_steps: int = bounded(8, 1, 10_000)
    """Effort of the first full fit, as in `fitme.fit.settings`: less than for a recording, since a person waits for it
    and later keyframes add to it."""
    niceness: int = bounded(5, 0, 19)
    """Lower priority than renders and sockets."""
    threads: int = bounded(1, 1, 64)


@dataclass(frozen=True)
class ServeSettings:
    """All settings of `fitme serve`."""

    host: str = "127.0.0.1"
    port: int = bounded(8000, 0, 65_535)
    tls_cert: Path | None = None
    """PEM chain; browsers give the camera only to secure pages, except on localhost."""
    tls_key: Path | None = None
    store: Path = Path("sessions")
    """Folder of the sessions' data."""
    ice_servers: tuple[IceServer, ...] = ()
    """None are needed on one machine or in one network."""
    max_message_bytes: int = bounded(65_536, 1024, 16 * 1024 * 1024)
    """Largest websocket message and request body that is accepted."""
    max_loop_lag_s: float = bounded(2.0, 0.05, 60.0)
    """`GET /healthz` turns 503 beyond it."""
    session: SessionSettings = field(default_factory=SessionSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    render: RenderSettings = field(default_factory=RenderSettings)
    fit: FitSettings = field(default_factory=FitSettings)
