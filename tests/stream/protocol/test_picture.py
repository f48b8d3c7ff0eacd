"""Pictures survive the wire; damaged ones are a typed error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.protocol.picture import Codec, Picture
from stream.protocol.protocol import STAGES, ProtocolError

times = st.floats(0, 1e9)
angles = st.floats(-4, 4, width=32)
pictures = st.builds(
    Picture,
    sequence=st.integers(0, 2**32 - 1),
    codec=st.sampled_from(Codec),
    stage=st.integers(0, len(STAGES) - 1),
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


@given(pictures)
def test_pictures_survive(picture: Picture) -> None:
    message = picture.pack()
    assert len(message) == 80 + len(picture.payload)
    assert Picture.unpack(message) == picture


@given(pictures, st.data())
def test_damaged_pictures_are_refused(picture: Picture, data: st.DataObject) -> None:
    message = picture.pack()
    cut = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(ProtocolError):
        Picture.unpack(message[:cut])
    with pytest.raises(ProtocolError):
        Picture.unpack(b"XITM" + message[4:])
