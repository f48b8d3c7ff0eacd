"""Adam (Kingma and Ba, ICLR 2015) whose state is kept across time slices.

Every slice of an optimisation makes new leaf tensors; moments are matched to them by position. The update is the
functional one of torch: the class `torch.optim.Adam` loads torch's compiler at first use, which takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
"""Decay rates beta_1 and beta_2 of the moments, as published."""
EPSILON = 1e-8


@dataclass(frozen=True)
class Group:
    """Leaves of one learning rate."""

    leaves: Sequence[Tensor]
    rate: float
    """Learning rate: size of a step while the gradient keeps its sign."""


class Adam:
    """State of one optimisation: moments and step counts."""

    def __init__(self) -> None:
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        self._steps: list[Tensor] = []

    @torch.no_grad()
    def step(self, groups: Sequence[Group]) -> None:
        """Update the leaves by their gradients, and clear these. State is reset when the leaves' shapes or their order
        change; leaves without a gradient are not updated."""
        leaves = [leaf for group in groups for leaf in group.leaves]
        if [leaf.shape for leaf in leaves] != [moment.shape for moment in self._first]:
            self._first = [torch.zeros_like(leaf) for leaf in leaves]
            self._second = [torch.zeros_like(leaf) for leaf in leaves]
            self._steps = [torch.zeros((), device=leaf.device) for leaf in leaves]
        begin = 0
        for group in groups:
            places = [begin + i for i, leaf in enumerate(group.leaves) if leaf.grad is not None]
            begin += len(group.leaves)
            if places:
                adam(
                    [leaves[i] for i in places],
                    [leaf.grad for leaf in group.leaves if leaf.grad is not None],
                    [self._first[i] for i in places],
                    [self._second[i] for i in places],
                    [],
                    [self._steps[i] for i in places],
                    fused=True,
                    amsgrad=False,
                    beta1=FIRST_DECAY,
                    beta2=SECOND_DECAY,
                    lr=group.rate,
                    weight_decay=0.0,
                    eps=EPSILON,
                    maximize=False,
                )
        for leaf in leaves:
            leaf.grad = None
