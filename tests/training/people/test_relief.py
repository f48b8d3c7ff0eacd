"""Relief from albedo: hollows are dark, and their rims lean towards them."""

import torch

from fitme.training.people.relief import blurred, with_relief


def test_flat_skin_has_no_relief():
    diffuse = torch.full((1, 3, 64, 64), 0.6)
    ones = torch.ones(1, 1, 64, 64)
    maps = with_relief(diffuse, 0.4 * ones, torch.zeros(1, 2, 64, 64), ones)
    torch.testing.assert_close(maps[:, 4:], torch.zeros(1, 2, 64, 64), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(maps[:, 3:4], 0.4 * ones, atol=1e-5, rtol=0.0)


def test_a_dark_spot_is_a_hollow():
    spot = blurred(
        torch.zeros(1, 1, 512, 512).index_put_(
            (torch.tensor(0), torch.tensor(0), *(torch.tensor([256]),) * 2), torch.tensor(1.0)
        ),
        3.0,
    )
    diffuse = (0.6 - 0.1 * spot / spot.max()).expand(-1, 3, -1, -1)
    ones = torch.ones(1, 1, 512, 512)
    slopes = with_relief(diffuse, 0.4 * ones, torch.zeros(1, 2, 512, 512), ones)[0, 4:]
    # Normals of a hollow's rim point to its middle: x along columns, y up the layout.
    assert slopes[0, 256, 252] > 1e-3
    assert slopes[0, 256, 260] < -1e-3
    assert slopes[1, 252, 256] < -1e-3
    assert slopes[1, 260, 256] > 1e-3


def test_nothing_changes_off_the_skin():
    random = torch.Generator().manual_seed(0)
    diffuse = torch.rand(1, 3, 64, 64, generator=random)
    slopes = torch.rand(1, 2, 64, 64, generator=random)
    maps = with_relief(diffuse, torch.zeros(1, 1, 64, 64), slopes, torch.zeros(1, 1, 64, 64))
    torch.testing.assert_close(maps[:, 4:], slopes)
