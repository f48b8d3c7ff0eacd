"""Rights to a session: its owner's, and those of its view links, which may watch and nothing else.

They are kept in the session's folder as ``rights.json``, with digests in place of every secret.
"""

import secrets
from dataclasses import dataclass, field, replace

import msgspec

from fitme.errors import FitmeError
from fitme.session.folder import SessionFolder, read_file, write_file
from stream.web.tokens import digest, new_token, same, storage_secret

RIGHTS_FILE = "rights.json"
LINK_ID_BYTES = 6


class ForbiddenError(FitmeError):
    """The caller may not do this."""


class LinkLimitError(FitmeError):
    """A session has as many view links as it may have."""


@dataclass(frozen=True)
class Caller:
    """Who asks for something."""

    address: str
    """IP address."""
    owner: str = ""
    """Digest of the owner's token that came with the request; "" if none did."""
    user: str = ""
    """Digest of the name under which a reverse proxy has signed the person in; "" without one."""
    secret: str = field(default="", repr=False)
    """What the owner's token gives to encrypt data at rest; "" if none came."""

    def as_owner(self, token: str) -> "Caller":
        """The same with an owner's token."""
        return replace(self, owner=digest(token), secret=storage_secret(token))

    @property
    def identity(self) -> str:
        """What tells this person from others: the signed-in user, else the browser with this token."""
        return self.user or self.owner


@dataclass(frozen=True)
class ViewLink:
    """Link that may watch a session."""

    id: str
    """Public name."""
    token: str
    """Digest of the token that the link's address holds."""
    expires_s: float | None
    """Seconds since 1970 until which it may be used; None: as long as the session lives."""

    def valid(self, now_s: float) -> bool:
        """Whether it may be used at a time in seconds since 1970."""
        return self.expires_s is None or now_s < self.expires_s


@dataclass(frozen=True)
class SessionRights:
    """Who may do what with one session."""

    owner: str
    """Digest of the owner's token."""
    user: str = ""
    """Digest of the signed-in user who began the session; "" without one."""
    links: tuple[ViewLink, ...] = ()

    def require_owner(self, caller: Caller) -> None:
        """:raises ForbiddenError: unless the caller is the session's owner."""
        if not caller.owner or not same(caller.owner, self.owner):
            raise ForbiddenError("only the owner of this session may do that")
        if self.user and not same(caller.user, self.user):
            raise ForbiddenError("this session belongs to another user")

    def link_of(self, token: str, now_s: float) -> ViewLink | None:
        """The valid link with this token, if there is one.

        :param now_s: seconds since 1970.
        """
        hashed = digest(token)
        return next((link for link in self.links if same(link.token, hashed) and link.valid(now_s)), None)

    def with_link(self, lifetime_s: float | None, now_s: float, limit: int) -> tuple["SessionRights", ViewLink, str]:
        """Add a view link; returns the new rights, the link and its token. Links that have ended are dropped.

        :param lifetime_s: None for one that lives as long as the session.
        :param now_s: seconds since 1970.
        :raises LinkLimitError: if the session has `limit` links already.
        """
        links = tuple(link for link in self.links if link.valid(now_s))
        if len(links) >= limit:
            raise LinkLimitError(f"a session has at most {limit} view links: revoke one of them")
        token = new_token()
        expires_s = None if lifetime_s is None else now_s + lifetime_s
        link = ViewLink(secrets.token_hex(LINK_ID_BYTES), digest(token), expires_s)
        return replace(self, links=(*links, link)), link, token

    def without_link(self, link_id: str) -> "SessionRights":
        """Rights without one of the links."""
        return replace(self, links=tuple(link for link in self.links if link.id != link_id))


_decoder = msgspec.json.Decoder(SessionRights)


def write_rights(folder: SessionFolder, rights: SessionRights) -> None:
    """Keep rights in a session's folder, which is begun if need be; blocks.

    :raises StoreError: if they cannot be written.
    """
    write_file(folder, RIGHTS_FILE, msgspec.json.encode(rights))


def read_rights(folder: SessionFolder) -> SessionRights | None:
    """Rights in a session's folder; None if there are none. Blocks.

    :raises StoreError: if there may be some, but they cannot be read.
    """
    content = read_file(folder, RIGHTS_FILE)
    try:
        return None if content is None else _decoder.decode(content)
    except msgspec.DecodeError:
        return None
