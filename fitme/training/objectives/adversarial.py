"""Adversarial term: non-saturating loss of a discriminator on windows of maps, with adaptive augmentation and a lazy R1
penalty.

Non-saturating loss: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, section 3. R1: Mescheder et al.,
"Which Training Methods for GANs do actually Converge?", ICML 2018, equation 9. Lazy regularisation: StyleGAN2, Karras
et al., CVPR 2020, section 3.1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.training.objectives.augmentation import AdaptiveAugmentation
from fitme.training.objectives.discriminator import BranchedDiscriminator, DiscriminatorConfig
from fitme.training.objectives.reconstruction import by_modality


@dataclass(frozen=True)
class AdversaryConfig:
    """Settings of the adversarial term."""

    weight: float = 0.004
    """Weight of the generator's non-saturating loss relative to its reconstruction; 0 trains without a
    discriminator."""
    interval: int = 3
    """Steps of the generator between two adversarial steps."""
    learning_rate: float = 1e-3
    """Of the discriminator."""
    gradient_penalty: float = 2.0
    """Gamma of R1."""
    penalty_interval: int = 4
    """Steps of the discriminator between two penalties."""
    augmentation_target: float = 0.6
    """E[sign(D(real))] to which the augmentation's probability is controlled."""
    augmentation_images: int = 20_000
    """Real maps over which the augmentation's probability can rise from 0 to 1."""


class Adversary:
    """Discriminator under training. Its inputs are whole maps, or windows of its own resolution of larger ones."""

    def __init__(
        self, config: AdversaryConfig, network: DiscriminatorConfig, resolution: int, device: torch.device, seed: int
    ) -> None:
        self._config = config
        self._size = min(network.resolution, resolution)
        self._seed = seed
        self.discriminator = BranchedDiscriminator(network).to(device)
        self.augmentation = AdaptiveAugmentation(config.augmentation_target, config.augmentation_images)
        self._optimizer = torch.optim.Adam(self.discriminator.parameters(), config.learning_rate, (0.0, 0.99))
        centres = (torch.arange(resolution, device=device) + 0.5) / resolution * 2.0 - 1.0
        self._position = torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[None]  # (1, 2, R, R)
        self._uses = 0

    def losses(self, fake: Tensor, real: Tensor, step: int) -> dict[str, Tensor]:
        """Train the discriminator for a step on maps (B, 6, R, R) of the generator and of the data; losses by name:
        `discriminator` (detached) and the generator's `adversarial` (weighted, with a gradient)."""
        draw = np.random.default_rng((self._seed, step))
        top, left = (int(k) for k in draw.integers(real.shape[-1] - self._size + 1, size=2))
        rows, columns = slice(top, top + self._size), slice(left, left + self._size)
        fake, real, position = (x[..., rows, columns] for x in (fake, real, self._position))
        random = torch.Generator(real.device).manual_seed(int(draw.integers(2**62)))
        # The discriminator first; then its weights are constants of the generator's loss.
        discriminator_loss = self._train(fake.detach(), real, position, random)
        self.discriminator.requires_grad_(False)
        score = self._score(fake, position, random)
        self.discriminator.requires_grad_(True)
        return {
            "discriminator": discriminator_loss,
            "adversarial": self._config.weight * functional.softplus(-score).mean(),
        }

    def state(self) -> dict[str, Any]:
        """State of the training, for `restore`."""
        return {
            "discriminator": dict(self.discriminator.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "augmentation": self.augmentation.state_dict(),
            "uses": self._uses,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.augmentation.load_state_dict(state["augmentation"])
        self._uses = int(state["uses"])

    def _score(self, maps: Tensor, position: Tensor, random: torch.Generator) -> Tensor:
        """Scores (B,) of augmented maps."""
        maps, position = self.augmentation(maps, position, random)
        scores: Tensor = self.discriminator(by_modality(maps), position)
        return scores

    def _train(self, fake: Tensor, real: Tensor, position: Tensor, random: torch.Generator) -> Tensor:
        """Step of the discriminator; its loss without the penalty."""
        config = self._config
        penalised = self._uses % config.penalty_interval == 0
        real = real.detach().requires_grad_(penalised)
        real_score = self._score(real, position, random)
        loss = functional.softplus(self._score(fake, position, random)).mean() + functional.softplus(-real_score).mean()
        total = loss
        if penalised:
            (gradient,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
            penalty = gradient.square().sum((1, 2, 3)).mean()
            total = loss + config.gradient_penalty / 2.0 * config.penalty_interval * penalty
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.augmentation.update(real_score)
        self._uses += 1
        return loss.detach()
