"""The sRGB curve: both ways, both libraries, all bytes."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.color import bytes_to_linear, linear_to_bytes, linear_to_srgb, srgb_to_linear


@given(st.floats(0.0, 1.0))
def test_encoding_and_decoding_are_inverse(value: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)
    # The published constants leave a step of 3e-8 at the knee.
    torch.testing.assert_close(srgb_to_linear(linear_to_srgb(x)), x, atol=1e-6, rtol=0.0)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_curve_grows(a: float, b: float) -> None:
    low, high = (linear_to_srgb(torch.tensor(x, dtype=torch.float64)) for x in sorted((a, b)))
    assert low <= high + 1e-7


def test_known_values() -> None:
    # IEC 61966-2-1: half of full code is about a fifth of full light.
    assert abs(float(srgb_to_linear(torch.tensor(0.5))) - 0.21404) < 1e-4
    assert abs(float(linear_to_srgb(torch.tensor(0.18))) - 0.46136) < 1e-4


def test_every_byte_survives() -> None:
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(linear_to_bytes(bytes_to_linear(codes)), codes)


def test_out_of_range_light_is_clipped() -> None:
    light = np.array([-1.0, 0.0, 1.0, 7.0], np.float32)
    assert linear_to_bytes(light).tolist() == [0, 0, 255, 255]
    np.testing.assert_allclose(linear_to_srgb(torch.from_numpy(light)), [0.0, 0.0, 1.0, 1.0], atol=1e-6)


def test_gradients_are_right_and_finite_at_black() -> None:
    x = torch.tensor([0.001, 0.01, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_to_srgb, (x,))
    assert torch.autograd.gradcheck(srgb_to_linear, (x,))
    black = torch.zeros(3, requires_grad=True)
    linear_to_srgb(black).sum().backward()
    assert black.grad is not None
    assert torch.isfinite(black.grad).all()
