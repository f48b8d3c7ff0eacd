"""Settings of the live service: `configs/serve.yaml`, overridden by the command line."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from fitme.motion.settings import MotionSettings
from fitme.reflectance.model_names import DEFAULT_MODEL, ReflectanceModel
from fitme.render.devices import DeviceName
from fitme.session.object_folder import ObjectStoreSettings
from fitme.track.settings import NetworkSettings, TrackerSettings


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, as `RTCIceServer` of the browser has it."""

    urls: tuple[str, ...] = ()
    username: str | None = None
    credential: str | None = None


LogFormat = Literal["text", "json"]

Port = Annotated[int, Meta(ge=1, le=65_535)]


@dataclass(frozen=True)
class UdpSettings:
    """Sockets of the peer connections, for servers behind NAT or a container's bridge."""

    ports: tuple[Port, Port] | None = None
    """First and last port that may be used; each peer connection takes one for each of the machine's addresses. Any
    without."""
    public_addresses: tuple[str, ...] = ()
    """IP addresses from which packets are forwarded to those ports of this machine: named to clients beside its own."""


@dataclass(frozen=True)
class SessionSettings:
    """Limits and time-outs of sessions."""

    limit: Annotated[int, Meta(ge=1, le=64)] = 2
    """Sessions at a time; a further one is answered 503 with `Retry-After`."""
    grace_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 60.0
    """A session without a camera and without a page ends after this time."""
    connect_timeout_s: Annotated[float, Meta(ge=0.1, le=600.0)] = 20.0
    """A camera that has sent no frame by then is closed."""
    silence_timeout_s: Annotated[float, Meta(ge=0.1, le=600.0)] = 10.0
    """A camera that has sent no frame for this long is silent: it is closed unless a page of its owner watches."""
    retry_after_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    """`Retry-After` of answers while the server is full or its engine is starting."""
    watchers_limit: Annotated[int, Meta(ge=1, le=256)] = 8
    """Websockets of the owner of one session."""
    viewers_limit: Annotated[int, Meta(ge=0, le=256)] = 32
    """Websockets that may watch one session by its view links."""
    links_limit: Annotated[int, Meta(ge=0, le=64)] = 8
    """View links of one session."""
    kept_days: Annotated[float, Meta(gt=0.0)] | None = None
    """Days after its last use for which a kept session stays; without a number, until its owner deletes it."""
    encrypt: bool = False
    """Encrypt all arrays of new sessions at rest (pictures, maps, numbers of the face), with a key that only the
    owner's token gives. Without this setting, sessions that were encrypted do not open."""
    cameraless_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 30.0
    """A session whose owner watches without a camera, or with a silent one, for longer gives its place to whoever waits
    for one."""
    waiting_limit: Annotated[int, Meta(ge=0, le=10_000)] = 100
    """People whose places in the waiting line are held while the server is full."""
    per_user_limit: Annotated[int, Meta(ge=1, le=64)] = 2
    """Sessions at a time of one user: of a signed-in one, else of one browser."""
    per_address_limit: Annotated[int, Meta(ge=1, le=64)] = 8
    """Sessions at a time from one IP address, and people from there whose places in the waiting line are held."""


@dataclass(frozen=True)
class ConnectionSettings:
    """Bounds on sockets, whoever opens them."""

    limit: Annotated[int, Meta(ge=8, le=100_000)] = 512
    """Connections at a time; further ones are closed at once."""
    per_address_limit: Annotated[int, Meta(ge=4, le=100_000)] = 128
    """Connections at a time from one IP address."""
    header_timeout_s: Annotated[float, Meta(ge=0.1, le=600.0)] = 10.0
    """A connection whose request's headers, or websocket's handshake, are not complete by then is closed."""
    body_timeout_s: Annotated[float, Meta(ge=0.1, le=600.0)] = 15.0
    """A request whose body is not complete by then is refused."""
    idle_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 15
    """A connection without a request for this long is closed, and a websocket that does not answer pings."""


@dataclass(frozen=True)
class AccessSettings:
    """Who may use the server."""

    key_file: Path | None = None
    """File with the access key, of 16 characters or more, that beginning a session then needs."""
    user_header: str | None = None
    """Header in which a reverse proxy names the user whom it has signed in, as X-Forwarded-User; sessions then need
    one."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose headers on user, client and scheme count."""
    hosts: tuple[str, ...] = ()
    """Names under which the server may be addressed, beside localhost, this machine's name and plain IP addresses."""
    origins: tuple[str, ...] = ()
    """Origins of other pages that may use the server, as https://example.org."""


