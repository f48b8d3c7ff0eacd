"""Settings of tracking. Free of torch and of MediaPipe, so that they can be read before either is imported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

IdentityName = Literal["dlib", "arcface"]


@dataclass(frozen=True)
class NetworkSettings:
    """Choice of the networks that find landmarks and embed identities (`fitme.track.factory`)."""

    face_landmarker: Path | None = None
    """File `face_landmarker.task` of MediaPipe; the package's if None."""
    identity: IdentityName = "dlib"
    """dlib's ResNet, which is part of the package, or an ArcFace network of insightface."""
    arcface: Path | None = None
    """Folder of an insightface pack such as buffalo_l, or one .onnx file, which the identity `arcface` needs."""


@dataclass(frozen=True)
class OneEuroSettings:
    """Cutoffs of a One-Euro filter (`fitme.track.smoothing`)."""

    minimal_cutoff_hz: Annotated[float, Meta(gt=0.0)]
    """Cutoff of the low pass when the signal is constant: lower is steadier."""
    speed_gain: Annotated[float, Meta(ge=0.0)]
    """Growth of the cutoff, Hz per (unit of the signal per second): higher lags less."""
    speed_cutoff_hz: Annotated[float, Meta(gt=0.0)] = 1.0
    """Cutoff of the low pass of the speed."""


@dataclass(frozen=True)
class PoseSettings:
    """Standard deviations of landmarks and priors. Those of landmarks are shares of the face's size in the image."""

    landmark_sigma: Annotated[float, Meta(gt=0.0)] = 0.03
    """Error of a landmark; larger than its scatter, since errors of neighbours are correlated."""
    contour_factor: Annotated[float, Meta(gt=0.0)] = 3.0
    """Factor for the outline, which slides over the skin as the head turns."""
    averted_factor: Annotated[float, Meta(gt=0.0)] = 4.0
    """Factor for landmarks on the averted side, which the network extrapolates."""
    distance_sigma: Annotated[float, Meta(gt=0.0)] = 0.006
    """Error of the offset between paired landmarks (lids, lips, brows), which determine most of the expression."""
    expression_sigma: Annotated[float, Meta(gt=0.0)] = 0.3
    """Standard deviation of an expression coefficient about zero."""
    change_sigma: Annotated[float, Meta(gt=0.0)] = 0.5
    """Standard deviation of a coefficient's change from one frame of a video to the next."""
    robust_scale: Annotated[float, Meta(gt=0.0)] = 2.5
    """Residual, in standard deviations, beyond which a landmark is down-weighted (Geman and McClure, 1987)."""
    damping: Annotated[float, Meta(gt=0.0)] = 1e-3
    """Levenberg-Marquardt damping, relative to the diagonal."""


@dataclass(frozen=True)
class SidewaysSettings:
    """Mouth and jaw to one side (`fitme.track.mouth.sideways`)."""

    mouth_dead_zone: Annotated[float, Meta(ge=0.0)] = 0.17
    """Measured amount up to which a mouth counts as straight, which one in thirty straight mouths of photos exceeds;
    from twice as much, it is believed in whole."""
    jaw_dead_zone: Annotated[float, Meta(ge=0.0)] = 0.2
    """The same of the jaw."""
    mouth_gain: Annotated[float, Meta(ge=0.0)] = 2.0
    """Activation of mouthLeft or mouthRight by measured amount: landmarks follow mouths of rendered heads by half."""
    jaw_gain: Annotated[float, Meta(ge=0.0)] = 2.0
    """Activation of jawLeft or jawRight."""
    turn_deg: Annotated[float, Meta(gt=0.0)] = 12.0
    """Turn of the head at which the dead zones are twice as wide."""


@dataclass(frozen=True)
class TongueSettings:
    """A tongue out of the mouth (`fitme.track.mouth.tongue`)."""

    activation: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.9
    """tongueOut of a tongue that is out; 0 leaves tongues unseen."""
    lag_s: Annotated[float, Meta(gt=0.0)] = 0.15
    """Time constant over which evidence is averaged."""
    out_from: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """Mean evidence from which a tongue is out."""
    stays_from: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.25
    """Mean evidence from which a tongue that is out stays so."""


