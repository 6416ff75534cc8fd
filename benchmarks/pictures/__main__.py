"""``python -m benchmarks.pictures [--record]``: draw docs/pictures from committed results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.options import RESULTS
from benchmarks.pictures import demo, speed
from benchmarks.report import newest
from benchmarks.result import write_result
from benchmarks.testbed import note

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
# Each picture with the suite whose newest result it shows.
PICTURES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "demo.svg": ("demo", demo.draw),
    "speed.svg": ("spine", speed.draw),
}


def render(name: str) -> str:
    """The picture from the newest result of its suite."""
    suite, draw = PICTURES[name]
    path = newest(suite)
    if path is None:
        raise SystemExit(f"benchmarks/results has no result of {suite}")
    return draw(json.loads(path.read_text("utf-8")))


def main() -> None:
    """Draw the pictures; with ``--record`` run the demo first and keep what it printed."""
    parser = argparse.ArgumentParser("python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--record", action="store_true", help="run and record `make demo` first")
    if parser.parse_args().record:
        write_result(RESULTS, demo.record())
    for name in PICTURES:
        (FOLDER / name).write_text(render(name), "utf-8")
        note(f"docs/pictures/{name}: written")


if __name__ == "__main__":
    main()
