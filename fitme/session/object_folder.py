"""Folders of an object store: S3, or a service with its interface that takes conditional writes.

What is written carries a tag by which a later write finds out whether somebody else wrote meanwhile (``If-Match`` and
``If-None-Match`` of S3). Credentials come from where Amazon's programs take theirs: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, or the machine's role. All functions block for `ObjectStoreSettings.timeout_s` at most, and
then raise StoreError.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from fitme.errors import BackendError, ConfigError, StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
REQUEST_TRIES = 2
"""Attempts at a request of a few bytes before it is an error."""
DELETE_PASSES = 3
"""Listings of a folder that is deleted: a write that was under way ends meanwhile."""


@dataclass(frozen=True)
class ObjectStoreSettings:
    """An object store, for `s3://BUCKET/PREFIX`."""

    endpoint: str | None = None
    """Address of a service with S3's interface, as https://objects.example.org; Amazon's without one."""
    region: str = "us-east-1"
    timeout_s: Annotated[float, Meta(ge=0.1, le=60.0)] = 5.0
    """Longest time of one request."""
    lease_s: Annotated[float, Meta(ge=1.0, le=600.0)] = 10.0
    """A server that has died without a word keeps others from its sessions for this long."""


@dataclass(frozen=True)
class Tagged:
    """Content of an object, and the tag of this version of it."""

    content: bytes
    tag: str


@dataclass(frozen=True)
class ObjectFolder:
    """Folder of an object store: the objects whose keys begin with a prefix. A value: it may be sent to other
    processes."""

    bucket: str
    prefix: str
    """Without a slash at either end."""
    settings: ObjectStoreSettings = field(default_factory=ObjectStoreSettings)
    writer: str = ""
    """Name of the server that uses it, which no other one has: processes of one server may take each other's place."""

    @staticmethod
    def parse(address: str, settings: ObjectStoreSettings, writer: str) -> "ObjectFolder":
        """Folder of an address ``s3://BUCKET/PREFIX``.

        :raises ConfigError: if the address has no bucket.
        """
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        if not address.startswith(SCHEME) or not bucket:
            raise ConfigError(f"{address!r} is no address of an object store: give s3://BUCKET/PREFIX")
        return ObjectFolder(bucket, prefix.strip("/"), settings, writer)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def __truediv__(self, name: str) -> "ObjectFolder":
        """The folder `name` in this one."""
        return replace(self, prefix=f"{self.prefix}/{name}" if self.prefix else name)

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.prefix.rpartition("/")[2]

    def read(self, name: str) -> Tagged | None:
        """An object in this folder; None if there is none.

        :raises StoreError: if it cannot be read.
        """
        with _store_errors(self, "read"):
            import obstore

            try:
                found = obstore.get(_client(self.bucket, self.settings), self._key(name))
            except FileNotFoundError:
                return None
            return Tagged(bytes(found.bytes()), str(found.meta["e_tag"]))

    def write(self, name: str, content: bytes) -> str:
        """Write an object, whatever was there; its tag.

        :raises StoreError: if it cannot be written.
        """
        with _store_errors(self, "write"):
            import obstore

            return str(obstore.put(_client(self.bucket, self.settings), self._key(name), content)["e_tag"])

    def replace(self, name: str, content: bytes, tag: str | None) -> str | None:
        """Write an object in place of the version with a tag, or where there is none yet without a tag.

        :param content: which nobody else would write: it shows that a request whose answer was lost had succeeded.
        :returns: the new tag; None if another version is there.
        :raises StoreError: if it cannot be written.
        """
        with _store_errors(self, "write"):
            import obstore
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            client = _client(self.bucket, self.settings)
            try:
                if tag is None:
                    return str(obstore.put(client, self._key(name), content, mode="create")["e_tag"])
                return str(obstore.put(client, self._key(name), content, mode={"e_tag": tag})["e_tag"])
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                found = self.read(name)
                return found.tag if found is not None and found.content == content else None

    def remove(self, name: str) -> None:
        """Remove an object; no error if there is none.

        :raises StoreError: if it cannot be removed.
        """
        with _store_errors(self, "delete"):
            import obstore

            try:
                obstore.delete(_client(self.bucket, self.settings), self._key(name))
            except FileNotFoundError:
                return

    def names(self) -> list[str]:
        """Names of the objects and folders right below this one.

        :raises StoreError: if they cannot be listed.
        """
        with _store_errors(self, "list"):
            import obstore

            found = obstore.list_with_delimiter(_client(self.bucket, self.settings), self.prefix or None)
            paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
            return [str(path).rstrip("/").rpartition("/")[2] for path in paths]

    def exists(self) -> bool:
        """Whether there is any object below this folder. Raises StoreError if that cannot be found out."""
        with _store_errors(self, "list"):
            import obstore

            listed = obstore.list(_client(self.bucket, self.settings), f"{self.prefix}/", chunk_size=1)
            return any(len(chunk) for chunk in listed)

    def delete(self) -> None:
        """Remove all objects below this folder; no error if there are none.

        :raises StoreError: if something stays.
        """
        with _store_errors(self, "delete"):
            import obstore

            client = _client(self.bucket, self.settings)
            for _ in range(DELETE_PASSES):
                keys = [str(each["path"]) for each in obstore.list(client, f"{self.prefix}/").collect()]
                if not keys:
                    return
                obstore.delete(client, keys)
        raise StoreError(f"{self}: cannot delete the session: something goes on writing it")

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


@lru_cache(maxsize=8)
def _client(bucket: str, settings: ObjectStoreSettings) -> "S3Store":
    from obstore.store import S3Store

    return S3Store(
        bucket,
        region=settings.region,
        endpoint=settings.endpoint,
        virtual_hosted_style_request=settings.endpoint is None,
        client_options={
            "allow_http": is_plain(settings),
            "timeout": f"{settings.timeout_s}s",
            "connect_timeout": f"{settings.timeout_s}s",
        },
        retry_config={"max_retries": REQUEST_TRIES - 1},
    )


def is_plain(settings: ObjectStoreSettings) -> bool:
    """Whether the store is reached without TLS: one of this machine, or of a closed network."""
    return settings.endpoint is not None and settings.endpoint.startswith("http://")


@contextmanager
def _store_errors(folder: ObjectFolder, action: str) -> Iterator[None]:
    """Raise StoreError for what the block raises, BackendError if the library is not installed."""
    try:
        yield
    except (StoreError, BackendError):
        raise
    except ImportError as error:
        raise BackendError("object stores need the package obstore: pip install 'fitme[s3]'") from error
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]  # the library adds pages of its own state
        raise StoreError(f"{folder}: cannot {action}: {type(error).__name__}: {reason}") from error