@dataclass(frozen=True)
class CameraSettings:
    """Video of the person."""

    max_pixels: Annotated[int, Meta(ge=160 * 120, le=3840 * 2160)] = 1280 * 720
    """Larger frames are shrunk on arrival."""
    decoded_pixels_limit: Annotated[int, Meta(ge=160 * 120, le=8192 * 4320)] = 1920 * 1200
    """Frames with more pixels are dropped before they are decoded."""
    frames_per_second_limit: Annotated[int, Meta(ge=1, le=240)] = 60
    bytes_per_second_limit: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 1_500_000
    """What comes faster is dropped before it is decoded. The page sends at most 500 kB and 30 frames a second."""
    candidate_networks: tuple[str, ...] = ()
    """Networks of the ICE candidates that are taken, as 192.168.0.0/16; without any, those that suit where the client
    is: see `stream.web.peers.candidates`."""
    tracked_per_second: Annotated[float, Meta(ge=1.0, le=60.0)] = 30.0
    """Upper limit of camera frames that are tracked, for each session: parameters come as often."""
    checked_per_second: Annotated[float, Meta(ge=1.0, le=60.0)] = 15.0
    """Upper limit of tracked frames whose quality is measured, and which are offered to the fit, for each session."""
    tracking_events_per_second: Annotated[float, Meta(ge=0.1, le=60.0)] = 10.0


@dataclass(frozen=True)
class RenderSettings:
    """Renders of the avatar."""

    size_px: Annotated[int, Meta(ge=64, le=2048)] = 512
    per_second: Annotated[float, Meta(ge=1.0, le=60.0)] = 20.0
    """Upper limit for each session."""
    jpeg_quality: Annotated[int, Meta(ge=10, le=100)] = 85


@dataclass(frozen=True)
class FitSettings:
    """Fit of a session, and its share of the machine."""

    slice_s: Annotated[float, Meta(ge=0.05, le=30.0)] = 1.0
    """Time budget of one round; a new keyframe waits at most this long."""
    collect_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 5.0
    """The first keyframe is fitted at once, those of the time after it together; later ones wait until the first full
    fit is done, since each takes the fit some steps back."""
    adopt_period_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 8.0
    """Interval between later batches of keyframes."""
    batch: Annotated[int, Meta(ge=1, le=100)] = 5
    """Keyframes that are added at a time at most, most novel head directions first."""
    expression_frames: Annotated[int, Meta(ge=0, le=64)] = 24
    """Further frames at most of which, once the fit has converged, only expression correctives are extracted."""
    reflectance_model: ReflectanceModel = DEFAULT_MODEL
    """Generator of the package: of painted skin alone, or of people's."""
    skin_detail: bool = True
    """Pores and grain, as people have them, on skin that no image shows."""
    expression_prior: bool = True
    """Folds of a smile on people of whom no smile is seen, as people have them in the mean."""
    alignment_rounds: Annotated[int, Meta(ge=0, le=100)] = 1
    coarse_steps: Annotated[int, Meta(ge=1, le=10_000)] = 16
    inversion_steps: Annotated[int, Meta(ge=1, le=10_000)] = 8
    tuning_steps: Annotated[int, Meta(ge=1, le=10_000)] = 8
    """Effort of the first full fit, as in `fitme.fit.settings`: less than for a recording, since a person waits for it
    and later keyframes add to it."""
    niceness: Annotated[int, Meta(ge=0, le=19)] = 8
    """Lower priority than tracking, renders and sockets: where the cores do not suffice, fits wait for those."""
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    warm_up: bool = True
    """Fit a drawn head before the first session, so that the first person does not wait for networks and kernels to be
    loaded; without, the server is ready sooner."""
    device: DeviceName = "cpu"
    """Where heads are rendered and the generator is optimised, as `--device` of `fitme fit`."""


@dataclass(frozen=True)
class SelectorSettings:
    """Selection of keyframes: limits and trade-offs."""

    count: Annotated[int, Meta(ge=1)] = 16
    """Keyframes at most; at least one for each wanted direction."""
    smallest_face_px: Annotated[float, Meta(ge=0.0)] = 60.0
    largest_face: Annotated[float, Meta(ge=0.0)] = 0.95
    """Face size over the shorter side of the frame beyond which the face is cut off."""
    least_sharpness: Annotated[float, Meta(ge=0.0)] = 0.2
    least_exposure: Annotated[float, Meta(ge=0.0)] = 0.08
    most_exposure: Annotated[float, Meta(ge=0.0)] = 0.92
    most_clipped: Annotated[float, Meta(ge=0.0)] = 0.35
    most_occlusion: Annotated[float, Meta(ge=0.0)] = 0.03
    """Hands are reported with a few per cent of their size as error."""
    yaw_step_rad: Annotated[float, Meta(ge=0.0)] = math.radians(5.0)
    pitch_step_rad: Annotated[float, Meta(ge=0.0)] = math.radians(5.0)
    expression_step: Annotated[float, Meta(ge=0.0)] = 0.2
    """Differences from which two frames are not redundant, each by itself."""
    improvement: Annotated[float, Meta(ge=0.0)] = 1.25
    """Factor by which a frame must be better than a kept one to take its place."""
    interval_s: Annotated[float, Meta(ge=0.0)] = 0.1
    """Time between two keyframes."""


