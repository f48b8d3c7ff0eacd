"""Prepared clips for `gpu_check.py`: tracked frames of a synthetic person with the masks of their pixels, in one file.

``python scripts/check_clips.py OUT [--seed S]`` renders a clip, tracks it and writes the file. A machine that only
checks its GPU then needs neither MediaPipe nor a decoder of video.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fitme.arrays import Float32Array, UInt8Array
from fitme.fit.keyframe import Keyframe
from fitme.geometry import Camera, HeadPose
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

RATE_HZ = 10
"""Frames a second of the clips."""
HOLDOUT = 0.1
"""Share of the frames kept from the fit."""
EXPRESSION_FRAMES = 8
"""Frames for expression correctives: fewer than `fitme fit` takes, since they only repeat what the first ones check."""
JPEG_QUALITY = 93
KINDS = ("keyframes", "expression_frames", "held_out")


@dataclass(frozen=True)
class PreparedFrame:
    """Frame with its observation and the masks that a fit asks for."""

    keyframe: Keyframe
    usable: Float32Array
    """(H, W) in [0, 1], `fitme.fit.texture.visibility.Visibility.usable_pixels`."""
    person: Float32Array
    """(H, W) in [0, 1], `Visibility.person`."""


@dataclass(frozen=True)
class PreparedClip:
    """Frames of one person."""

    name: str
    keyframes: Sequence[PreparedFrame]
    expression_frames: Sequence[PreparedFrame]
    held_out: Sequence[PreparedFrame]


class PreparedVisibility:
    """Stands in for `Visibility`, with the masks of prepared frames."""

    def __init__(self, clip: PreparedClip) -> None:
        frames = (*clip.keyframes, *clip.expression_frames, *clip.held_out)
        self._frames = {frame.keyframe.image.tobytes(): frame for frame in frames}

    def usable_pixels(self, keyframe: Keyframe) -> Float32Array:
        """See `Visibility.usable_pixels`; KeyError for a frame that is not the clip's."""
        return self._frames[keyframe.image.tobytes()].usable.copy()

    def person(self, keyframe: Keyframe) -> Float32Array:
        """See `Visibility.person`; KeyError for a frame that is not the clip's."""
        return self._frames[keyframe.image.tobytes()].person.copy()

    def close(self) -> None:
        """See `Visibility.close`."""


def load_clip(path: Path) -> PreparedClip:
    """Read a file of `save_clip`."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    content = json.loads(arrays.pop("content").tobytes())
    kinds = {kind: [_read(arrays, meta) for meta in content[kind]] for kind in KINDS}
    return PreparedClip(content["name"], **kinds)


def save_clip(clip: PreparedClip, path: Path) -> None:
    """Write a clip: images as JPEG, masks as PNG."""
    arrays: dict[str, Any] = {}
    content: dict[str, Any] = {"name": clip.name}
    for kind in KINDS:
        content[kind] = [_write(arrays, kind, index, frame) for index, frame in enumerate(getattr(clip, kind))]
    arrays["content"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    np.savez(path, **arrays)


def _write(arrays: dict[str, Any], kind: str, index: int, frame: PreparedFrame) -> dict[str, Any]:
    """Add a frame's arrays to `arrays`; its other values."""
    keyframe, observation, prefix = frame.keyframe, frame.keyframe.observation, f"{kind}_{index}"
    values: dict[str, Any] = {
        "image": cv2.imencode(".jpg", keyframe.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1],
        "usable": _codes(frame.usable),
        "person": _codes(frame.person),
        "landmarks": observation.landmarks,
        "depth": observation.landmark_depth,
        "rotation": observation.pose.rotation,
        "translation": observation.pose.translation,
        "expression": observation.expression,
    }
    if observation.embedding is not None:
        values["embedding"] = observation.embedding
    arrays |= {f"{prefix}_{name}": value for name, value in values.items()}
    return {
        "prefix": prefix, "key": keyframe.key, "time": keyframe.timestamp_s, "status": str(observation.status),
        "camera": asdict(observation.camera), "quality": asdict(observation.quality),
    }  # fmt: skip


