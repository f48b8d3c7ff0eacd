"""Random choices of the truth benchmark's subjects, and its sensor model."""

import dataclasses

import numpy as np
import pytest

from fitme.bench.truth.lights import HARD_KINDS, WEBCAM_KINDS, LightKind
from fitme.bench.truth.sensor import METERED_LEVEL, metered_exposure, simulate_sensor, white_balance
from fitme.bench.truth.subjects import FIRST_SKIN_SEED, LARGEST_YAW_DEG, subject, under_lights
from fitme.skin.skin_tone_classes import CLASS_NAMES
from fitme.training.data.dataset import HELD_OUT_SEED

SUBJECTS = 12


@pytest.fixture(scope="module")
def subjects():
    return [subject(number) for number in range(SUBJECTS)]


def test_tones_are_spread_over_all_classes(subjects):
    assert sorted(s.tone for s in subjects) == sorted(2 * CLASS_NAMES)


def test_skin_seeds_are_distinct_and_held_out(subjects):
    assert all(s.skin_seed >= FIRST_SKIN_SEED > HELD_OUT_SEED for s in subjects)
    assert len({s.skin_seed for s in subjects}) == SUBJECTS


def test_half_of_the_frames_are_held_out_and_heads_turn_both_ways(subjects):
    for drawn in subjects:
        assert sum(frame.held_out for frame in drawn.frames) == len(drawn.frames) // 2
        for held_out in (False, True):
            yaws = [np.degrees(f.pose.yaw_pitch_roll()[0]) for f in drawn.frames if f.held_out is held_out]
            assert min(yaws) < -30.0
            assert max(yaws) > 30.0
            assert max(np.abs(yaws)) < LARGEST_YAW_DEG + 8.0


def test_light_differs_between_the_frames_of_some(subjects):
    changing = [len(s.lights) > 1 for s in subjects]
    assert 0 < sum(changing) < SUBJECTS
    assert {light.kind for s in subjects for light in s.lights} == set(WEBCAM_KINDS)
    for drawn in subjects:
        assert {frame.light for frame in drawn.frames} == set(range(len(drawn.lights)))


@pytest.mark.parametrize("kind", HARD_KINDS)
def test_a_hard_light_is_all_that_differs(subjects, kind):
    for drawn in subjects:
        changed = under_lights(drawn, [kind])
        assert [light.kind for light in changed.lights] == [kind]
        assert {frame.light for frame in changed.frames} == {0}
        assert dataclasses.replace(changed, lights=drawn.lights, frames=drawn.frames) == drawn
        # The source adds as much as a room all around or more, and is small: its edge blurs over less than 3 degrees.
        source, room = changed.lights[0].sources[0], changed.lights[0].surroundings
        angle = source.side_m / source.distance_m
        assert source.radiance[1] * angle**2 > 0.7 * np.pi * room[1]
        assert np.degrees(angle) < 3.0


def test_lights_of_different_days_come_in_turn(subjects):
    kinds = [LightKind.WINDOW, LightKind.LAMP, LightKind.OUTDOORS]
    changed = under_lights(subjects[1], kinds)
    assert [light.kind for light in changed.lights] == kinds
    assert [frame.light for frame in changed.frames[:8]] == [0, 0, 1, 1, 2, 2, 0, 0]
    for held_out in (False, True):
        assert {frame.light for frame in changed.frames if frame.held_out is held_out} == {0, 1, 2}


def test_two_lamps_colour_the_sides_of_a_face(subjects):
    for drawn in subjects:
        (light,) = under_lights(drawn, [LightKind.TWO_LAMPS]).lights
        warm, violet = light.sources
        assert warm.direction[0] * violet.direction[0] < 0.0
        assert warm.radiance[0] > 2.0 * warm.radiance[2]
        assert violet.radiance[2] > 2.0 * violet.radiance[1]


def test_a_number_determines_the_subject_and_fewer_frames_are_a_prefix():
    again, short = subject.__wrapped__(4), subject(4, 6)
    assert again.identity == subject(4).identity
    assert len(short.frames) == 6
    assert short.lights == again.lights
    for mine, other in zip(short.frames, again.frames, strict=False):
        assert np.array_equal(mine.pose.rotation, other.pose.rotation)
        assert mine.expression == other.expression


def test_exposure_normalises_the_level_of_any_light(subjects):
    radiance = np.random.default_rng(0).uniform(0.1, 0.3, (48, 64, 3)).astype(np.float32)
    assert metered_exposure(2.0 * radiance) == pytest.approx(metered_exposure(radiance) / 2.0)
    assert (metered_exposure(radiance) * radiance).mean() == pytest.approx(METERED_LEVEL, rel=0.1)


def test_white_balance_takes_out_a_tint(subjects):
    lamp = next(light for s in subjects for light in s.lights if light.kind is LightKind.LAMP)
    full = dataclasses.replace(subjects[0].sensor, white_balance=1.0)
    none = dataclasses.replace(full, white_balance=0.0)
    red, green, blue = white_balance(lamp, full)
    assert red < green < blue
    assert np.allclose(white_balance(lamp, none), 1.0)


def test_sensor_noise_grows_with_the_light(subjects):
    sensor = subjects[0].sensor
    ones = np.ones(3, np.float32)
    deviations = []
    for level in (0.05, 0.6):
        flat = np.full((64, 64, 3), level, np.float32)
        linear = (simulate_sensor(flat, 1.0, ones, sensor, 1).astype(np.float64) / 255.0) ** 2.2
        deviations.append(linear.std())
    assert deviations[0] < deviations[1] < 0.05
