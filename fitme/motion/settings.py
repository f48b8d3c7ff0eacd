"""Settings of motion that is sent to other programs."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True)
class MotionSettings:
    """Sending to other programs."""

    vmc_bytes_per_second: Annotated[float, Meta(ge=10_000.0, le=10_000_000.0)] | None = 33_000.0
    """Payload of VMC at most, for each receiver: 60 frames a second then cost 35 kB/s, headers of the network included.
    Blend shapes that change little wait for their turn. Without a limit (null) each frame has all: 170 kB/s."""
