"""Consistency of specular albedo and normals with the diffuse albedo of their head: retrieval by a small network.

Three towers embed the modalities of a head; a contrastive loss (InfoNCE: van den Oord et al., "Representation Learning
with Contrastive Predictive Coding", 2018, eq. 4, both ways) pulls embeddings of one head together. The network is
trained on real maps alone; its rate of finding the right partner among `CANDIDATES` measures consistency.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fitme.reflectance.layers import downsample

RESOLUTION = 128
"""Texels a side of the network's input."""
CANDIDATES = 32
WIDTHS = (16, 24, 32, 48)
"""Channels of a tower after each convolution, which halves the resolution."""
EMBEDDING = 48
STEPS, BATCH = 300, 32
RATE, WEIGHT_DECAY = 2e-3, 1e-2
INVERSE_TEMPERATURE = 10.0
"""Inverse temperature of the softmax over candidates."""
SLOPE_GAIN = 5.0
"""Factor on slopes, so that their magnitude equals that of the albedos."""


@dataclass(frozen=True)
class Retrieval:
    """Share of heads whose partner ranked first among `CANDIDATES`; by chance 1 / `CANDIDATES`."""

    specular: float
    normals: float


class Tower(nn.Module):
    """Convolutional encoder of one modality (B, C, 128, 128) to embeddings (B, E), not normalised."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(inputs, width, 3, 2, 1), nn.GroupNorm(4, width), nn.LeakyReLU(0.2)]
        side = RESOLUTION >> len(WIDTHS)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * side * side, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 128, 128) to (B, E)."""
        embedding: Tensor = self.body(x)
        return embedding


class RetrievalNetwork(nn.Module):
    """Towers of diffuse albedo (one embedding for each partner), specular albedo and normals."""

    def __init__(self) -> None:
        super().__init__()
        self.diffuse, self.specular, self.normals = Tower(3, 2 * EMBEDDING), Tower(1, EMBEDDING), Tower(2, EMBEDDING)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """Cosines (B, B) between the diffuse albedo of one head (row) and the partner of another (column), by partner,
        from a dataset's maps (B, 6, 128, 128)."""
        centred = maps[:, :4] * 4.0 - 2.0
        of_diffuse = self.diffuse(centred[:, :3]).chunk(2, 1)
        partners = (self.specular(centred[:, 3:]), self.normals(maps[:, 4:] * SLOPE_GAIN))
        cosines = [
            functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T
            for a, b in zip(of_diffuse, partners, strict=True)
        ]
        return {"specular": cosines[0], "normals": cosines[1]}


def train_retrieval(maps: Tensor, seed: int = 0, steps: int = STEPS) -> RetrievalNetwork:
    """Retrieval network trained on real maps (N, 6, R, R) with random mirroring; deterministic for a seed.

    Raises ValueError with fewer than `BATCH` heads.
    """
    if len(maps) < BATCH:
        raise ValueError(f"{len(maps)} heads are too few to train on: {BATCH} are needed")
    maps = downsampled(maps)
    # Mirroring flips the sign of slopes along u.
    mirror = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, 1.0])[:, None, None]
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = RetrievalNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    own = torch.arange(BATCH)
    for _ in range(steps):
        batch = maps[torch.randperm(len(maps), generator=random)[:BATCH]]
        mirrored = torch.rand(BATCH, generator=random) < 0.5
        batch = torch.where(mirrored[:, None, None, None], batch.flip(-1) * mirror, batch)
        # InfoNCE both ways: rows retrieve partners, columns retrieve diffuse albedos.
        loss = torch.zeros(())
        for cosine in network(batch).values():
            logits = INVERSE_TEMPERATURE * cosine
            loss = loss + functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def retrieve_partners(network: RetrievalNetwork, maps: Tensor) -> Retrieval:
    """Rates at which the network finds a head's specular albedo and normals by its diffuse albedo among the
    `CANDIDATES` heads of its group; of maps (N, 6, R, R), an incomplete last group is dropped.

    Raises ValueError with fewer than `CANDIDATES` heads.
    """
    groups = torch.split(downsampled(maps), CANDIDATES)
    whole = [group for group in groups if len(group) == CANDIDATES]
    if not whole:
        raise ValueError(f"{len(maps)} heads do not make a group of {CANDIDATES}")
    own = torch.arange(CANDIDATES)
    hits: dict[str, list[float]] = {"specular": [], "normals": []}
    for group in whole:
        for partner, cosine in network(group).items():
            hits[partner].append(float((cosine.argmax(1) == own).float().mean()))
    return Retrieval(*(sum(found) / len(found) for found in (hits["specular"], hits["normals"])))


def downsampled(maps: Tensor) -> Tensor:
    """Maps (N, 6, R, R) downsampled to `RESOLUTION`."""
    return downsample(maps, maps.shape[-1] // RESOLUTION)
