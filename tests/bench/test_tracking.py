"""Figures of `fitme bench track` for signals of known lag and jitter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.bench.tracking import jitter_px, lag_of, still_frames, tracking
from fitme.shape.model_file import load_default_model
from fitme.synthetic.clip import ClipSettings


@given(lag=st.floats(0.0, 5.5), offset=st.floats(-0.3, 0.3))
def test_a_delayed_signal_s_lag_is_found_whatever_its_offset(lag: float, offset: float) -> None:
    times = np.arange(200.0)
    truth = np.sin(times / 9.0)
    found = np.interp(times - lag, times, truth) + offset
    assert lag_of(truth, found) == pytest.approx(lag, abs=0.15)


@given(st.floats(0.0, 5.0))
def test_jitter_is_the_spread_of_places_not_their_distance(sigma: float) -> None:
    draw = np.random.default_rng(0)
    places = 300.0 * draw.random((1, 50, 2)) + sigma * draw.standard_normal((400, 50, 2))
    assert jitter_px(places) == pytest.approx(np.sqrt(2.0) * sigma, rel=0.05, abs=1e-6)


def test_still_frames_differ_by_noise_alone() -> None:
    settings = replace(ClipSettings(), width=160, height=120, seconds=0.1)
    first, second = (frame.image.astype(float) for frame in still_frames(settings, load_default_model(), 2))
    assert 0.5 < (first - second).std() < 4.0
    assert abs((first - second).mean()) < 0.1


def test_a_short_clip_is_followed_with_little_lag_and_jitter() -> None:
    rows = {row.name: row.value for row in tracking(ClipSettings(seconds=3.0))}
    assert rows["frames without a face"] == 0.0
    assert rows["still face: jitter of the driven landmarks"] < 0.3
    assert rows["turning head: lag"] < 60.0
    assert rows["closed eyes: lid coefficient reached, median"] > 0.5