def _read(arrays: dict[str, Any], meta: dict[str, Any]) -> PreparedFrame:
    def values(name: str) -> Any:  # noqa: ANN401 -- an array or None
        return arrays.get(f"{meta['prefix']}_{name}")

    observation = FaceObservation(
        values("landmarks"), values("depth"), HeadPose(values("rotation"), values("translation")),
        values("expression"), Camera(**meta["camera"]), FrameQuality(**meta["quality"]), FaceStatus(meta["status"]),
        values("embedding"),
    )  # fmt: skip
    image = np.ascontiguousarray(cv2.imdecode(values("image"), cv2.IMREAD_COLOR)[..., ::-1])
    usable, person = (
        cv2.imdecode(values(name), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255.0 for name in ("usable", "person")
    )
    return PreparedFrame(Keyframe(meta["key"], image, observation, meta["time"]), usable, person)


def _codes(mask: Float32Array) -> UInt8Array:
    return np.asarray(cv2.imencode(".png", np.rint(mask * 255.0).astype(np.uint8))[1], np.uint8)


def prepare_synthetic(seed: int) -> PreparedClip:
    """Render and track a clip of a synthetic person."""
    from fitme.synthetic.clip import ClipSettings, clip_frames, write_clip

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(clip_frames(ClipSettings(seed=seed, rate_hz=RATE_HZ)), RATE_HZ, path)
        return prepare(f"synthetic {seed}", path)


def prepare(name: str, path: Path) -> PreparedClip:
    """Track a video and select its frames as `fitme fit` does."""
    from fitme.fit.texture.visibility import Visibility
    from fitme.ingest.candidates import gather
    from fitme.ingest.even_spacing import even_indices, split_holdout
    from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
    from fitme.ingest.selection import choose, choose_held_out
    from fitme.shape.model_file import load_default_model
    from fitme.track.factory import dlib_embedder

    candidates = gather([path])
    fitted, held_out = split_holdout(len(candidates), HOLDOUT)
    person, embedder, visibility = PersonTracker(load_default_model()), dlib_embedder(), Visibility()
    choice = choose(person, [candidates[index] for index in fitted])
    kept = even_indices(len(choice.expression_frames), EXPRESSION_FRAMES)
    chosen: dict[str, Iterable[TrackedFrame]] = {
        "keyframes": choice.keyframes,
        "expression_frames": [choice.expression_frames[index] for index in kept],
        "held_out": choose_held_out(person, [candidates[index] for index in held_out]),
    }
    frames: dict[str, list[PreparedFrame]] = {}
    for kind, tracked_frames in chosen.items():
        frames[kind] = []
        for index, tracked in enumerate(tracked_frames):
            image, observation = tracked.frame.image, tracked.observation
            values = {field: getattr(observation, field) for field in observation.__dataclass_fields__}
            if observation.embedding is None:
                values["embedding"] = embedder.embed(image, observation.landmarks)
            keyframe = Keyframe(f"{kind} {index}", image, FaceObservation(**values), tracked.frame.timestamp_s)
            frames[kind].append(
                PreparedFrame(keyframe, visibility.usable_pixels(keyframe), visibility.person(keyframe))
            )
    visibility.close()
    return PreparedClip(name, **frames)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--video", type=Path, help="a video to track instead of a synthetic one")
    arguments = parser.parse_args()
    video: Path | None = arguments.video
    clip = prepare_synthetic(arguments.seed) if video is None else prepare(video.stem, video)
    save_clip(clip, arguments.out)
    print(f"{arguments.out}: {', '.join(f'{len(getattr(clip, kind))} {kind}' for kind in KINDS)}")


if __name__ == "__main__":
    main()
