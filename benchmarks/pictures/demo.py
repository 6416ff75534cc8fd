"""Recording of ``make demo``, and an animated terminal drawn from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pictures.svg import GREEN, MUTED, TEXT, card, text
from benchmarks.result import today
from benchmarks.testbed import note
from models.backend.threads import available_threads

ROOT = Path(__file__).parents[2]
_COLUMN, _LINE, _MARGIN = 7.2, 17, 16
# A pause is shown, but not for as long as it was.
_LONGEST_PAUSE_S = 1.0


def record() -> dict[str, Any]:
    """Run the demo as ``make demo`` does, and note when it printed each line."""
    command = [sys.executable, "-m", "tools", "demo", "--events", "20000", "--rate", "2000"]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    begin = time.monotonic()
    lines = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for line in process.stdout or ():
            note(line.rstrip())
            lines.append({"at": round(time.monotonic() - begin, 2), "text": line.rstrip()})
    if process.returncode:
        raise SystemExit(f"the demo ended with exit code {process.returncode}")
    return {
        "suite": "demo",
        "date": today(),
        "command": "make demo",
        "usable_cores": available_threads(),
        "lines": lines,
    }


def draw(recording: Mapping[str, Any]) -> str:
    """The recording as an SVG whose lines appear one after the other."""
    lines: Sequence[Mapping[str, Any]] = recording["lines"]
    shown = [(0.0, f"$ {recording['command']}")]
    clock, last = 0.4, 0.0
    for line in lines:
        clock += min(line["at"] - last, _LONGEST_PAUSE_S)
        last = line["at"]
        shown.append((clock, line["text"]))
    widest = max(len(content) for _, content in shown)
    body = "".join(
        _line(row, content, delay, MUTED if row == 0 else GREEN if "│" in content else TEXT)
        for row, (delay, content) in enumerate(shown)
        if content
    )
    return card(
        round(widest * _COLUMN + 2 * _MARGIN),
        round(len(shown) * _LINE + 2 * _MARGIN),
        f"Output of `{recording['command']}`, recorded on {recording['date']}",
        body,
        "@keyframes appear { from { opacity: 0 } } "
        "@media (prefers-reduced-motion: no-preference) "
        "{ .line { animation: appear 0.1s both } }",
    )


def _line(row: int, content: str, delay: float, fill: str) -> str:
    # Fonts differ in width: textLength keeps the columns of the table.
    more = (
        f'class="mono line" xml:space="preserve" textLength="{len(content) * _COLUMN:.1f}" '
        f'style="animation-delay: {delay:.2f}s"'
    )
    return text(_MARGIN, _MARGIN + 12 + row * _LINE, content, fill, more)