@dataclass(frozen=True)
class CheekSettings:
    """Puffed cheeks (`fitme.track.mouth.cheeks`)."""

    dead_zone: Annotated[float, Meta(ge=0.0)] = 0.14
    """Measured amount up to which cheeks are not puffed, as much as smiles show at most against faces at rest. It is
    believed in whole from twice as much."""
    gain: Annotated[float, Meta(ge=0.0)] = 2.2
    """Activation of cheekPuff by measured amount: shading shows four tenths of it. 0 leaves cheeks to landmarks."""
    turn_deg: Annotated[float, Meta(gt=0.0)] = 30.0
    """Turn of the head at which the dead zone is twice as wide."""
    lag_s: Annotated[float, Meta(gt=0.0)] = 0.1
    """Time constant over which amounts are averaged."""
    rest_lag_s: Annotated[float, Meta(gt=0.0)] = 5.0
    """Time constant with which the remembered face at rest follows the one seen."""


@dataclass(frozen=True)
class TrackerSettings:
    """Periods of the more expensive checks of a video, numerics, and smoothing."""

    focal: Annotated[float, Meta(gt=0.0)] = 1.1
    """Focal length over the longer side of the image, until another is set: a webcam of about 50 degrees across."""
    face_search_period_s: Annotated[float, Meta(ge=0.0)] = 0.3
    """Time between two searches for a second face (2 ms)."""
    occlusion_period_s: Annotated[float, Meta(ge=0.0)] = 0.4
    """Time between two comparisons of the face with earlier images of it, for what covers it (8 ms)."""
    occlusion_patience_s: Annotated[float, Meta(ge=0.0)] = 8.0
    """Time after which what covers the face without leaving counts as part of it."""
    embedding_period_s: Annotated[float, Meta(ge=0.0)] = 1.0
    """Time between two identity embeddings (12 ms) of a face that matches the reference."""
    mismatch_period_s: Annotated[float, Meta(ge=0.0)] = 0.1
    """Time between two embeddings of a face that differs from the reference."""
    fewest_mismatches: Annotated[int, Meta(ge=1)] = 3
    """Embeddings in a row that must differ from the reference for the status of another person."""
    mismatch_factor: Annotated[float, Meta(gt=0.0)] = 1.08
    """Distance, in units of the embedder's threshold, from which an embedding differs: grimaces reach the threshold."""
    certain_mismatch_factor: Annotated[float, Meta(gt=0.0)] = 1.25
    """Distance, in units of the embedder's threshold, from which one embedding is enough."""
    largest_motion: Annotated[float, Meta(gt=0.0)] = 0.5
    """Motion between two frames, as a share of the face's size, beyond which the face counts as a new one."""
    iterations: Annotated[int, Meta(ge=1)] = 2
    """Gauss-Newton steps for a frame that follows another."""
    still_iterations: Annotated[int, Meta(ge=1)] = 20
    """Gauss-Newton steps for a single image or a first frame."""
    pose: PoseSettings = field(default_factory=PoseSettings)
    sideways: SidewaysSettings = field(default_factory=SidewaysSettings)
    tongue: TongueSettings = field(default_factory=TongueSettings)
    cheeks: CheekSettings = field(default_factory=CheekSettings)
    rotation_smoothing: OneEuroSettings = OneEuroSettings(minimal_cutoff_hz=2.0, speed_gain=8.0)
    """Filter of rotations, radians."""
    translation_smoothing: OneEuroSettings = OneEuroSettings(minimal_cutoff_hz=1.5, speed_gain=40.0)
    """Filter of translations, metres."""
    expression_smoothing: OneEuroSettings = OneEuroSettings(minimal_cutoff_hz=2.5, speed_gain=1.5)
    """Filter of expression coefficients."""
