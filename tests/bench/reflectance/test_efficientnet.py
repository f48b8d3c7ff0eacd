"""EfficientNet-lite0: strict loading, and classification of known photos."""

import numpy as np
import pytest
import torch

from fitme.bench.reflectance.efficientnet import FEATURES, INPUT_PX, EfficientNetLite0, imagenet_network, with_weights
from fitme.errors import ModelFileError

ESPRESSO, TABBY, TIGER_CAT, EGYPTIAN_CAT = 967, 281, 282, 285


def load_photo(name: str) -> torch.Tensor:
    """Centre square of a photo of scikit-image, sRGB in [0, 1], (1, 3, H, H)."""
    from skimage import data

    photo = getattr(data, name)()
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    square = np.ascontiguousarray(photo[top : top + side, left : left + side])
    return torch.from_numpy(square).permute(2, 0, 1)[None] / 255.0


def test_it_recognises_a_cup_of_coffee_and_a_cat():
    network = imagenet_network()
    assert int(network(load_photo("coffee")).argmax()) == ESPRESSO
    assert set(network(load_photo("chelsea"))[0].topk(3).indices.tolist()) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}


def test_features_are_finite_deterministic_and_distinguish_images():
    network = imagenet_network()
    cat, coffee = load_photo("chelsea"), load_photo("coffee")
    features = network.features(cat)
    assert features.shape == (1, FEATURES)
    assert bool(features.isfinite().all()) and float(features.min()) >= 0.0
    assert torch.equal(features, network.features(cat))
    assert float((features - network.features(coffee)).norm()) > 0.5 * float(features.norm())


def test_a_batch_has_the_features_of_its_single_images():
    network = imagenet_network()
    batch = torch.rand(3, 3, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(0))
    single = torch.cat([network.features(one[None]) for one in batch])
    torch.testing.assert_close(network.features(batch), single, rtol=1e-3, atol=1e-3)


def test_loading_is_strict():
    weights = EfficientNetLite0().state_dict()
    with_weights(weights)
    for broken in (
        {name: value for name, value in weights.items() if name != "_conv_head.weight"},
        weights | {"surplus": torch.zeros(1)},
        weights | {"_fc.weight": torch.zeros(10, FEATURES)},
    ):
        with pytest.raises(ModelFileError, match="EfficientNet"):
            with_weights(broken)
