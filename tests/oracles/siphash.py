"""SipHash-2-4 of a string, written from its paper (Aumasson and Bernstein, 2012)."""

from __future__ import annotations

_MASK = 2**64 - 1


def siphash(key: bytes, text: bytes) -> int:
    first, second = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [
        first ^ 0x736F6D6570736575,
        second ^ 0x646F72616E646F6D,
        first ^ 0x6C7967656E657261,
        second ^ 0x7465646279746573,
    ]
    whole = len(text) // 8 * 8
    for at in range(0, whole, 8):
        _compress(v, int.from_bytes(text[at : at + 8], "little"))
    _compress(v, int.from_bytes(text[whole:], "little") | (len(text) % 256) << 56)
    v[2] ^= 0xFF
    for _ in range(4):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _compress(v: list[int], word: int) -> None:
    v[3] ^= word
    _round(v)
    _round(v)
    v[0] ^= word


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _MASK
    v[1] = _rotated(v[1], 13) ^ v[0]
    v[0] = _rotated(v[0], 32)
    v[2] = (v[2] + v[3]) & _MASK
    v[3] = _rotated(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _MASK
    v[3] = _rotated(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _MASK
    v[1] = _rotated(v[1], 17) ^ v[2]
    v[2] = _rotated(v[2], 32)


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK
