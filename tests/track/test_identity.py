import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.errors import BackendError, FitmeError, ModelFileError
from fitme.track.identity import DLIB_WEIGHTS, ArcFaceEmbedder, DlibEmbedder
from fitme.track.identity_crop import ARCFACE_ALIGNMENT, DLIB_ALIGNMENT, similarity, warp
from fitme.track.identity_sampling import sample_aligned


@pytest.fixture(scope="module")
def embedder():
    return DlibEmbedder()


@pytest.fixture(scope="module")
def landmarks(finder, astronaut):
    return finder.detect(astronaut)[0].landmarks


def test_similarity_recovers_a_known_one():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2))
    linear = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    found = similarity(points, points @ linear.T + [3.0, -2.0])
    assert found == pytest.approx(np.column_stack([linear, [3.0, -2.0]]))


@pytest.mark.parametrize("alignment", [DLIB_ALIGNMENT, ARCFACE_ALIGNMENT])
def test_alignment_puts_landmarks_on_the_template(alignment, landmarks):
    matrix = alignment.matrix(landmarks)
    placed = np.stack([landmarks[list(group)].mean(0) for group in alignment.groups]) @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(placed - alignment.template).max() < 0.08 * alignment.size


def test_the_differentiable_crop_is_the_crop(astronaut, landmarks):
    matrix = DLIB_ALIGNMENT.matrix(landmarks)
    image = torch.from_numpy(astronaut).float()[None]
    sampled = sample_aligned(image, torch.from_numpy(matrix).float()[None], 150)[0].numpy()
    assert np.abs(sampled - warp(astronaut, matrix, 150)).mean() < 1.5


def test_one_person_is_near_and_another_is_far(embedder, astronaut, landmarks, finder):
    reference = embedder.embed(astronaut, landmarks)
    noisy = np.clip(astronaut * 0.7 + np.random.default_rng(0).normal(0, 6, astronaut.shape), 0, 255).astype(np.uint8)
    mirrored = np.ascontiguousarray(noisy[:, ::-1])
    same = embedder.embed(mirrored, finder.detect(mirrored)[0].landmarks)
    assert np.linalg.norm(same - reference) < embedder.same_person_distance
    assert reference.shape == (128,)
    nobody = np.full_like(astronaut, 128)
    assert np.linalg.norm(embedder.embed(nobody, landmarks) - reference) > embedder.same_person_distance


def test_features_and_gradients(embedder):
    crops = (torch.rand(1, 150, 150, 3, generator=torch.Generator().manual_seed(0)) * 255.0).requires_grad_()
    features, embedding = embedder.features(crops)
    assert [tuple(f.shape[1:]) for f in features] == [
        (32, 35, 35), (32, 35, 35), (64, 17, 17), (128, 8, 8), (256, 4, 4)]  # fmt: skip
    embedding.square().sum().backward()
    assert crops.grad is not None
    assert float(crops.grad.abs().max()) > 0.0
    assert all(not parameter.requires_grad for parameter in embedder.parameters())


def test_a_truncated_network_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(DLIB_WEIGHTS.read_bytes()[:1_000_000])
    with pytest.raises(ModelFileError):
        DlibEmbedder(path)
    with pytest.raises(ModelFileError, match="absent"):
        DlibEmbedder(tmp_path / "absent.safetensors")


def test_arcface_without_its_parts_is_refused(tmp_path):
    expected = BackendError if importlib.util.find_spec("onnxruntime") is None else ModelFileError
    with pytest.raises(expected):
        ArcFaceEmbedder(tmp_path)
    assert issubclass(expected, FitmeError)


def test_the_network_agrees_with_dlibs_file(embedder):
    """`dlib_embeddings.npz`: crops of two synthetic heads, and what the network gave with the parameters in dlib's own
    file (dlib_face_recognition_resnet_model_v1.dat)."""
    stored = np.load(Path(__file__).with_name("dlib_embeddings.npz"))
    found = embedder(torch.from_numpy(stored["crops"]).float()).numpy()
    assert np.abs(found - stored["embeddings"]).max() < 1e-4
    assert np.linalg.norm(found[0] - found[1]) > 0.2


def test_the_network_gives_dlibs_numbers_for_a_grey_crop(embedder):
    # Computed by dlib 20.0; guards the reading of the weights where dlib is absent.
    found = embedder(torch.full((1, 150, 150, 3), 128.0))[0]
    assert found[:6].tolist() == pytest.approx(
        [-0.039053, 0.122813, 0.053047, -0.007809, -0.091093, -0.036209], abs=1e-5
    )
    assert float(found.norm()) == pytest.approx(1.342806, abs=1e-5)
