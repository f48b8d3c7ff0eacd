"""Loss terms: zero where nothing is wrong, gradients that agree with finite differences."""

import numpy as np
import torch

from fitme.color import linear_to_srgb
from fitme.fit.inversion.losses import encoded_l1, gradient_l1, identity_losses, landmark_loss, target_face
from fitme.track.identity import DlibEmbedder


def test_gradients_in_double_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    linear = (0.2 + 0.6 * torch.rand(1, 8, 8, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    target = torch.rand(1, 8, 8, 3, generator=generator, dtype=torch.float64)
    weight = torch.rand(1, 8, 8, 1, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: encoded_l1(x, target, weight), (linear,))
    assert torch.autograd.gradcheck(lambda x: gradient_l1(x, target, weight), (linear,))
    points = torch.rand(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    observed = points.detach() * 0.5
    sigma = torch.full((5,), 0.2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: landmark_loss(x, observed, sigma), (points,))


def test_unweighted_pixels_do_not_count() -> None:
    linear = torch.rand(1, 8, 8, 3)
    target = linear_to_srgb(linear)
    weight = torch.ones(1, 8, 8, 1)
    assert encoded_l1(linear, target, weight) == 0.0
    spoilt = target.clone()
    spoilt[:, :4] = 0.0
    assert encoded_l1(linear, spoilt, weight) > 0.1
    weight[:, :4] = 0.0
    assert encoded_l1(linear, spoilt, weight) == 0.0
    assert gradient_l1(linear, spoilt, weight) == 0.0


def test_gradient_loss_ignores_brightness() -> None:
    encoded = torch.rand(1, 16, 16, 3) * 0.5
    brighter = encoded + 0.2
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    weight = torch.ones(1, 16, 16, 1)
    assert gradient_l1(linear, brighter, weight) < 1e-5
    assert encoded_l1(linear, brighter, weight) > 0.19


def test_absent_landmarks_have_no_pull() -> None:
    projected = torch.zeros(3, 2, requires_grad=True)
    observed = torch.full((3, 2), 9.0)
    landmark_loss(projected, observed, torch.tensor([1.0, 1.0, torch.inf])).backward()
    assert projected.grad is not None
    assert (projected.grad[:2] < 0.0).all()
    assert (projected.grad[2] == 0.0).all()


def test_identity_terms_grow_with_the_difference_and_reach_the_picture() -> None:
    embedder = DlibEmbedder()
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(1, 3, 12, 12, generator=generator)
    target = torch.nn.functional.interpolate(target, size=192, mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
    landmarks = np.random.default_rng(0).uniform(40.0, 150.0, (478, 2)).astype(np.float32)
    for index, place in {263: (130, 80), 362: (110, 80), 33: (60, 80), 133: (80, 80), 2: (95, 120)}.items():
        landmarks[index] = place
    wanted = target_face(embedder, target, landmarks)
    same = identity_losses(embedder, target, wanted, landmarks)
    assert max(float(term) for term in same) < 1e-4
    near = (target + 0.02 * torch.randn(target.shape, generator=generator)).requires_grad_()
    far = target.flip(2)
    near_terms = identity_losses(embedder, near, wanted, landmarks)
    far_terms = identity_losses(embedder, far, wanted, landmarks)
    assert all(0.0 < a.item() < b.item() for a, b in zip(near_terms, far_terms, strict=True))
    (near_terms[0] + near_terms[1]).backward()
    assert near.grad is not None
    assert near.grad.abs().max() > 0.0
