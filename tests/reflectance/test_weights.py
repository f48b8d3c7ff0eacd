import pytest
import torch
from safetensors.torch import save_file

from fitme.errors import ModelFileError
from fitme.reflectance.packaged_models import packaged_generator
from fitme.reflectance.weights import PAINTED_WEIGHTS, load_generator, save_generator


def test_a_saved_generator_is_loaded_unchanged(tiny_generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    save_generator(tiny_generator, path, exact=True)
    loaded = load_generator(path)
    assert loaded.config == tiny_generator.config
    w_plus = torch.randn(1, loaded.num_layers, loaded.config.latent_size)
    torch.testing.assert_close(loaded.synthesize(w_plus).diffuse, tiny_generator.synthesize(w_plus).diffuse)
    torch.testing.assert_close(loaded.mean_w, tiny_generator.mean_w)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_rounded_files_are_nearly_equal(tiny_generator, tmp_path):
    path = tmp_path / "half.safetensors"
    save_generator(tiny_generator, path)
    w_plus = torch.randn(1, tiny_generator.num_layers, tiny_generator.config.latent_size)
    before, after = tiny_generator.synthesize(w_plus), load_generator(path).synthesize(w_plus)
    torch.testing.assert_close(after.diffuse, before.diffuse, rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("spoil", ["missing", "truncated", "text", "foreign", "other tensors", "no configuration"])
def test_unusable_files_are_refused_with_their_name(tiny_generator, tmp_path, spoil):
    path = tmp_path / "bad.safetensors"
    save_generator(tiny_generator, path)
    if spoil == "missing":
        path.unlink()
    elif spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif spoil == "text":
        path.write_text("not weights")
    elif spoil == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    else:
        config = '{"resolution": 64}' if spoil == "no configuration" else "{}"
        metadata = {"format": "fitme-reflectance-generator", "version": "1", "config": config}
        save_file({"x": torch.zeros(2)}, path, metadata)
    with pytest.raises(ModelFileError, match=r"bad\.safetensors"):
        load_generator(path)


def test_default_weights_are_small_enough_and_each_load_is_a_copy():
    assert PAINTED_WEIGHTS.stat().st_size < 25 * 2**20
    first, second = packaged_generator(), packaged_generator()
    first.mean_w.add_(1.0)
    assert not torch.equal(first.mean_w, second.mean_w)
