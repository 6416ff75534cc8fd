"""Payments pipeline with windows that its model does not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.healthy import edit
from tests.support.payments import write_pipeline

NUMBER = "CUSTOMER_NB_1H"
TOTAL = "CUSTOMER_TOTAL_1H"
WINDOWS: tuple[dict[str, Any], ...] = (
    {"name": NUMBER, "window": "count", "by": "customer", "over": "1h"},
    {"name": TOTAL, "window": "sum", "of": "amount", "by": "customer", "over": "1h"},
)
RISK: dict[str, Any] = {
    "name": "CARD_RISK_7D",
    "window": "fraud_share",
    "by": "card",
    "over": "7d",
    "delay": "7d",
    "across": "aligned",
}


def windowed_pipeline(folder: Path, *more: dict[str, Any], **kafka: Any) -> Path:
    """Write the pipeline folder; no server runs at the default addresses.

    Args:
        folder: Folder to create.
        more: Further features.
        kafka: Settings of the section ``kafka``.
    """
    write_pipeline(folder, kafka)

    def features(values: dict[str, Any]) -> None:
        values["entities"]["customer"] = "customer"
        values["history"] = {"allowed_lateness": "10m"}
        values["features"] += [*WINDOWS, *more]

    edit(folder / "features.yaml", features)
    edit(folder / "worker.yaml", lambda values: values.update(store={"url": "redis://127.0.0.1:1"}))
    return folder
