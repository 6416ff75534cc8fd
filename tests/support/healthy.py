"""Valid pipeline folder, for tests that break one part of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.support.replay import PIPELINE

SCHEMA = Path(__file__).parents[2] / "schemas" / "transaction.avsc"
EVENT = {
    "transaction_id": "t1",
    "tx_time": 1_700_000_000_000,
    "customer_id": "c1",
    "terminal_id": "m1",
    "amount": 12.5,
    "currency": "EUR",
    "channel": "pos",
}


def healthy_pipeline(folder: Path, **kafka: Any) -> Path:
    """Copy the golden pipeline with its model and its own schema.

    No server runs at the addresses in it.

    Args:
        folder: Folder to create.
        kafka: Settings of the section ``kafka``.
    """
    shutil.copytree(PIPELINE, folder)
    shutil.copy(SCHEMA, folder / "transaction.avsc")
    edit(
        folder / "features.yaml", lambda values: values["events"].update(schema="transaction.avsc")
    )

    def settings(values: dict[str, Any]) -> None:
        values["kafka"] |= {"bootstrap_servers": "127.0.0.1:1", **kafka}
        values["store"] = {"url": "redis://127.0.0.1:1", "timeout_s": 0.3}
        values["delivery"] = {"broker_timeout_s": 0.3}

    edit(folder / "worker.yaml", settings)
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the values of a YAML file."""
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
