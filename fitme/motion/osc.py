"""Open Sound Control 1.0: packing and unpacking of messages and bundles (opensoundcontrol.stanford.edu/spec-1_0.html).

Only what motion needs: int32, float32 and string arguments when packing; those, and true, false, nil, int64, double and
blob when unpacking. All numbers are big-endian, strings end with a zero byte and are padded to four bytes.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fitme.errors import InputError

BUNDLE: bytes = b"#bundle\0"
IMMEDIATELY = 1
"""Time tag of a bundle that is to be handled when it comes."""
DEEPEST_BUNDLE = 4
"""Bundles may contain bundles, up to here."""
LONGEST_BLOB_BYTES = 65_535

Argument = int | float | str | bytes | bool | None


class OscError(InputError):
    """A packet is not Open Sound Control's."""


@dataclass(frozen=True)
class OscMessage:
    """Address and arguments."""

    address: str
    arguments: tuple[Argument, ...]


def packed_string(text: str) -> bytes:
    """UTF-8 with a zero byte at its end, padded with zeros to a multiple of four bytes."""
    data = text.encode() + b"\0"
    return data + b"\0" * (-len(data) % 4)


def packed_message(address: str, *arguments: int | float | str) -> bytes:
    """One message."""
    tags, data = ",", b""
    for argument in arguments:
        if isinstance(argument, str):
            tags, data = tags + "s", data + packed_string(argument)
        elif isinstance(argument, int):
            tags, data = tags + "i", data + struct.pack(">i", argument)
        else:
            tags, data = tags + "f", data + struct.pack(">f", argument)
    return packed_string(address) + packed_string(tags) + data


def packed_bundle(messages: Iterable[bytes]) -> bytes:
    """A bundle of packed messages, to be handled when it comes."""
    parts = [BUNDLE, struct.pack(">Q", IMMEDIATELY)]
    for message in messages:
        parts += (struct.pack(">i", len(message)), message)
    return b"".join(parts)


def unpacked_messages(packet: bytes) -> list[OscMessage]:
    """The messages of a packet, those of bundles in order.

    :raises OscError: if it is none of the protocol's.
    """
    try:
        return list(_messages(packet, 0))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise OscError(f"not Open Sound Control: {error}") from error


def _messages(packet: bytes, depth: int) -> Iterator[OscMessage]:
    if not packet.startswith(BUNDLE):
        yield _message(packet)
        return
    if depth >= DEEPEST_BUNDLE:
        raise OscError("not Open Sound Control: bundles within bundles without end")
    offset = len(BUNDLE) + 8
    if len(packet) < offset:
        raise OscError("not Open Sound Control: a bundle without its time tag")
    while offset < len(packet):
        (size,) = struct.unpack_from(">i", packet, offset)
        offset += 4
        if size <= 0 or offset + size > len(packet):
            raise OscError(f"not Open Sound Control: an element of {size} bytes in a packet of {len(packet)}")
        yield from _messages(packet[offset : offset + size], depth + 1)
        offset += size


def _message(packet: bytes) -> OscMessage:
    if not packet.startswith(b"/"):
        raise OscError(f"not Open Sound Control: it begins with {packet[:8]!r}, neither an address nor a bundle")
    address, offset = _string(packet, 0)
    if offset >= len(packet):
        return OscMessage(address, ())  # old senders leave out the types of no arguments
    tags, offset = _string(packet, offset)
    if not tags.startswith(","):
        raise OscError(f"not Open Sound Control: types {tags[:16]!r} without a comma")
    arguments: list[Argument] = []
    for tag in tags[1:]:
        argument, offset = _argument(tag, packet, offset)
        arguments.append(argument)
    return OscMessage(address, tuple(arguments))


_NUMBERS = {"i": struct.Struct(">i"), "f": struct.Struct(">f"), "h": struct.Struct(">q"), "d": struct.Struct(">d")}
_CONSTANTS: dict[str, bool | None] = {"T": True, "F": False, "N": None}


def _argument(tag: str, packet: bytes, offset: int) -> tuple[Argument, int]:
    """An argument of a type, and the offset behind it."""
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], offset
    if (number := _NUMBERS.get(tag)) is not None:
        (value,) = number.unpack_from(packet, offset)
        return value, offset + number.size
    if tag in "sS":
        return _string(packet, offset)
    if tag == "b":
        (size,) = struct.unpack_from(">i", packet, offset)
        if not 0 <= size <= LONGEST_BLOB_BYTES or offset + 4 + size > len(packet):
            raise OscError(f"not Open Sound Control: a blob of {size} bytes")
        return packet[offset + 4 : offset + 4 + size], offset + 4 + size + (-size % 4)
    raise OscError(f"an argument of the type {tag!r} is not known here")


def _string(packet: bytes, offset: int) -> tuple[str, int]:
    """A string, and the offset behind its padding."""
    end = packet.find(b"\0", offset)
    if end < 0:
        raise OscError("not Open Sound Control: a string without an end")
    return packet[offset:end].decode(), end + 4 - (end - offset) % 4
