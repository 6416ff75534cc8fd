"""Keyed 64-bit hashes of event ids and texts.

SipHash-2-4 (Aumasson and Bernstein, public domain) over the UTF-8 bytes of each string, a column
at a time. Long strings use keyed BLAKE2b, one by one, because each 8-byte word would need a pass
over the column. Without the key, an attacker cannot construct two strings with one hash, and so
cannot make another payment look like a duplicate. By chance, one of 2**64 pairs of strings shares a
hash.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes64 = npt.NDArray[np.uint64]

KEY_BYTES = 16
PROCESS_KEY = secrets.token_bytes(KEY_BYTES)
"""Key of hashes that no other process sees."""

_WORD = 8
_LONGEST = 128
"""Maximum bytes of a string for the column-wise hash; for longer ones, one call each is cheaper."""
_ROWS_AT_A_TIME = 8192
"""Rows whose arithmetic fits the cache of a core: 300,000 UUIDs take a third less time."""
_START = np.array(
    [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573], np.uint64
)
_FIRST_TURNS = np.array([[13], [16]], np.uint64)
_LAST_TURNS = np.array([[21], [17]], np.uint64)
_BITS = np.uint64(64)
_HALF = np.uint64(32)


def hash_ids(values: pa.StringArray, key: bytes) -> Hashes64:
    """uint64[N], the hash under a key of KEY_BYTES of a StringArray[N] without nulls."""
    n = len(values)
    if not n:
        return np.empty(0, np.uint64)
    if n > _ROWS_AT_A_TIME:
        begins_at = range(0, n, _ROWS_AT_A_TIME)
        return np.concatenate([hash_ids(values.slice(i, _ROWS_AT_A_TIME), key) for i in begins_at])
    bounds = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + n + 1]
    begins = (bounds[:-1] - bounds[0]).astype(np.int64)
    lengths = np.diff(bounds).astype(np.int64)
    data = values.buffers()[2]
    text = (
        b""
        if data is None
        else data.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).to_pybytes()
    )
    long = np.flatnonzero(lengths > _LONGEST)
    if not len(long):
        return _siphash(text, begins, lengths, key)
    hashes = np.empty(n, np.uint64)
    short = np.flatnonzero(lengths <= _LONGEST)
    hashes[short] = _siphash(text, begins[short], lengths[short], key)
    spans = zip(begins[long].tolist(), lengths[long].tolist(), strict=True)
    hashes[long] = [_blake2(text[begin : begin + length], key) for begin, length in spans]
    return hashes


def fingerprint(key: bytes) -> str:
    """Digest that identifies a key without revealing it."""
    return hashlib.sha256(b"fraud-worker:" + key).hexdigest()[:16]


def _blake2(text: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=_WORD, key=key).digest(), "little")


def _siphash(
    text: bytes, begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], key: bytes
) -> Hashes64:
    """uint64[N] of the strings that begin at ``begins`` in ``text``, in any order."""
    padded = text + bytes(_WORD)
    words: Hashes64 = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    whole = lengths // _WORD
    order = None
    if len(whole) and whole.min() != whole.max():
        # Sort by number of words, descending: rows that have another word then come first.
        order = np.argsort((_LONGEST // _WORD - whole).astype(np.uint8), kind="stable")
        begins, lengths, whole = begins[order], lengths[order], whole[order]
    first, second = np.frombuffer(key, "<u8")
    start = _START ^ np.array([first, second, first, second])
    even, odd = (np.repeat(start[i::2, None], len(begins), axis=1) for i in (0, 1))
    through = np.searchsorted(-whole, -np.arange(int(whole.max(initial=0))))
    for place, rows in enumerate(through.tolist()):
        _absorb(even[:, :rows], odd[:, :rows], words[begins[:rows] + _WORD * place])
    mask = (np.uint64(1) << (lengths % _WORD).astype(np.uint64) * np.uint64(8)) - np.uint64(1)
    last = words[begins + _WORD * whole] & mask
    _absorb(even, odd, last | lengths.astype(np.uint64) << np.uint64(56))
    even[1] ^= np.uint64(0xFF)
    for _ in range(4):
        _round(even, odd)
    mixed: Hashes64 = even[0] ^ even[1] ^ odd[0] ^ odd[1]
    if order is None:
        return mixed
    hashes = np.empty_like(mixed)
    hashes[order] = mixed
    return hashes


def _absorb(even: Hashes64, odd: Hashes64, words: Hashes64) -> None:
    odd[1] ^= words
    _round(even, odd)
    _round(even, odd)
    even[0] ^= words


def _round(even: Hashes64, odd: Hashes64) -> None:
    """One round on v0 and v2, ``even``: uint64[2, N], and on v1 and v3, ``odd``."""
    even += odd
    _turn(odd, _FIRST_TURNS)
    odd ^= even
    _turn(even[0], _HALF)
    crossed = odd[::-1]
    even += crossed
    _turn(crossed, _LAST_TURNS)
    crossed ^= even
    _turn(even[1], _HALF)


def _turn(values: Hashes64, bits: npt.NDArray[np.uint64] | np.uint64) -> None:
    """Rotate to the left."""
    low = values >> (_BITS - bits)
    values <<= bits
    values |= low
