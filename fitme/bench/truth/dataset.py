"""Frames of the benchmark and their ground truth on disk: `python -m fitme.bench.truth.dataset`.

::

    subject_00/frame_00.jpg ...   frames of the fit, alternating with held-out frames
    subject_00/relit_01.png ...   held-out frames under the unseen light, without noise, exposure 1
    subject_00/mask_01.png ...    what the person covers of held-out frames, hair and shoulders included
    subject_00/truth_16.npz       `SubjectTruth` of 16 frames; written last

Subjects of another population than the scan-based one lie in a folder of its name beside these. Frames are drawn in
order, so that a set with fewer frames is part of a set with more. Running the command again completes an unfinished
folder; frames that are there stay, of however many paths they are.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.bench.truth.lights import LightKind, UnseenLight, unseen_light
from fitme.bench.truth.people import Material, Population, PopulationModel, load_scans, smooth_normals
from fitme.bench.truth.scenes import TruthRenderer, choose_variant
from fitme.bench.truth.sensor import encode_jpeg, metered_exposure, simulate_sensor, white_balance
from fitme.bench.truth.strands import grown_strands, load_guides
from fitme.bench.truth.subjects import HEIGHT, WIDTH, Covering, FrameScript, Subject, subject, under_lights
from fitme.bench.truth.synthetic_people import load_synthetic_people
from fitme.bench.truth.visibility import surface_samples
from fitme.color import linear_to_bytes
from fitme.errors import InputError
from fitme.geometry import Camera, HeadPose
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.skin.painter import synthesize_skin

FOLDER_VARIABLE = "FITME_TRUTH"
"""Environment variable that names the folder of the benchmark's frames."""
SCANS_VARIABLE = "FITME_SCANS"
"""Environment variable that names the folder of `ict_facekit.npz`."""
DEFAULT_SCANS = Path("../shared/data")
SCANS_FILE = "ict_facekit.npz"
VERSION = 4
"""Version of the frames: incremented whenever subjects or scenes change."""
VERSION_FILE = "version.txt"
SKIN_RESOLUTION = 512
RELIT_FRAMES = (1, 5)
"""Held-out frames that are rendered again under the unseen light."""
SCAN_POINTS = 4000
METER_PX = (64, 48)
METER_SAMPLES = 16


@dataclass(frozen=True)
class DatasetSize:
    """Number of subjects and frames, and size and noise of the frames."""

    subjects: int = 12
    frames: int = 16
    """Frames of each subject."""
    samples: int = 36
    """Paths per pixel: the remaining noise on skin, 0.013 of display white, is about the sensor's."""
    width: int = WIDTH
    """Pixels."""
    height: int = HEIGHT
    """Pixels."""


FULL = DatasetSize()
QUICK = DatasetSize(subjects=2, frames=6)
"""For continuous integration."""


@dataclass(frozen=True, eq=False)
class SubjectTruth:
    """Ground truth of a subject, as arrays."""

    scan: Float64Array
    """(S, 3) points spread evenly over the visible part of the expressionless narrow face, metres, head frame."""
    scan_normals: Float64Array
    """(S, 3) unit normals at these points."""
    landmarks: Float64Array
    """(68, 3) iBUG landmarks of the expressionless head, metres, head frame."""
    rotations: Float32Array
    """(N, 3) axis-angle of each frame's head, head frame to view."""
    translations: Float32Array
    """(N, 3) translation of each frame's head, metres, view space."""
    held_out: BoolArray
    """(N,) mask of the held-out frames."""
    relit: Int64Array
    """(R,) indices of the frames that were also rendered under the unseen light."""
    unseen: UnseenLight
    albedo: Float32Array
    """(512, 512, 3) linear diffuse albedo in the model's UV layout."""
    tone: str
    """Class of skin tone."""

    def pose(self, frame: int) -> HeadPose:
        """Pose of the head in a frame."""
        return HeadPose(self.rotations[frame], self.translations[frame])


def truth_folder(population: Population = Population.SCANS) -> Path:
    """Folder of a population's data set, in the one that `FOLDER_VARIABLE` names, otherwise in one in the user's
    cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = Path(os.environ.get(FOLDER_VARIABLE, cache / "fitme" / f"truth-{VERSION}"))
    return folder if population is Population.SCANS else folder / population


def scans_file() -> Path:
    """Path of the scan-based population's file."""
    return Path(os.environ.get(SCANS_VARIABLE, DEFAULT_SCANS)) / SCANS_FILE


def load_population(population: Population, model: MorphableModel) -> PopulationModel:
    """Population laid out for a model; seconds.

    :raises InputError: without the scan-based population's file.
    :raises BackendError: if synthetic people are wanted, and the extra `build` is not installed.
    """
    return load_synthetic_people(model) if population is Population.SYNTHETIC else load_scans(scans_file(), model)


