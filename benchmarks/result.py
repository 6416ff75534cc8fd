"""Result files, one for each run, named by date and suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.testbed import note


def today() -> str:
    """Current date, UTC."""
    return datetime.now(UTC).date().isoformat()


def write_result(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``DATE-SUITE.json`` into the folder, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['date']}-{result['suite']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    note(f"written to {path}")
    return path
