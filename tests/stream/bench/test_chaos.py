"""What the benchmark of disasters finds: damage that it makes, and pictures that are in another session."""

import random
from pathlib import Path

import numpy as np
import pytest

from fitme.errors import StoreError
from fitme.session.store import SessionStore
from stream.bench.chaos import LEAST_REDNESS, _flip_byte, _read, _without_red
from stream.bench.native_peer import frames_of
from tests.session.fit_states import make_state


def test_one_bit_of_one_stored_file_is_flipped(tmp_path: Path) -> None:
    with SessionStore(tmp_path) as store:
        store.write_round(make_state())
    files = [path for path in (tmp_path / "repository").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    _flip_byte(tmp_path, random.Random(0))
    changed = [path for path in files if path.read_bytes() != before[path]]
    assert len(changed) == 1
    pairs = zip(before[changed[0]], changed[0].read_bytes(), strict=True)
    assert sum((one ^ other).bit_count() for one, other in pairs) == 1
    with pytest.raises(StoreError, match="nothing is stored"):
        _flip_byte(tmp_path / "other", random.Random(0))


def test_people_are_told_apart_by_their_red() -> None:
    skin = np.full((48, 64, 3), (180, 150, 120), np.uint8)
    for frame, redder in ((frames_of([skin])[0], True), (_without_red(frames_of([skin])[0]), False)):
        red, green, _ = frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0)
        assert (red / green > LEAST_REDNESS) == redder


def test_stored_rounds_and_pictures_are_read(tmp_path: Path) -> None:
    state = make_state(rounds=3)
    with SessionStore(tmp_path) as store:
        store.write_round(state)
    found = _read(tmp_path)
    assert found.last_round == state.rounds[-1].index
    assert len(found.redness) == len(state.keyframes) + len(state.expression_frames)
