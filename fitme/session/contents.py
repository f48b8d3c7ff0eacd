"""Contents of a session's Zarr group, verified by digests.

Icechunk and Zarr do not notice every damaged byte: chunks without compression and metadata have no checksums. So the
root's attribute `digests` has a digest of every array by its path and of every other group's attributes by its path
with a final slash, and `digest` is that of all other attributes of the root.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr

Array = npt.NDArray[Any]
DIGEST_BYTES = 16


class DamageError(ValueError):
    """The contents of a group do not have the digests that were stored with them."""


@dataclass(frozen=True)
class Contents:
    """Arrays and attributes of a group by path; the root's attributes have the path ""."""

    arrays: Mapping[str, Array]
    attributes: Mapping[str, Mapping[str, Any]]


class Cipher(Protocol):
    """What turns arrays into the messages that are stored in their place: `fitme.session.encryption.ArrayCipher`."""

    def seal(self, path: str, values: Array, *, compress: bool) -> Array:
        """Message (N,) uint8 of the array at `path`."""

    def open(self, path: str, message: Array) -> Array:
        """The array at `path`, of its message."""

    def digest(self, values: Array) -> str:
        """Hexadecimal digest of dtype, shape and content."""


def array_digest(values: Array, key: bytes = b"") -> str:
    """Hexadecimal digest of dtype, shape and content; keyed, if a key is given."""
    values = np.ascontiguousarray(values)
    hashed = hashlib.blake2b(f"{values.dtype.str} {values.shape}".encode(), digest_size=DIGEST_BYTES, key=key)
    hashed.update(values.reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def attributes_digest(attributes: Mapping[str, Any]) -> str:
    """Hexadecimal digest of JSON attributes, whatever the order of their keys."""
    text = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def seal(group: zarr.Group, attributes: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Replace the root's attributes by `attributes`, with the digests of all else that the group holds."""
    sealed = {**attributes, "digests": dict(digests)}
    group.attrs.put({**sealed, "digest": attributes_digest(sealed)})


def root_attributes(group: zarr.Group) -> dict[str, Any]:
    """The root's verified attributes, `digests` included. Raises DamageError if they do not have their digest."""
    attributes: dict[str, Any] = group.attrs.asdict()
    if attributes.pop("digest", None) != attributes_digest(attributes):
        raise DamageError("the attributes of the session are damaged")
    return attributes


def read_contents(group: zarr.Group, cipher: Cipher | None = None) -> Contents:
    """All arrays and attributes of a group.

    :param cipher: of the arrays of an encrypted session.
    :raises DamageError: if one does not have its digest. What Zarr and Icechunk raise on unreadable files passes.
    """
    root = root_attributes(group)
    arrays: dict[str, Array] = {}
    attributes: dict[str, Mapping[str, Any]] = {"": root}
    for path, digest in root["digests"].items():
        node = group[path.rstrip("/")]
        if isinstance(node, zarr.Array):
            stored = np.asarray(node[...])
            arrays[path] = stored if cipher is None else cipher.open(path, stored)
            found = array_digest(stored) if cipher is None else cipher.digest(arrays[path])
        else:
            attributes[path.rstrip("/")] = node.attrs.asdict()
            found = attributes_digest(attributes[path.rstrip("/")])
        if found != digest:
            raise DamageError(f"{path} is damaged")
    return Contents(arrays, attributes)
