"""Person tracking: the person of the majority of images is the reference, independent of their order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fitme.export.video import write_mp4
from fitme.geometry import Camera
from fitme.ingest.candidates import gather
from fitme.ingest.person_tracking import PersonTracker
from fitme.ingest.selection import choose
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

PEOPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "people" / "london"

Writer = Callable[[Path], None]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="module")
def faces(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """(512, 512, 3) images of two people: a portrait in the public domain, and a render of the mean head."""
    import torch

    from fitme.color import linear_to_bytes
    from fitme.reflectance.maps import ReflectanceMaps
    from fitme.render.light import Light
    from fitme.render.renderer import render

    maps = ReflectanceMaps.constant((0.45, 0.28, 0.2), 0.03, 64)
    maps.diffuse[..., 24:40, :, 1] *= 0.7  # redder in the middle: skin of one tint would pass for a tinted grey image
    light = Light(Light.ambient(0.4).sh, torch.tensor([[[0.3, 0.5, 0.81]]]), torch.full((1, 1, 3), 0.7))
    vertices = model.mean[None]
    pose = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.02, -0.6]])
    drawn = render(model, vertices, *pose, Camera.centered(704.0, 512, 512), maps, light)
    return data.astronaut(), linear_to_bytes(drawn.image[0].numpy() + 0.3 * (1.0 - drawn.mask[0].numpy()))


def write_photos(folder: Path, people: str, faces: tuple[np.ndarray, np.ndarray]) -> list[Path]:
    """`00.png` and so on, a photo for each letter of `people`: a or b, each of another exposure."""
    paths = []
    for index, person in enumerate(people):
        exposed = np.clip(faces["ab".index(person)] * (0.85 + 0.02 * index), 0, 255)
        paths.append(folder / f"{index:02d}.png")
        Image.fromarray(exposed.astype(np.uint8)).save(paths[-1])
    return paths


def chosen(model: MorphableModel, paths: list[Path]) -> tuple[list[str], PersonTracker]:
    """Sources of the keyframes, and the tracker."""
    person = PersonTracker(model)
    choice = choose(person, gather(paths))
    return [tracked_frame.frame.source for tracked_frame in choice.keyframes], person


@pytest.mark.parametrize("people", ["baaaa", "abaaa", "aaaab", "abbbb"])
def test_the_majority_is_the_reference(model, faces, tmp_path: Path, people: str):
    sources, person = chosen(model, write_photos(tmp_path, people, faces))
    majority = max("ab", key=people.count)
    assert sources == [f"{index:02d}.png" for index, letter in enumerate(people) if letter == majority]
    others = [f"{index:02d}.png" for index, letter in enumerate(people) if letter != majority]
    assert person.skipped == dict.fromkeys(others, "the face is another person's")
    assert person.warnings == []


def test_a_draw_warns_and_takes_the_first_person(model, faces, tmp_path: Path):
    sources, person = chosen(model, write_photos(tmp_path, "baab", faces))
    assert sources == ["00.png", "03.png"]
    (warning,) = person.warnings
    assert "00.png" in warning


def test_a_given_person_is_kept(model, faces, tmp_path: Path):
    paths = write_photos(tmp_path, "baaaa", faces)
    _, found = chosen(model, paths[:1])
    person = PersonTracker(model, found.reference)
    choice = choose(person, gather(paths))
    assert [tracked_frame.frame.source for tracked_frame in choice.keyframes] == ["00.png"]
    assert person.warnings == []


def test_a_clip_that_begins_with_another_person(model, faces, tmp_path: Path):
    frames = [faces[0] if index >= 8 else faces[1] for index in range(40)]
    write_mp4(frames, 5, tmp_path / "clip.mp4")
    sources, person = chosen(model, [tmp_path / "clip.mp4"])
    numbers = [int(source.rpartition(" ")[2]) for source in sources]
    assert len(numbers) >= 6
    # The tracker may take a few embeddings for grimaces before it calls the face another person's.
    assert sum(number < 8 for number in numbers) <= 1
    assert person.skipped["clip.mp4 frame 7"] == "the face is another person's"


@pytest.mark.skipif(not PEOPLE.is_dir(), reason="no shared data beside this checkout")
def test_a_first_photo_of_another_person_is_skipped(model, tmp_path: Path):
    """Ten variants of two photos of one person, and one of another named `000.jpg`."""
    originals = [Image.open(PEOPLE / f"001_{kind}.jpg").convert("RGB") for kind in ("neutral", "smiling")]
    Image.open(PEOPLE / "002_neutral.jpg").convert("RGB").save(tmp_path / "000.jpg")
    for index in range(10):
        image = originals[index % 2]
        border = 4 * index
        cropped = image.crop((border, border, image.width - border, image.height - border))
        cropped.save(tmp_path / f"{index + 1:03d}.jpg", quality=80 + index)
    sources, person = chosen(model, [tmp_path])
    assert sources == [f"{index:03d}.jpg" for index in range(1, 11)]
    assert person.skipped == {"000.jpg": "the face is another person's"}
