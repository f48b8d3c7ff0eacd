"""Bodies of the HTTP requests, as strict structs; `stream.protocol.protocol` describes the requests."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from stream.protocol.protocol import DEFAULT_FEEDS, PROTOCOL_VERSION, Feed, ProtocolError

LONGEST_VERSION = 10
"""Digits of an avatar's version: it has 32 bits."""


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the bodies: unknown fields are errors."""


class OfferBody(_Body, frozen=True):
    """``POST /offer``: a camera's session description."""

    sdp: str
    type: str
    protocol: int = 1
    """Version of the sender; clients of version 1 leave it out."""
    session: str | UnsetType = UNSET
    """Id of the session to join; a new session begins without it."""


class CandidateBody(_Body, frozen=True):
    """``PATCH /offer/{session}``: an ICE candidate; null or "" ends them."""

    peer: int
    candidate: str | None
    sdpMid: str | None = None
    sdpMLineIndex: int | None = None


class KeepBody(_Body, frozen=True):
    """``POST /session/{session}/keep``: whether the session's data stays when it ends."""

    keep: bool


class ListenBody(_Body, frozen=True):
    """``POST /view/{token}/voice``: a viewer's session description."""

    sdp: str
    type: str
    protocol: int = 1


class CheckBody(_Body, frozen=True):
    """``POST /check``: session description of a data channel."""

    sdp: str
    type: str
    protocol: int = 1


class AccessBody(_Body, frozen=True):
    """``POST /access``: the server's access key."""

    key: str


class LinkBody(_Body, frozen=True):
    """``POST /session/{session}/links``: a new view link."""

    seconds: Annotated[float, Meta(gt=0.0, le=366 * 86_400.0)] | UnsetType = UNSET
    """How long it may be used; as long as the session lives without it."""


class MotionBody(_Body, frozen=True):
    """``POST /session/{session}/motion``: motion to and from other programs; what is left out stays as it is."""

    send: bool | UnsetType = UNSET
    """Whether motion goes to all of the server's outputs."""
    source: str | UnsetType | None = UNSET
    """One of the server's sources; null: the camera."""


def check_version(version: int | str | None) -> None:
    """Refuse a client of another version.

    :param version: as the client sent it; None if it sent none.
    :raises ProtocolError: with code ``protocol``.
    """
    if str(version) != str(PROTOCOL_VERSION):
        sent = "1 or an unknown version" if version is None else str(version)[:20]
        message = f"this page speaks protocol {sent}, the server {PROTOCOL_VERSION}: reload the page"
        raise ProtocolError("protocol", message)


def parse_feeds(names: str | None) -> frozenset[Feed]:
    """The feeds of a websocket's address.

    :param names: the address's ``receive``, with commas between; None if there is none.
    :raises ProtocolError: with code ``bad_request``.
    """
    if names is None:
        return DEFAULT_FEEDS
    try:
        return frozenset(Feed(name) for name in names.split(",") if name)
    except ValueError as error:
        raise ProtocolError("bad_request", f"receive may name {', '.join(Feed)}: {str(error)[:80]}") from error


@dataclass(frozen=True)
class HeldAvatar:
    """What a page has of an avatar from an earlier connection."""

    avatar: str
    """As `hello` named it."""
    version: int


def parse_held(text: str | None) -> HeldAvatar | None:
    """The avatar that a page has, of a websocket's address.

    :param text: the address's ``have``: the avatar, a dot and the version; None if there is none.
    :raises ProtocolError: with code ``bad_request``.
    """
    if text is None:
        return None
    avatar, _, version = text.rpartition(".")
    if not version.isascii() or not version.isdecimal() or len(version) > LONGEST_VERSION:
        raise ProtocolError("bad_request", "have is an avatar, a dot and a version")
    return HeldAvatar(avatar, int(version))
