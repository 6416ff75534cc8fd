"""Memory of the store by kind of key, and an estimate for a million cards."""

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
"""Two terminals for each card, as in the Handbook with 4,990 customers and 10,000 terminals."""
_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """Memory of the keys of one kind.

    Attributes:
        keys: Number of keys.
        bytes: Sum of MEMORY USAGE, which includes the key and unused space.
        payload: Bytes of the values of strings; 0 for sorted sets.
        members: Number of members of sorted sets; 0 for strings.
    """

    keys: int
    bytes: int
    payload: int
    members: int


@dataclass(frozen=True, slots=True)
class State:
    """Memory of a store.

    Attributes:
        used: ``used_memory`` of the server, less that of an empty server.
        kinds: Memory by kind of key.
    """

    used: int
    kinds: Mapping[str, KeyUsage]


def used_memory(url: str) -> int:
    """Memory that the server reports, in bytes."""
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        return int(client.info("memory")["used_memory"])


def kind_of(key: bytes) -> str:
    """Kind of a key.

    It is ``history:customer`` for ``fw:SET:STATE:history:customer:…``, and ``c`` for a rival's
    ``c:…``.
    """
    parts = key.decode(errors="replace").split(":")
    return ":".join(parts[3:5]) if parts[0] == "fw" else parts[0]


def usage_by_kind(url: str) -> dict[str, KeyUsage]:
    """Memory of all keys of a store, by kind."""
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
    """Add a key; STRLEN is an error for a sorted set, and ZCARD is an error for a string."""
    return KeyUsage(
        before.keys + 1,
        before.bytes + used,
        before.payload + (payload if isinstance(payload, int) else 0),
        before.members + (members if isinstance(members, int) else 0),
    )


def member_bytes(feature_set: FeatureSet) -> dict[str, int]:
    """Bytes of one member of a history, or of one label, by kind of key."""
    sizes = {}
    for entity in feature_set.histories.entities:
        sizes[f"history:{entity.entity}"] = entity.layout.dtype.itemsize
        sizes[f"labels:{entity.entity}"] = LABEL.itemsize
    return sizes


def report(states: Mapping[str, State], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return the values for the result file.

    Args:
        states: Memory of the store by program.
        sizes: Bytes of a member by kind of key, for strings.
    """
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
    """Estimate the memory of a million cards that pay as often as the measured ones."""
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
