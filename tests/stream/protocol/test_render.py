"""Renders survive the wire; damaged ones are a typed error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.stage import Stage
from stream.protocol.protocol import ProtocolError
from stream.protocol.render import Codec, Render

times = st.floats(0, 1e9)
angles = st.floats(-4, 4, width=32)
renders = st.builds(
    Render,
    sequence=st.integers(0, 2**32 - 1),
    codec=st.sampled_from(Codec),
    stage=st.integers(0, len(Stage) - 1),
    width=st.integers(0, 65535),
    height=st.integers(0, 65535),
    capture_time_s=times,
    received_time_s=times,
    rendered_time_s=times,
    sent_time_s=times,
    pose=st.tuples(angles, angles, angles, angles, angles, angles),
    rounds=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=64),
)


@given(renders)
def test_renders_survive(render: Render) -> None:
    message = render.pack()
    assert len(message) == 80 + len(render.payload)
    assert Render.unpack(message) == render


@given(renders, st.data())
def test_damaged_renders_are_refused(render: Render, data: st.DataObject) -> None:
    message = render.pack()
    cut = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(ProtocolError):
        Render.unpack(message[:cut])
    with pytest.raises(ProtocolError):
        Render.unpack(b"XITM" + message[4:])
