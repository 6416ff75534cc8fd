"""Events per second of both devices, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from benchmarks.gpu.material import Material
from benchmarks.models.timing import alternate
from benchmarks.testbed import note
from models.backend import open_backend

Kind = Literal["margins", "contributions"]
DEVICES: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")
BATCHES: Mapping[Kind, tuple[int, ...]] = {
    "margins": (1, 100, 1_000, 4_000, 16_000, 64_000),
    "contributions": (1, 40, 400, 4_000),
}
"""Sizes of the micro-batches; of contributions, numbers of explained events."""


def measure(material: Material, threads: int, kind: Kind, until: float) -> list[dict[str, Any]]:
    """Measure margins or contributions by trees and batch, until a time of ``time.monotonic``.

    Contributions of the largest model are left out, as they take the CPU too long.
    """
    rows: list[dict[str, Any]] = []
    models = list(material.bundles.items())
    for trees, bundle in models if kind == "margins" else models[:-1]:
        backends = [open_backend(bundle, device, threads) for device in DEVICES]
        for batch in (size for size in BATCHES[kind] if size <= len(material.matrix)):
            if time.monotonic() > until:
                note(f"no time is left for more {kind}")
                return rows
            matrix = material.matrix[:batch]
            took = alternate(
                {
                    device: partial(getattr(backend, kind), matrix)
                    for device, backend in zip(DEVICES, backends, strict=True)
                }
            )
            rates = {device: batch / seconds.median for device, seconds in took.items()}
            rows.append({"trees": trees, "batch": batch, "events_per_s": rates})
    return rows
