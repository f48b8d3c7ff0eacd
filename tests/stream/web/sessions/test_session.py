"""Whose place somebody else may have."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from stream.protocol.events import KeptEvent
from stream.web.sessions.rights import SessionRights
from stream.web.sessions.session import Session


def session() -> Session:
    engine = cast("Any", SimpleNamespace(request_render=lambda name: None))
    return Session("name", Path("nowhere"), engine, False, SessionRights("owner", ""), "127.0.0.1")


def test_a_hidden_pages_silent_camera_gives_way_after_a_time_to_whoever_waits() -> None:
    watched = session()
    watched.relay.join(KeptEvent(False))
    watched.peer = cast("Any", object())
    watched.cameraless_since_s = time.monotonic() - 100.0
    assert not watched.parkable(30.0), "its camera sends"
    watched.camera_is_silent = True
    assert watched.parkable(30.0)
    watched.cameraless_since_s = time.monotonic()
    assert not watched.parkable(30.0)
    assert not watched.idle
