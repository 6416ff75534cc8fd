"""Tokens in place of entity keys: HMAC-SHA-256 (RFC 2104, FIPS 198-1) under a secret key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from base.errors import ConfigurationError
from features.values.hash64 import fingerprint

MIN_KEY_BYTES = 32
"""Shorter keys are easier to guess than a SHA-256 is to invert."""
_BLOCK = hashlib.sha256().block_size
_INNER, _OUTER = 0x36, 0x5C
_ID_DIGITS = 8


class TokenKey:
    """Key of tokens.

    A token is the first digits of the key's fingerprint, a dot, and the HMAC in hexadecimal: so a
    token of another key is recognized, and no token is taken for a key.

    Attributes:
        fingerprint: Digest that identifies the key.
        id: Its first digits, with which every token begins.
    """

    def __init__(self, key: bytes) -> None:
        self.fingerprint = fingerprint(key)
        self.id = self.fingerprint[:_ID_DIGITS]
        padded = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
        # Both states are copied for each token: hmac.digest begins anew, and takes 2.5 times as long.
        self._inner = hashlib.sha256(bytes(byte ^ _INNER for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ _OUTER for byte in padded))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenKey) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def read(cls, path: Path) -> TokenKey:
        """Read the key file; line ends at its end are not part of the key.

        Raises:
            ConfigurationError: The file cannot be read, or the key is too short.
        """
        try:
            key = path.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error.strerror}); mount the key there"
            ) from error
        if len(key) < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"{path} holds a key of {len(key)} bytes, and at least {MIN_KEY_BYTES} are needed: "
                "make one with openssl rand -hex 32"
            )
        return cls(key)

    @property
    def pattern(self) -> str:
        """Regular expression (RE2) of its tokens."""
        return rf"{self.id}\.[0-9a-f]{{64}}"

    def token(self, text: bytes) -> str:
        """The token of one key."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return f"{self.id}.{outer.hexdigest()}"

    def tokens(self, texts: pa.StringArray) -> pa.StringArray:
        """StringArray[N], the token of each text; "" stays "". Each text is hashed once."""
        encoded = texts.dictionary_encode()
        distinct = encoded.dictionary.cast(pa.binary()).to_pylist()
        made = pa.array([self.token(text) if text else "" for text in distinct], pa.string())
        return made.take(encoded.indices)

    def of_record_keys(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The token of the key of each record, in UTF-8; None for a record without one."""
        made = {key: None if key is None else self.token(key).encode() for key in {*keys}}
        return [made[key] for key in keys]
