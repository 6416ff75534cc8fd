"""Lua scripts for Redis and Valkey that write many keys per call."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from features.store.protocol import Compaction, MarkWrite
from features.store.redis_protocol import Command, Words, packed_append
from features.store.writes import AppendColumns, Appends

MAX_KEYS_PER_CALL = 1_000
"""Maximum number of keys in one call: this many keys block a server for about 2 ms."""
MAX_BYTES_PER_CALL = 1 << 20
# Up to so many keys, words of Python in one call take less than a call for each entity.
_FEW_KEYS = 64


@dataclass(frozen=True)
class Script:
    """A script in Lua.

    Attributes:
        text: Source of the script.
        sha: SHA-1 of the source, by which a server runs a script that it has loaded.
    """

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False)
        object.__setattr__(self, "sha", digest.hexdigest())

    def call(self, keys: Sequence[bytes], arguments: Iterable[bytes]) -> Words:
        """Command that runs the script."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


APPEND = Script("""\
local pcall, call, expire = redis.pcall, redis.call, ARGV[1]
for i, key in ipairs(KEYS) do
  local answer = pcall('APPEND', key, ARGV[i + 1])
  if type(answer) == 'table' then
    return {err = answer.err .. ' key=' .. i}
  elseif expire == '' then
    call('PERSIST', key)
  else
    call('PEXPIRE', key, expire)
  end
end
""")
"""Script for appends. Arguments: expiry in milliseconds or "", then the bytes for each key."""

COMPACT = Script("""\
local pcall, call, expire = redis.pcall, redis.call, ARGV[1]
for i, key in ipairs(KEYS) do
  local length, digest, kept = tonumber(ARGV[3 * i - 1]), ARGV[3 * i], ARGV[3 * i + 1]
  local prefix = pcall('GETRANGE', key, 0, length - 1)
  if type(prefix) == 'table' then
    return {err = prefix.err .. ' key=' .. i}
  elseif #prefix == length and redis.sha1hex(prefix) == digest then
    local value = kept .. call('GETRANGE', key, length, -1)
    if value == '' then
      call('DEL', key)
    elseif expire == '' then
      call('SET', key, value)
    else
      call('SET', key, value, 'PX', expire)
    end
  end
end
""")
"""Script for compactions.

Arguments: expiry in milliseconds or "", then for each key the length and SHA-1 of a prefix, and
the bytes that replace it. The SHA-1 is needed because another value may have the same length.
"""

REPLACE = Script("""\
local found = redis.pcall('GETRANGE', KEYS[1], 0, -1)
if type(found) == 'table' then
  return {err = found.err .. ' key=1'}
elseif found ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")
"""Script that replaces one key. Arguments: value as it was read ("" for no such key), new value."""

MARK = Script("""\
local call, expire = redis.call, ARGV[1]
local function reached(i)
  local size = #ARGV[3 * i + 1]
  local begin = ARGV[3 * i - 1] * size
  local held = redis.pcall('GETRANGE', KEYS[i], begin, begin + size - 1)
  if type(held) == 'table' then
    return nil, {err = held.err .. ' key=' .. i}
  end
  return #held < 8 and 0 or struct.unpack('<i8', held)
end
for i in ipairs(KEYS) do
  local number, wrong = reached(i)
  if wrong then
    return wrong
  elseif ARGV[3 * i] ~= '' and number < tonumber(ARGV[3 * i]) then
    return i
  end
end
for i, key in ipairs(KEYS) do
  local mark = ARGV[3 * i + 1]
  if ARGV[3 * i] == '' or reached(i) <= struct.unpack('<i8', mark) then
    call('SETRANGE', key, ARGV[3 * i - 1] * #mark, mark)
  end
  if expire == '' then
    call('PERSIST', key)
  else
    call('PEXPIRE', key, expire)
  end
end
return 0
""")
"""Script for marks.

Arguments: expiry in milliseconds or "", then for each key the index of the mark, the number that it
must have reached or "", and the new mark. Returns the number of the first key, from 1, whose mark
has not reached its number; then nothing is written.
"""

ALL = (APPEND, COMPACT, REPLACE, MARK)


def append_calls(appends: Collection[tuple[bytes, bytes]], expire_ms: int | None) -> list[Command]:
    """Commands that append bytes to each key; the keys of `Appends` must be distinct."""
    expire = _expire(expire_ms)
    if isinstance(appends, Appends) and appends.key_count > _FEW_KEYS:
        return [
            packed_append(APPEND.sha, AppendColumns(keys[some], values[some]), expire)
            for keys, values in appends.parts
            for some in _cut(values.lengths.clip(0).tolist())
            if (values.lengths[some] >= 0).any()
        ]
    joined = dict(appends)
    if len(joined) < len(appends):
        # Each key once: if a key were in two calls, a retry of the first would change the order.
        joined = dict.fromkeys(joined, b"")
        for key, added in appends:
            joined[key] += added
    keys, values = list(joined), list(joined.values())
    return [
        APPEND.call(keys[some], [expire, *values[some]]) for some in _cut(list(map(len, values)))
    ]


def compact_calls(compactions: Collection[Compaction], expire_ms: int | None) -> list[Words]:
    """Commands that apply the compactions."""
    held = [compaction for compaction in compactions if compaction.prefix]
    expire = _expire(expire_ms)
    return [
        COMPACT.call(
            [one.key for one in held[some]],
            [expire, *(argument for one in held[some] for argument in _arguments(one))],
        )
        for some in _cut([len(one.prefix) + len(one.kept) for one in held])
    ]


def mark_call(marks: Sequence[MarkWrite], expire_ms: int | None) -> Words:
    """Command that writes marks."""
    arguments = [
        part
        for mark in marks
        for part in (
            b"%d" % mark.place,
            b"" if mark.at_least is None else b"%d" % mark.at_least,
            mark.mark,
        )
    ]
    return MARK.call([mark.key for mark in marks], [_expire(expire_ms), *arguments])


def _arguments(compaction: Compaction) -> tuple[bytes, bytes, bytes]:
    digest = hashlib.sha1(compaction.prefix, usedforsecurity=False).hexdigest()
    return b"%d" % len(compaction.prefix), digest.encode(), compaction.kept


def _expire(expire_ms: int | None) -> bytes:
    return b"" if expire_ms is None else b"%d" % expire_ms


def _cut(sizes: Sequence[int]) -> Iterator[slice]:
    """Slices of items, given their sizes in bytes, for one call each."""
    start = total = 0
    for place, size in enumerate(sizes):
        total += size
        if place > start and (place - start == MAX_KEYS_PER_CALL or total > MAX_BYTES_PER_CALL):
            yield slice(start, place)
            start, total = place, size
    if sizes:
        yield slice(start, len(sizes))
