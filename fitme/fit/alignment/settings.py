"""Settings of head alignment by landmarks, optical flow and surface tracks."""

from dataclasses import dataclass, field

from fitme.fit.alignment.focal_prior import CameraDistanceSettings
from fitme.fit.alignment.landmark_targets import LandmarkSettings
from fitme.fit.alignment.optical_flow import FlowSettings
from fitme.fit.alignment.surface_tracks import TrackSettings
from fitme.fit.solver.joint_estimate import SolverSettings


@dataclass(frozen=True)
class AlignmentSettings:
    """Weights, priors and limits of the geometric half of a fit."""

    solver: SolverSettings = field(default_factory=SolverSettings)
    camera_distance: CameraDistanceSettings = field(default_factory=CameraDistanceSettings)
    landmarks: LandmarkSettings = field(default_factory=LandmarkSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    tracks: TrackSettings = field(default_factory=TrackSettings)
    irises: bool = True
    """Take the head's size from its irises, whose size hardly varies between people."""
