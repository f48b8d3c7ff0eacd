"""Adam over tensors whose moments outlive the leaves that they belong to.

Slices of one optimisation make new leaves of the same values; moments go on by position. The update is torch's own,
by its functional interface: the class `torch.optim.Adam` loads torch's compiler at first use, which takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
"""Of the moments, as Kingma and Ba (ICLR 2015) propose."""
EPSILON = 1e-8


@dataclass(frozen=True)
class Group:
    """Leaves that move at one rate."""

    leaves: Sequence[Tensor]
    rate: float
    """Size of a step where the gradient keeps its sign."""


class Adam:
    """Moments of one optimisation."""

    def __init__(self) -> None:
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        self._steps: list[Tensor] = []

    @torch.no_grad()
    def step(self, groups: Sequence[Group]) -> None:
        """Move the leaves along their gradients, which are taken away. The same shapes in the same order every time;
        moments begin anew when shapes change, and leaves without a gradient stay."""
        leaves = [leaf for group in groups for leaf in group.leaves]
        if [leaf.shape for leaf in leaves] != [moment.shape for moment in self._first]:
            self._first = [torch.zeros_like(leaf) for leaf in leaves]
            self._second = [torch.zeros_like(leaf) for leaf in leaves]
            self._steps = [torch.zeros(()) for _ in leaves]
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
