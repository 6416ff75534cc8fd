"""Measure reasons by trees and number of explained events, and XGBoost's own TreeSHAP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.models.micro_batch import MicroBatch
from benchmarks.models.timing import Call, alternate
from benchmarks.programs import RunError
from models.backend.protocol import Backend, Contributions, Matrix
from models.policy import Coding
from models.reasons import TOLERANCE, Reasons

EXPLAINED = (1, 4, 40, 400)

Explain = Callable[[Matrix], Contributions]


@dataclass(frozen=True, slots=True)
class Explaining:
    """Microseconds per explained event.

    Attributes:
        device: Device of the backend.
        trees: Number of trees.
        explained: Number of explained events in the micro-batch.
        contributions: Time of the backend for the contributions.
        reasons: Time for the complete reasons, with the contributions.
        encode: Additional time to encode the micro-batch with reasons.
        xgboost: Time of XGBoost's own contributions on the CPU; None if not measured.
    """

    device: str
    trees: int
    explained: int
    contributions: float
    reasons: float
    encode: float
    xgboost: float | None = None


def measure_explaining(
    backend: Backend,
    trees: int,
    coding: Coding,
    micro_batch: MicroBatch,
    others: Mapping[str, Explain],
) -> list[Explaining]:
    """Measure each number of explained events.

    Raises:
        RunError: One of the ``others`` returns different contributions.
    """
    reasons, costs = Reasons(coding, backend), []
    margins = backend.margins(micro_batch.scored.matrix)
    for count in EXPLAINED:
        rows = np.arange(0, len(micro_batch.batch), len(micro_batch.batch) // count, dtype=np.intp)[
            :count
        ]
        matrix = micro_batch.scored.matrix[rows]
        explained = reasons.explain(micro_batch.scored.matrix, margins, rows)
        calls: dict[str, Call] = {
            "contributions": partial(backend.contributions, matrix),
            "reasons": partial(reasons.explain, micro_batch.scored.matrix, margins, rows),
            "encode": partial(micro_batch.encoded, explained),
            "bare": micro_batch.encoded,
        }
        for name, explain in others.items():
            if not np.allclose(explain(matrix), backend.contributions(matrix), atol=TOLERANCE):
                raise RunError(f"{name} gives other contributions than {backend.device}")
            calls[name] = partial(explain, matrix)
        took = alternate(calls)
        encode, bare = took.pop("encode"), took.pop("bare")
        us = {name: seconds.median * 1e6 / count for name, seconds in took.items()}
        us["encode"] = encode.beyond(bare) * 1e6 / count
        costs.append(Explaining(backend.device, trees, count, **us))
    return costs
