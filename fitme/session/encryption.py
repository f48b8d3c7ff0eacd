"""Encryption of a session's arrays at rest, with a key that only the owner's secret gives.

Each array is one AES-256-GCM message that its path authenticates, so that no ciphertext can take another's place. The
key is derived from the secret and a random salt of the session (HKDF, RFC 5869, with SHA-256). Attributes (stage,
times, cameras, sharpness) stay in the clear; digests of arrays are keyed, so that they confirm no guess.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numcodecs import Zstd

from fitme.errors import StoreError
from fitme.session.contents import Array, DamageError, array_digest

CIPHER = "AES-256-GCM"
KEY_BYTES, SALT_BYTES, NONCE_BYTES = 32, 16, 12
_KEY_USE, _CHECK_USE, _DIGEST_USE = b"fitme session arrays", b"check", b"digests"
_HEADER_END = b"\n"


class ArrayCipher:
    """Turns a session's arrays into messages that are stored in their place, and back."""

    def __init__(self, secret: str, description: Mapping[str, str]) -> None:
        """
        :param description: of `describe`, as stored with the session.
        :raises StoreError: if the secret is another one than that of the session.
        """
        key = _key(secret, bytes.fromhex(description["salt"]))
        if description["cipher"] != CIPHER:
            raise StoreError(f"the session is encrypted by {description['cipher']}, this program knows {CIPHER}")
        if not hmac.compare_digest(description["check"], _derived(key, _CHECK_USE).hex()):
            raise StoreError("the session is encrypted for another owner")
        self._aead = AESGCM(key)
        self._digest_key = _derived(key, _DIGEST_USE)

    def seal(self, path: str, values: Array, *, compress: bool) -> Array:
        """Message (N,) uint8 of the array at `path`."""
        content = np.ascontiguousarray(values).tobytes()
        compress = compress and bool(content)
        header = {"dtype": values.dtype.str, "shape": values.shape, "compressed": compress}
        plain = json.dumps(header).encode() + _HEADER_END + (Zstd().encode(content) if compress else content)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return np.frombuffer(nonce + self._aead.encrypt(nonce, plain, path.encode()), np.uint8)

    def open(self, path: str, message: Array) -> Array:
        """The array at `path`. Raises DamageError unless its message was sealed with this key for this path."""
        data = message.tobytes()
        try:
            plain = self._aead.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], path.encode())
        except (InvalidTag, ValueError) as error:
            raise DamageError(f"{path} is damaged") from error
        header, _, content = plain.partition(_HEADER_END)
        about = json.loads(header)
        content = Zstd().decode(content) if about["compressed"] else content
        return np.frombuffer(content, about["dtype"]).reshape(about["shape"]).copy()

    def digest(self, values: Array) -> str:
        """Hexadecimal digest of dtype, shape and content, keyed."""
        return array_digest(values, self._digest_key)


def describe(secret: str) -> dict[str, Any]:
    """Description of a new session's encryption, which is stored in the clear: cipher, salt and a check of the key."""
    salt = secrets.token_bytes(SALT_BYTES)
    check = _derived(_key(secret, salt), _CHECK_USE)
    return {"cipher": CIPHER, "salt": salt.hex(), "check": check.hex()}


def _key(secret: str, salt: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt, _KEY_USE).derive(secret.encode())


def _derived(key: bytes, use: bytes) -> bytes:
    return hmac.new(key, use, hashlib.sha256).digest()