@dataclass(frozen=True)
class ExpressionSettings:
    """Selection of expression frames: limits and trade-offs."""

    novelty_m: Annotated[float, Meta(ge=0.0)] = 0.0005
    """Root mean square displacement of the face from every expression that is known already, at least: a raised brow.
    A tracked face that rests moves by a quarter of this from frame to frame."""
    gain: Annotated[float, Meta(ge=0.0)] = 1.5
    """Factor by which a frame must be more novel than the least novel kept one to take its place, > 1."""
    sharpness: Annotated[float, Meta(ge=0.0)] = 0.7
    """Of the keyframes' median sharpness, at least."""
    turn_rad: Annotated[float, Meta(ge=0.0)] = math.radians(30.0)
    """Yaw and pitch up to which a face is seen from the front."""
    interval_s: Annotated[float, Meta(ge=0.0)] = 0.3
    """Time between two kept frames."""


@dataclass(frozen=True)
class LiveTrackerSettings(TrackerSettings):
    """Tracking of a camera."""

    embedding_period_s: Annotated[float, Meta(ge=0.0)] = 0.8
    """Shorter than for recordings: a change of person is to be noticed within a second."""


@dataclass(frozen=True)
class SessionMotionSettings(MotionSettings):
    """Motion of sessions to and from other programs: each address for one session at a time, if its owner wants it."""

    outputs: tuple[str, ...] = ()
    """Where motion may go: vmc://127.0.0.1:39539, livelink://127.0.0.1:11111/NAME, websocket://127.0.0.1:8765."""
    sources: tuple[str, ...] = ()
    """Where motion may come from: livelink://0.0.0.0:11111, vmc://127.0.0.1:39540, websocket://127.0.0.1:8766."""


@dataclass(frozen=True)
class RaySettings:
    """Workers of an engine on a Ray cluster: each tracks, fits and renders for some sessions, on one node."""

    workers: Annotated[int, Meta(ge=1, le=1000)] = 1
    """The engine's size: workers are started on whichever nodes have room, and again when one is lost."""
    cpus: Annotated[float, Meta(ge=0.0, le=1024.0)] = 2.0
    """Cores that one worker takes."""
    gpus: Annotated[float, Meta(ge=0.0, le=64.0)] = 0.0
    """GPUs that one worker takes, for fits with `fit.device: cuda`."""


@dataclass(frozen=True)
class ServeSettings:
    """All settings of `fitme serve`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    tls_cert: Path | None = None
    """PEM chain; browsers give the camera only to secure pages, except on localhost."""
    tls_key: Path | None = None
    engine: str = "local"
    """``local``: processes of this machine; ray://HOST:PORT: workers on a Ray cluster, of which this machine is a node;
    ray://local: on a cluster of this machine alone."""
    ray: RaySettings = field(default_factory=RaySettings)
    store: str = "sessions"
    """Folder of the sessions' data, or s3://BUCKET/PREFIX: an object store, which several servers may share."""
    object_store: ObjectStoreSettings = field(default_factory=ObjectStoreSettings)
    ice_servers: tuple[IceServer, ...] = ()
    """None are needed on one machine or in one network."""
    udp: UdpSettings = field(default_factory=UdpSettings)
    max_message_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 65_536
    """Largest websocket message and request body that is accepted."""
    max_loop_lag_s: Annotated[float, Meta(ge=0.05, le=60.0)] = 2.0
    """`GET /healthz` turns 503 beyond it."""
    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Networks from which `GET /metrics` and `POST /admin/drain` are answered."""
    drain_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 5.0
    """How long a server that is drained goes on, not ready: proxies are to notice it meanwhile."""
    log_format: LogFormat = "text"
    """Of the log's lines: ``text``, or ``json`` for what collects them."""
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    """Landmark network; the live service compares people by dlib's network."""
    tracker: LiveTrackerSettings = field(default_factory=LiveTrackerSettings)
    keyframes: SelectorSettings = field(default_factory=SelectorSettings)
    expressions: ExpressionSettings = field(default_factory=ExpressionSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    render: RenderSettings = field(default_factory=RenderSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    motion: SessionMotionSettings = field(default_factory=SessionMotionSettings)
