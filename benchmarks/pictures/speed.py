"""Chart of throughput and latency, from a result of the suite ``spine``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.pictures.svg import BLUE, GREY, MUTED, TEXT, bar, card, text

_PROGRAMS = {
    "worker": "the worker, exactly once",
    "hand_written": "hand-written batch loop",
    "per_event": "loop, one event at a time",
    "pass_through": "pass-through: the limit",
}
_WIDTH, _HEIGHT = 800, 234
_LEFT, _BAR, _ROW = 222, 150, 28
_LATENCY, _LATENCY_BAR = 610, 110


def draw(result: Mapping[str, Any]) -> str:
    """The chart as an SVG file."""
    return card(
        _WIDTH,
        _HEIGHT,
        f"Throughput and latency, measured on {result['date']}",
        "".join([*_throughput(result), *_latency(result), *_caption(result)]),
    )


def _throughput(result: Mapping[str, Any]) -> Iterator[str]:
    yield text(20, 34, "Events per second", more='font-weight="600"')
    rates = {name: result["programs"][name]["events_per_s"] for name in _PROGRAMS}
    for row, (name, rate) in enumerate(rates.items()):
        y = 52 + row * _ROW
        width = _BAR * rate / max(rates.values())
        yield text(_LEFT - 10, y + 13, _PROGRAMS[name], TEXT, 'text-anchor="end"')
        yield bar(_LEFT, y, width, BLUE if name == "worker" else GREY)
        yield text(_LEFT + width + 8, y + 13, f"{rate:,.0f}", MUTED)


def _latency(result: Mapping[str, Any]) -> Iterator[str]:
    yield text(470, 34, "Latency at 1,000 events per second", more='font-weight="600"')
    rows = [
        (f"{mode.replace('_', ' ')}, {name}", found[key])
        for mode, found in result["latency"].items()
        for key, name in (("p50", "50 %"), ("p99", "99 %"))
    ]
    longest = max(value for _, value in rows)
    for row, (name, value) in enumerate(rows):
        y = 52 + row * _ROW
        width = _LATENCY_BAR * value / longest
        yield text(_LATENCY - 10, y + 13, name, TEXT, 'text-anchor="end"')
        yield bar(_LATENCY, y, width, BLUE if name.startswith("exactly") else GREY)
        yield text(_LATENCY + width + 8, y + 13, f"{value:.1f} ms", MUTED)


def _caption(result: Mapping[str, Any]) -> Iterator[str]:
    machine, setting = result["machine"], result["setting"]
    small = 'font-size="11"'
    yield text(
        20,
        _HEIGHT - 40,
        f"Measured on {result['date']}: {machine['processor']}, {machine['usable_cores']} cores for "
        "program, broker and store together; from Avro in Kafka to scores in Kafka,",
        MUTED,
        small,
    )
    yield text(
        20,
        _HEIGHT - 22,
        f"{setting['trees']} trees, {setting['features']} features, two lookups in Valkey per event. "
        "Latency is from the producer to a reader of committed records.",
        MUTED,
        small,
    )
