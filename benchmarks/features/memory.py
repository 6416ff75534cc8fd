"""What a store holds, by kind of key, and what that means for a million cards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from features.definition import FeatureSet
from features.history.labels import LABEL

CARDS = 1_000_000
TERMINALS = 2_000_000
"""Two for each card, as in the Handbook: 4,990 customers, 10,000 terminals."""
_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """Keys of one kind. bytes: MEMORY USAGE, the key itself and its unused room included.

    payload: bytes of the values of strings; 0 for sorted sets. members: of sorted sets.
    """

    keys: int
    bytes: int
    payload: int
    members: int


@dataclass(frozen=True, slots=True)
class State:
    """used: used_memory of the server, less that of an empty one. kinds: by kind of key."""

    used: int
    kinds: Mapping[str, KeyUsage]


def used_memory(url: str) -> int:
    """What the server says it uses, bytes."""
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        return int(client.info("memory")["used_memory"])


def kind_of(key: bytes) -> str:
    """``history:customer`` of ``fw:SET:STATE:history:customer:…``; ``c`` of a rival's ``c:…``."""
    parts = key.decode(errors="replace").split(":")
    return ":".join(parts[3:5]) if parts[0] == "fw" else parts[0]


def usage_by_kind(url: str) -> dict[str, KeyUsage]:
    """All keys of a store, counted."""
    usage: dict[str, KeyUsage] = defaultdict(lambda: KeyUsage(0, 0, 0, 0))
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        for keys in _chunks(client):
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.memory_usage(key, samples=0)
                pipeline.execute_command("STRLEN", key)
                pipeline.execute_command("ZCARD", key)
            answers = iter(pipeline.execute(raise_on_error=False))
            for key, *one in zip(keys, answers, answers, answers, strict=True):
                kind = kind_of(key)
                usage[kind] = _added(usage[kind], *one)
    return dict(usage)


def _chunks(client: redis.Redis) -> Iterator[list[bytes]]:
    keys = list(client.scan_iter(count=_AT_ONCE))
    for first in range(0, len(keys), _AT_ONCE):
        yield keys[first : first + _AT_ONCE]


def _added(before: KeyUsage, used: Any, payload: Any, members: Any) -> KeyUsage:
    """A key that is no string answers its length with an error, one that is no set its members."""
    return KeyUsage(
        before.keys + 1,
        before.bytes + used,
        before.payload + (payload if isinstance(payload, int) else 0),
        before.members + (members if isinstance(members, int) else 0),
    )


def member_bytes(feature_set: FeatureSet) -> dict[str, int]:
    """By kind of key, what one member of a history, or one label, takes in it."""
    sizes = {}
    for entity in feature_set.histories.entities:
        sizes[f"history:{entity.entity}"] = entity.layout.dtype.itemsize
        sizes[f"labels:{entity.entity}"] = LABEL.itemsize
    return sizes


def report(states: Mapping[str, State], sizes: Mapping[str, int]) -> dict[str, Any]:
    """For the result file. sizes: bytes of a member by kind of key, for strings."""
    used: dict[str, dict[str, Any]] = {
        program: {
            "used_bytes": state.used,
            "kinds": {kind: _figures(one, sizes.get(kind)) for kind, one in state.kinds.items()},
        }
        for program, state in states.items()
    }
    pairs = {"worker": ("history:customer", "history:terminal"), "sorted_sets": ("c", "t")}
    return {
        "states": used,
        "million_cards": {
            program: _million(used[program]["kinds"], *kinds) for program, kinds in pairs.items()
        },
    }


def _figures(kept: KeyUsage, size: int | None) -> dict[str, Any]:
    members = kept.payload // size if size else kept.members
    return {
        "keys": kept.keys,
        "members": members,
        "member_bytes": size,
        "bytes": kept.bytes,
        "bytes_per_key": kept.bytes / kept.keys,
        "bytes_per_member": kept.bytes / members if members else None,
        "members_per_key": members / kept.keys,
    }


def _million(kinds: Mapping[str, Any], customer: str, terminal: str) -> dict[str, Any]:
    """What a million cards need that pay as often, at as many terminals, as those measured."""
    card, place = kinds[customer]["bytes_per_key"], kinds[terminal]["bytes_per_key"]
    total = CARDS * card + TERMINALS * place
    return {
        "cards": CARDS,
        "terminals": TERMINALS,
        "events_per_card": kinds[customer]["members_per_key"],
        "gib_cards": CARDS * card / 2**30,
        "gib": total / 2**30,
        "calculation": (
            f"{CARDS:,} cards x {card:,.0f} bytes + {TERMINALS:,} terminals x {place:,.0f} bytes "
            f"= {total / 2**30:.2f} GiB"
        ),
    }
