"""Report of the suite ``features`` for docs/explanation/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from benchmarks.markdown import measured_on, programs, stages, table

_PROGRAMS = {
    "worker": "the worker, exactly once",
    "sorted_sets": "sorted sets, an event at a time",
    "sorted_sets_batched": "sorted sets, a batch in one pipeline",
}
_COSTS = {
    "worker": "the worker",
    "read": "of that: read",
    "compute": "engine",
    "append": "append",
    "sorted_sets": "sorted sets, an event at a time",
    "sorted_sets_batched": "a batch in one pipeline",
}
_KINDS = {
    "history:customer": "the worker, customers",
    "history:terminal": "the worker, terminals",
    "labels:terminal": "the worker, labels of terminals",
    "c": "sorted sets, customers",
    "t": "sorted sets, terminals",
    "f": "sorted sets, frauds of terminals",
}


def features(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    setting = result["setting"]
    yield from measured_on(result, name)
    yield (
        f"Online, {setting['windows']} windows, after {setting['history_days']} days "
        f"({setting['history_events']:,} events) of history; {setting['source']}:"
    )
    yield ""
    yield from programs(result, _PROGRAMS, "times one at a time")
    yield from stages(result)
    yield from _lengths(result, name)
    yield from _building(result["building"])
    yield from _memory(result["memory"])


def _lengths(result: Mapping[str, Any], name: str) -> Iterator[str]:
    yield (
        "The features alone, µs of wall clock an event, by the members in each of its two "
        f"histories ({result['setting']['length_batch_events']} events with histories of their own "
        "in a batch):"
    )
    yield ""
    yield f"![The same, drawn](../../benchmarks/results/{PurePath(name).with_suffix('.svg')})"
    yield ""
    yield from table(
        ("members", *_COSTS.values()),
        (
            (f"{cost['length']:,}", *(f"{cost[key]:,.1f}" for key in _COSTS))
            for cost in result["lengths"]
        ),
    )


def _building(building: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"The training table of {building['events']:,} events; inside: without the start of the "
        "process, and of pandas without reading and writing. "
        f"{building['rows_different']} rows differ in one of the "
        f"{building['columns_compared']} columns compared:"
    )
    yield ""
    names = {"build": "`fraud-worker features build`", "pandas": "the Handbook's method, pandas"}
    yield from table(
        ("method", "s", "s inside", "events/s", "times pandas", "peak MiB"),
        (
            (
                name,
                f"{building[key]['seconds']:.1f}",
                f"{building[key]['seconds_inside']:.1f}",
                f"{building[key]['events_per_s']:,.0f}",
                f"{building['ratio'] if key == 'build' else 1:.1f}",
                f"{building[key]['peak_mib']:,.0f}",
            )
            for key, name in names.items()
        ),
        texts=1,
    )


def _memory(memory: Mapping[str, Any]) -> Iterator[str]:
    yield "What the store holds after a run, by its own `MEMORY USAGE`:"
    yield ""
    kinds = {k: v for program in memory["states"].values() for k, v in program["kinds"].items()}
    yield from table(
        ("keys of", "keys", "members a key", "bytes a key", "bytes a member"),
        (
            (
                name,
                f"{kinds[kind]['keys']:,}",
                f"{kinds[kind]['members_per_key']:.1f}",
                f"{kinds[kind]['bytes_per_key']:,.0f}",
                f"{kinds[kind]['bytes_per_member']:.1f}",
            )
            for kind, name in _KINDS.items()
            if kind in kinds
        ),
        texts=1,
    )
    million = memory["million_cards"]["worker"]
    yield (
        f"A million cards that pay as often need {million['gib']:.1f} GiB "
        f"({million['gib_cards']:.1f} GiB of it for the cards): {million['calculation']}."
    )
    yield ""
