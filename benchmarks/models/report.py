"""Report of the suite ``models`` for docs/explanation/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from benchmarks.markdown import measured_on, programs, stages, table
from benchmarks.models.last_line import compared, ratios

_PROGRAMS = {
    "worker": "reasons for one event in a hundred",
    "without_reasons": "no reasons",
    "cuda": "reasons for one event in a hundred, on the GPU",
}
_STAGES = {
    "logistic": "logistic",
    "calibration": "calibration curve",
    "one_segment": "policy, one segment",
    "five_segments": "policy, five segments",
    "encode": "encode without reasons",
}
_MODES = {"alone": "none", "swapped": "one every {swap_every_s:g} s"}


def models(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    yield from measured_on(result, name)
    if result["gpu"]:
        yield f"`cuda` is one {result['gpu']}, `cpu` all cores of the same machine."
    else:
        yield f"There was {result['no_gpu']}: all of this is of the CPU."
    yield ""
    yield f"![Margins and reasons, drawn](../../benchmarks/results/{PurePath(name).with_suffix('.svg')})"
    yield ""
    yield from _scoring(result)
    yield from _stages(result)
    yield from _explaining(result)
    yield from _ratios(result)
    yield from _throughput(result)
    yield from _latency(result)


def _scoring(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"Margins, µs an event, medians of {result['setting']['rounds_alone']} rounds:"
    yield ""
    yield from table(
        (
            "device",
            "trees",
            "micro-batch",
            "the worker",
            "events/s",
            "XGBoost in place",
            "a DMatrix a batch",
        ),
        (
            (
                row["device"],
                str(row["trees"]),
                f"{row['batch']:,}",
                f"{row['worker']:.2f}",
                f"{1e6 / row['worker']:,.0f}",
                *("" if row[way] is None else f"{row[way]:.2f}" for way in ("in_place", "dmatrix")),
            )
            for row in result["scoring"]
        ),
        texts=1,
    )


def _stages(result: Mapping[str, Any]) -> Iterator[str]:
    batch = result["setting"]["batch_events"]
    yield f"What else a micro-batch of {batch:,} takes, µs an event:"
    yield ""
    figures = [f"{result['stations'][name]:.3f}" for name in _STAGES]
    yield from table(tuple(_STAGES.values()), [figures])


def _explaining(result: Mapping[str, Any]) -> Iterator[str]:
    yield "Reasons, µs an explained event, by explained events in the micro-batch:"
    yield ""
    yield from table(
        (
            "device",
            "trees",
            "explained",
            "contributions",
            "XGBoost's own",
            "whole reasons",
            "to encode them",
        ),
        (
            (
                row["device"],
                str(row["trees"]),
                str(row["explained"]),
                f"{row['contributions']:.1f}",
                "" if row["xgboost"] is None else f"{row['xgboost']:.1f}",
                f"{row['reasons']:.1f}",
                f"{row['encode']:.1f}",
            )
            for row in result["explaining"]
        ),
        texts=1,
    )


def _ratios(result: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "How many times as long XGBoost called by hand takes: for a full micro-batch with a "
        "DMatrix; for its events one at a time, in place; for the contributions of one event in a "
        "hundred:"
    )
    yield ""
    yield from table(
        ("trees", "a DMatrix a batch", "one at a time", "contributions"),
        (
            (str(row["trees"]), *(f"{value:,.1f}" for value in ratios(row).values()))
            for row in compared(result)
        ),
    )


def _throughput(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"The worker on Kafka; {result['explained_share']:.2%} of the events were explained:"
    yield ""
    yield from programs(result, _PROGRAMS, "times no reasons")
    yield from stages(result)


def _latency(result: Mapping[str, Any]) -> Iterator[str]:
    setting, latency = result["setting"], result["latency"]
    yield (
        f"Latency at 1,000 events/s, medians of {setting['rounds_latency']} runs; "
        f"{latency['swaps']} swaps of the champion were taken. With swaps 99 % of the events take "
        f"less than {latency['p99_ratio']:.2f} times as long as 99 % without:"
    )
    yield ""
    yield from table(
        ("swaps", "median", "99 %", "highest"),
        (
            (
                said.format(**setting),
                *(f"{latency[mode][key]:.1f} ms" for key in ("p50", "p99", "highest")),
            )
            for mode, said in _MODES.items()
        ),
        texts=1,
    )