def make_truth(
    folder: Path,
    size: DatasetSize,
    numbers: Sequence[int],
    progress: Callable[[str], None] = print,
    kinds: Sequence[LightKind] = (),
    population: Population = Population.SCANS,
) -> None:
    """Render the missing frames of the given subjects.

    :param folder: of this population's frames alone, as by `truth_folder`.
    :param kinds: of the frames' lights, in turn; each subject's own lights if there are none.

    Raises InputError without the population's or the strands' files, or where the folder holds another version's
    frames, and BackendError without Mitsuba, or without anny for synthetic people.
    """
    _check_version(folder)
    missing = [number for number in numbers if not truth_file(folder, number, size.frames).is_file()]
    if not missing:
        return
    variant = choose_variant()
    progress(f"rendering {len(missing)} subjects with Mitsuba's {variant}")
    people = load_population(population, load_default_model())
    for number in missing:
        start = time.perf_counter()
        person = subject(number, size.frames)
        _make_subject(folder, size, under_lights(person, kinds) if kinds else person, people, variant)
        progress(f"{subject(number).name}: {time.perf_counter() - start:.0f} s")


def _check_version(folder: Path) -> None:
    """Mark a new folder with `VERSION`. Raises InputError for a folder of another version."""
    marker = folder / VERSION_FILE
    if not marker.is_file():
        if any(folder.glob("subject_*")):
            raise InputError(f"{folder} holds frames of an unknown version; name another folder in {FOLDER_VARIABLE}")
        folder.mkdir(parents=True, exist_ok=True)
        _write(marker, f"{VERSION}\n".encode())
    found = marker.read_text("utf-8").strip()
    if found != str(VERSION):
        raise InputError(
            f"{folder} holds frames of version {found}, this is version {VERSION}; name another folder in "
            f"{FOLDER_VARIABLE}"
        )


def truth_file(folder: Path, number: int, frames: int) -> Path:
    """Path of a subject's ground truth."""
    return folder / f"subject_{number:02d}" / f"truth_{frames:02d}.npz"


def frame_file(folder: Path, number: int, frame: int) -> Path:
    """Path of a frame."""
    return folder / f"subject_{number:02d}" / f"frame_{frame:02d}.jpg"


def relit_file(folder: Path, number: int, frame: int) -> Path:
    """Path of a frame under the unseen light."""
    return folder / f"subject_{number:02d}" / f"relit_{frame:02d}.png"


def load_relit(folder: Path, number: int, frame: int) -> UInt8Array:
    """Frame (H, W, 3) under the unseen light, sRGB."""
    read = np.asarray(cv2.imread(str(relit_file(folder, number, frame))))
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def mask_file(folder: Path, number: int, frame: int) -> Path:
    """Path of the person's mask of a held-out frame."""
    return folder / f"subject_{number:02d}" / f"mask_{frame:02d}.png"


def load_mask(folder: Path, number: int, frame: int) -> Float32Array:
    """(H, W) in [0, 1]: share of each pixel of a held-out frame that the person covers."""
    read = cv2.imread(str(mask_file(folder, number, frame)), cv2.IMREAD_GRAYSCALE)
    return np.asarray(read, np.float32) / np.float32(255.0)


def load_truth(folder: Path, number: int, frames: int) -> SubjectTruth:
    """Ground truth of a subject as `make_truth` wrote it."""
    with np.load(truth_file(folder, number, frames)) as file:
        unseen = UnseenLight(
            float(file["unseen_ambient"]),
            tuple(file["unseen_direction"].tolist()),
            tuple(file["unseen_color"].tolist()),
        )
        return SubjectTruth(
            scan=file["scan"].astype(np.float64),
            scan_normals=file["scan_normals"].astype(np.float64),
            landmarks=file["landmarks"].astype(np.float64),
            rotations=file["rotations"],
            translations=file["translations"],
            held_out=file["held_out"],
            relit=file["relit"],
            unseen=unseen,
            albedo=file["albedo"].astype(np.float32),
            tone=str(file["tone"]),
        )


