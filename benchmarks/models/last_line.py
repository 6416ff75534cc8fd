"""Summary line of the suite ``models``, and its values that tables and report share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.rivals.task import BATCH_EVENTS

EXPLAINED = BATCH_EVENTS // 100
"""Number of explained events in a full micro-batch, if one in a hundred is explained."""

Row = Mapping[str, Any]


def last_line(result: Mapping[str, Any]) -> dict[str, Any]:
    """Summary line.

    It has microseconds per event and per explained event, ratios to direct calls of XGBoost, events
    per second, and milliseconds of latency.
    """
    return {
        "us_per_event": {
            **{f"margins_{row['trees']}_trees": _us(row["worker"]) for row in full_batches(result)},
            **{name: _us(value) for name, value in result["stations"].items()},
        },
        "us_per_explained_event": {
            f"reasons_{row['trees']}_trees": _us(row["reasons"] + row["encode"])
            for row in one_percent(result)
        },
        "times_as_fast": {
            f"{row['trees']}_trees": {name: round(value, 2) for name, value in ratios(row).items()}
            for row in compared(result)
        },
        **{name: round(figures["events_per_s"]) for name, figures in result["programs"].items()},
        "with_reasons_of_without": round(result["programs"]["worker"]["ratio"], 3),
        "explained_share": round(result["explained_share"], 4),
        "latency_ms": {
            mode: {key: round(result["latency"][mode][key], 2) for key in ("p50", "p99")}
            for mode in ("alone", "swapped")
        },
        "p99_swapped_of_alone": round(result["latency"]["p99_ratio"], 2),
        "swaps": result["latency"]["swaps"],
        "gpu": result["no_gpu"] or gpu(result),
    }


def full_batches(result: Mapping[str, Any]) -> list[Row]:
    """Times for margins of full micro-batches on the CPU, one row for each number of trees."""
    return _where(result["scoring"], device="cpu", batch=BATCH_EVENTS)


def one_percent(result: Mapping[str, Any]) -> list[Row]:
    """Times for reasons of one event in a hundred on the CPU, one row for each number of trees."""
    return _where(result["explaining"], device="cpu", explained=EXPLAINED)


def compared(result: Mapping[str, Any]) -> list[Row]:
    """Rows for a full micro-batch, a single event, and reasons of 1 %, by number of trees."""
    alone = _where(result["scoring"], device="cpu", batch=1)
    return [
        {"trees": full["trees"], "full": full, "alone": single, "reasons": reasons}
        for full, single, reasons in zip(
            full_batches(result), alone, one_percent(result), strict=True
        )
    ]


def ratios(row: Row) -> dict[str, float]:
    """Ratios of the time of direct XGBoost calls to the time of the worker.

    Returns:
        ``dmatrix`` for one DMatrix per micro-batch, ``one_at_a_time`` for the fastest call once per
        event, and ``reasons`` for the contributions.
    """
    full, alone, reasons = row["full"], row["alone"], row["reasons"]
    return {
        "dmatrix": full["dmatrix"] / full["worker"],
        "one_at_a_time": alone["in_place"] / full["worker"],
        "reasons": reasons["xgboost"] / reasons["contributions"],
    }


def gpu(result: Mapping[str, Any]) -> dict[str, Any]:
    """Highest rates of the GPU in events per second, by kind and number of trees."""
    return {
        kind: {
            str(trees): round(1e6 / min(row[figure] for row in rows))
            for trees, rows in _by_trees(_where(result[kind], device="cuda")).items()
        }
        for kind, figure in (("scoring", "worker"), ("explaining", "contributions"))
    }


def _where(rows: Iterable[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _by_trees(rows: Iterable[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["trees"], []).append(row)
    return groups


def _us(value: float) -> float:
    return round(value, 3)
