"""Tokens: random secrets that give rights, of which the server keeps only digests.

A token has 256 random bits, so that a plain SHA-256 of it cannot be guessed back: no salt and no slow hash are needed.
"""

import hashlib
import re
import secrets

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """Secret of 43 characters that may stand in an address or a cookie."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_token(text: str) -> bool:
    """Whether `text` has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def digest(secret: str) -> str:
    """SHA-256 of a secret, hexadecimal: what is kept of it, in memory and on disk."""
    return hashlib.sha256(secret.encode()).hexdigest()


def storage_secret(token: str) -> str:
    """Secret that encrypts the data of a token's owner at rest. Neither the token nor its `digest` follows from it, nor
    it from the digest."""
    return digest(f"storage {token}")


def same(first: str, second: str) -> bool:
    """Whether two digests are equal, compared in constant time."""
    return secrets.compare_digest(first, second)
