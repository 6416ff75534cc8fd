"""Small event files with the schema of transactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Make = Callable[..., Path]


def row(number: int, **changes: Any) -> Row:
    return {
        "transaction_id": f"t-{number}",
        "tx_time": f"2018-04-01T{number % 24:02}:00:00Z",
        "customer_id": f"c-{number % 3}",
        "terminal_id": "p-1",
        "amount": 10.0 + number,
        **changes,
    }


def lines(path: Path, rows: Iterable[Row | str]) -> Path:
    texts = (given if isinstance(given, str) else json.dumps(given) for given in rows)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path
