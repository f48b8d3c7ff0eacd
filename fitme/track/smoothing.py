"""One-Euro filter: steady when the signal is constant, prompt when it moves (Casiez, Roussel and Vogel, CHI 2012)."""

import numpy as np

from fitme.arrays import Float64Array
from fitme.track.settings import OneEuroSettings


class OneEuroFilter:
    """Filter of vectors of one length, elementwise."""

    def __init__(self, settings: OneEuroSettings) -> None:
        self._settings = settings
        self._value: Float64Array | None = None
        self._speed: Float64Array | None = None
        self._time_s = 0.0

    def reset(self) -> None:
        """Drop the state: the next value passes unchanged."""
        self._value = self._speed = None

    def __call__(self, value: Float64Array, time_s: float) -> Float64Array:
        """Filtered value (N,) at a time in seconds, which must grow: otherwise the state and the last result stay."""
        if self._value is None or self._speed is None:
            self._value, self._speed, self._time_s = value.copy(), np.zeros_like(value), time_s
            return value
        elapsed_s = time_s - self._time_s
        if elapsed_s <= 0.0:
            return self._value
        # The cutoff follows the smoothed speed, so that a moving signal lags less.
        settings = self._settings
        speed = (value - self._value) / elapsed_s
        self._speed = self._speed + _share(np.array(settings.speed_cutoff_hz), elapsed_s) * (speed - self._speed)
        cutoff_hz = settings.minimal_cutoff_hz + settings.speed_gain * np.abs(self._speed)
        self._value = self._value + _share(cutoff_hz, elapsed_s) * (value - self._value)
        self._time_s = time_s
        return self._value


def _share(cutoff_hz: Float64Array, elapsed_s: float) -> Float64Array:
    """Weight of a new value in a first-order low pass."""
    ratio = 2.0 * np.pi * cutoff_hz * elapsed_s
    share: Float64Array = ratio / (1.0 + ratio)
    return share