def _make_subject(folder: Path, size: DatasetSize, person: Subject, people: PopulationModel, variant: str) -> None:
    """Render the missing frames of one subject, the relit ones, and write its ground truth."""
    (folder / person.name).mkdir(parents=True, exist_ok=True)
    skin = synthesize_skin(person.skin_seed, SKIN_RESOLUTION, attributes=person.attributes)
    renderer = TruthRenderer(people, person, skin, variant, subject_strands(people, person))
    camera = _resized(person.camera, size.width, size.height)
    exposures: dict[int, float] = {}
    for index, frame in enumerate(person.frames):
        file = frame_file(folder, person.number, index)
        if file.is_file():
            continue
        light = person.lights[frame.light]
        gains = white_balance(light, person.sensor)
        # One exposure per light, metered on a small render of the frontal first frame.
        if frame.light not in exposures:
            small = renderer.render(person.frames[0], light, _resized(camera, *METER_PX), METER_SAMPLES)
            exposures[frame.light] = metered_exposure(gains * small)
        radiance = renderer.render(frame, light, camera, size.samples)
        seed = person.number * len(person.frames) + index
        image = simulate_sensor(radiance, exposures[frame.light], gains, person.sensor, seed)
        _write(file, encode_jpeg(image, person.sensor.jpeg_quality))
    # Relit frames without motion blur or sensor, for comparison in linear light.
    unseen = unseen_light(person.number)
    relit = [index for index in RELIT_FRAMES if index < len(person.frames)]
    for index in relit:
        file = relit_file(folder, person.number, index)
        if not file.is_file():
            still = _still(person.frames[index])
            radiance = renderer.render(still, unseen, camera, size.samples)
            bgr = cv2.cvtColor(linear_to_bytes(np.clip(radiance, 0.0, 1.0)), cv2.COLOR_RGB2BGR)
            _write(file, bytes(cv2.imencode(".png", bgr)[1]))
    for index, frame in enumerate(person.frames):
        file = mask_file(folder, person.number, index)
        if frame.held_out and not file.is_file():
            codes = np.rint(255.0 * renderer.mask(frame, camera)).astype(np.uint8)
            _write(file, bytes(cv2.imencode(".png", codes)[1]))
    _write_truth(
        truth_file(folder, person.number, len(person.frames)), person, people, renderer.neutral, skin.diffuse, relit
    )


def subject_strands(people: PopulationModel, person: Subject) -> Float64Array | None:
    """(M, K, 3) strands on a subject's expressionless head, metres, head frame; None under a cap.

    :raises InputError: if the style's file is missing.
    """
    if person.covering is Covering.CAP:
        return None
    neutral = people.neutral(np.array(person.identity))
    body = np.concatenate([people.triangles[Material.SKIN], people.triangles[Material.CLOTH]])
    outside = np.unique(body)
    scalp = neutral[np.unique(people.triangles[Material.SHELL])]
    normals = smooth_normals(neutral, body)
    guides = load_guides(person.hair_style)
    return grown_strands(guides, scalp, neutral[outside], normals[outside], person.number)


def _write_truth(
    file: Path, person: Subject, people: PopulationModel, neutral: Float64Array, albedo: Float32Array, relit: list[int]
) -> None:
    """Write `SubjectTruth` as an npz file, in one step."""
    unseen = unseen_light(person.number)
    normals = smooth_normals(neutral, people.triangles[Material.SKIN])
    scan, scan_normals = surface_samples(neutral, normals, people.face_triangles, SCAN_POINTS, person.number)
    with atomic_file(file) as partial, partial.open("wb") as opened:
        np.savez_compressed(
            opened,
            scan=scan.astype(np.float32),
            scan_normals=scan_normals.astype(np.float32),
            landmarks=neutral[people.landmarks].astype(np.float32),
            rotations=np.stack([frame.pose.rotation for frame in person.frames]),
            translations=np.stack([frame.pose.translation for frame in person.frames]),
            held_out=np.array([frame.held_out for frame in person.frames]),
            relit=np.array(relit, np.int64),
            unseen_ambient=unseen.ambient,
            unseen_direction=np.array(unseen.direction),
            unseen_color=np.array(unseen.color),
            albedo=albedo.astype(np.float16),
            tone=person.tone,
        )


def _still(frame: FrameScript) -> FrameScript:
    return FrameScript(frame.pose, 0.0, frame.expression, frame.light, frame.held_out)


def _resized(camera: Camera, width: int, height: int) -> Camera:
    return Camera.centered(camera.focal_px * width / camera.width, width, height)


def _write(file: Path, content: bytes) -> None:
    with atomic_file(file) as partial:
        partial.write_bytes(content)


def add_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose population, subjects, and number and noise of their frames."""
    parser.add_argument(
        "--population", type=Population, choices=list(Population), default=Population.SCANS,
        help="of the subjects: scan-based (the default), or synthetic, whom the prior over identities has not seen",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two subjects of six frames")
    parser.add_argument("--subjects", type=int, nargs="*", help="their numbers; all by default")
    parser.add_argument("--frames", type=_positive, help=f"frames of a subject; {FULL.frames} by default")
    parser.add_argument("--paths", type=_positive, help=f"paths per pixel; {FULL.samples} by default")


def size_of(arguments: argparse.Namespace) -> DatasetSize:
    """Size that arguments of `add_set_arguments` choose."""
    size = QUICK if arguments.quick else FULL
    return replace(size, frames=arguments.frames or size.frames, samples=arguments.paths or size.samples)


def _positive(text: str) -> int:
    """Positive number of a command line. Raises ArgumentTypeError for another."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: use a positive whole number")
    return int(text)


def main() -> None:
    """Entry point of ``python -m fitme.bench.truth.dataset``."""
    parser = argparse.ArgumentParser(prog="python -m fitme.bench.truth.dataset", description=__doc__.splitlines()[0])
    add_set_arguments(parser)
    arguments = parser.parse_args()
    size = size_of(arguments)
    folder = truth_folder(arguments.population)
    make_truth(folder, size, arguments.subjects or range(size.subjects), population=arguments.population)
    print(folder)


if __name__ == "__main__":
    main()
