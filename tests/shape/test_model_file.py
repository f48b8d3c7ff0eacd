"""Reading models that a user brings: a round trip, and every way in which a file can be wrong."""

import numpy as np
import pytest
import torch

from fitme.errors import ModelFileError
from fitme.shape.model_file import DEFAULT_MODEL_PATH, load_default_model, load_model, save_model


def small_model(**changes):
    """Arrays of a valid tetrahedral 'head'."""
    landmarks = np.zeros(478, np.int32)
    arrays = {
        "format": np.int64(1),
        "mean": np.array([[0, 0.1, 0], [-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0, -0.1]], np.float32),
        "identity_basis": np.zeros((2, 4, 3), np.float16),
        "expression_basis": np.zeros((52, 4, 3), np.float16),
        "triangles": np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
        "uv": np.random.default_rng(0).random((5, 2)),
        "uv_triangles": np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 3, 2]]),
        "triangle_region": np.zeros(4, np.uint8),
        "eyeball_left": np.zeros(0, np.int64),
        "eyeball_right": np.zeros(0, np.int64),
        "mediapipe_triangles": landmarks - 1,
        "mediapipe_barycentric": np.full((478, 3), 1 / 3),
        "ibug_triangles": np.zeros(68, np.int16),
        "ibug_barycentric": np.full((68, 3), 1 / 3),
    }
    arrays.update(changes)
    return {name: value for name, value in arrays.items() if value is not None}


def written(path, **changes):
    np.savez(path, **small_model(**changes))
    return path


def test_a_minimal_model_loads_and_evaluates(tmp_path):
    model = load_model(written(tmp_path / "m.npz"))
    assert not model.mediapipe_valid.any()
    assert model.mean.dtype == torch.float32
    vertices = model.vertices(torch.zeros(1, 2), torch.ones(1, 52))
    assert torch.equal(vertices[0], model.mean)


def test_round_trip_keeps_the_default_model(tmp_path):
    model = load_default_model()
    save_model(tmp_path / "copy.npz", model)
    copy = load_model(tmp_path / "copy.npz")
    assert torch.equal(copy.mean, model.mean)
    assert torch.equal(copy.identity_basis, model.identity_basis)
    assert torch.equal(copy.uv_triangles, model.uv_triangles)
    assert torch.equal(copy.face_triangles, model.face_triangles)


def test_default_model_is_small_and_loaded_once():
    assert DEFAULT_MODEL_PATH.stat().st_size < 10e6
    assert load_default_model() is load_default_model()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": None}, "missing mean"),
        ({"format": np.int64(7)}, "format"),
        ({"mean": np.zeros((4, 2), np.float32)}, "mean has shape"),
        ({"mean": np.full((4, 3), np.nan, np.float32)}, "finite"),
        ({"mean": np.array([[0, 100, 0], [0, -100, 0], [1, 0, 0], [0, 0, 1]], np.float32)}, "metres"),
        ({"expression_basis": np.zeros((51, 4, 3), np.float32)}, "expression_basis has shape"),
        ({"identity_basis": np.zeros((2, 3, 3), np.float32)}, "identity_basis has shape"),
        ({"identity_basis": np.zeros((2, 12), np.float32)}, "three axes"),
        ({"triangles": np.full((4, 3), 9)}, "triangles holds values"),
        ({"triangles": np.zeros((4, 3))}, "integers"),
        ({"uv_triangles": np.full((4, 3), -1)}, "uv_triangles holds values"),
        ({"triangle_region": np.full(4, 99)}, "triangle_region holds values"),
        ({"ibug_triangles": np.full(68, -1)}, "ibug_triangles holds values"),
        ({"ibug_barycentric": np.zeros((68, 3))}, "sum to one"),
        ({"eyeball_left": np.array([4])}, "eyeball_left holds values"),
        ({"mirror": np.arange(3)}, "mirror has shape"),
    ],
)
def test_inconsistent_files_are_refused_with_a_reason(tmp_path, changes, words):
    with pytest.raises(ModelFileError, match=words):
        load_model(written(tmp_path / "m.npz", **changes))


def test_missing_truncated_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no morphable model"):
        load_model(tmp_path / "none.npz")
    whole = written(tmp_path / "m.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("not a model")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("cut.npz", "text.npz", "empty.npz", "array.npy"):
        with pytest.raises(ModelFileError):
            load_model(tmp_path / name)


def test_pickled_arrays_are_never_executed(tmp_path):
    np.savez(tmp_path / "m.npz", **small_model(mean=np.array([{"a": 1}], dtype=object)))
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m.npz")
