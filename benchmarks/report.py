"""Write the newest results of benchmarks/results into docs/explanation/performance.md.

``python -m benchmarks --record`` does this after a run, ``python -m benchmarks.report`` without one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.features.report import features
from benchmarks.latency.report import latency
from benchmarks.markdown import measured_on, programs, stages
from benchmarks.models.report import models
from benchmarks.options import RESULTS
from benchmarks.partitions.suite import partitions
from benchmarks.peers.suite import peers
from benchmarks.soak.suite import soak

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "performance.md"
BEGIN = {
    suite: f"<!-- {suite}, by `python -m benchmarks.report`; edit nothing from here on. -->"
    for suite in ("spine", "features", "models", "latency", "partitions", "soak", "peers")
}
END = "<!-- Until here. -->"

_PROGRAMS = {
    "worker": "the worker, exactly once",
    "hand_written": "a good hand-written batch loop",
    "per_event": "a loop, one event at a time",
    "pass_through": "pass-through: the limit of this client and broker",
}


def newest(suite: str) -> Path | None:
    """Path of the newest result of a suite; None if there is none."""
    return max(RESULTS.glob(f"*-{suite}.json"), default=None)


def render(suite: str) -> str:
    """Newest result of a suite as Markdown; "" if there is none."""
    path = newest(suite)
    if path is None:
        return ""
    result = json.loads(path.read_text("utf-8"))
    return "\n".join(_RENDERED[suite](result, path.name)) + "\n"


def put(page: str, suite: str, text: str) -> str:
    """Return the page with ``text`` between the markers of a suite.

    Raises:
        ValueError: The page lacks a marker.
    """
    before, begin, rest = page.partition(f"{BEGIN[suite]}\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"the page lacks {BEGIN[suite]!r} or {END!r}: put both where the tables belong"
        )
    return f"{before}{begin}{text}{end}{after}"


def _spine(result: Mapping[str, Any], name: str) -> Iterator[str]:
    yield from measured_on(result, name)
    yield from programs(result, _PROGRAMS, "times hand-written")
    yield from stages(result)
    yield "Latency from producer to a reader of committed records, at 1,000 events/s:"
    yield ""
    yield "| guarantee | median | 99 % | highest |"
    yield "|---|---:|---:|---:|"
    for mode, one in result["latency"].items():
        figures = " | ".join(f"{one[key]:.1f} ms" for key in ("p50", "p99", "highest"))
        yield f"| {mode.replace('_', ' ')} | {figures} |"
    yield ""


_RENDERED = {
    "spine": _spine,
    "features": features,
    "models": models,
    "latency": latency,
    "partitions": partitions,
    "soak": soak,
    "peers": peers,
}


def main() -> None:
    """Update the page."""
    page = PAGE.read_text("utf-8")
    for suite in BEGIN:
        page = put(page, suite, render(suite))
    PAGE.write_text(page, "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: written", file=sys.stderr)


if __name__ == "__main__":
    main()
