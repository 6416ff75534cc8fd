"""Write dashboard.json, the Grafana dashboard of a worker: ``python k8s/monitoring/dashboard.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_OF: Final = 'namespace=~"$namespace", job=~"$job"'
"""Matchers of every query: the variables of the dashboard."""

Query = tuple[str, str]
"""Legend and expression; ``{}`` in an expression stands for the matchers."""


def dashboard() -> str:
    """The dashboard as JSON."""
    made = (
        Dashboard("fraud-worker")
        .uid("fraud-worker")
        .tags(["fraud-worker"])
        .description("Streaming inference worker: rates, latency, lag, decisions, state, models.")
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("namespace", "fraud_worker_info"))
        .with_variable(_variable("job", 'fraud_worker_info{namespace=~"$namespace"}'))
    )
    for title, panels in _ROWS.items():
        made = made.with_row(Row(title))
        for name, unit, queries in panels:
            made = made.with_panel(_panel(name, unit, queries))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _variable(name: str, series: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(_SOURCE)
        .query(f"label_values({series}, {name})")
        .include_all(True)
        .multi(True)
    )


def _panel(title: str, unit: str, queries: tuple[Query, ...]) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).unit(unit).min(0).datasource(_SOURCE)
    panel = panel.height(7).span(8).fill_opacity(10)
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    panel = panel.legend(legend)
    for number, (name, expression) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression.replace("{}", f"{{{_OF}}}"))
        panel = panel.with_target(query.legend_format(name).ref_id(chr(ord("A") + number)))
    return panel


def _quantile(share: float, metric: str, *by: str) -> str:
    kept = ", ".join((*by, "le"))
    return f"histogram_quantile({share}, sum by ({kept}) (rate({metric}_bucket{{}}[$__rate_interval])))"


def _rate(metric: str, *by: str) -> str:
    kept = f" by ({', '.join(by)})" if by else ""
    return f"sum{kept} (rate({metric}{{}}[$__rate_interval]))"


_FAST: Final = f'{{{_OF}, le="0.25"}}'
_AGE: Final = "fraud_worker_record_age_seconds"
_ROWS: Final[dict[str, tuple[tuple[str, str, tuple[Query, ...]], ...]]] = {
    "Stream": (
        (
            "Records a second",
            "cps",
            (
                (
                    "{{model}} {{model_version}}",
                    _rate("fraud_worker_events_total", "model", "model_version"),
                ),
                ("dead letters", f"{_rate('fraud_worker_dead_letters_total')} or vector(0)"),
            ),
        ),
        (
            "Record age at the commit",
            "s",
            tuple((f"{share:.1%}", _quantile(share, _AGE)) for share in (0.5, 0.99, 0.999)),
        ),
        (
            "Records within 250 ms",
            "percentunit",
            (
                (
                    "share",
                    f"sum (rate({_AGE}_bucket{_FAST}[$__rate_interval])) / {_rate(f'{_AGE}_count')}",
                ),
            ),
        ),
        (
            "Lag",
            "short",
            (("partition {{partition}}", "sum by (partition) (fraud_worker_lag_records{})"),),
        ),
        (
            "Decisions a second",
            "cps",
            (
                (
                    "{{segment}} {{decision}}",
                    _rate("fraud_worker_decisions_total", "segment", "decision"),
                ),
            ),
        ),
        (
            "Scores",
            "percentunit",
            tuple(
                (f"{share:.1%}", _quantile(share, "fraud_worker_score"))
                for share in (0.5, 0.99, 0.999)
            ),
        ),
    ),
    "Quality of input": (
        (
            "Dead letters a second by code",
            "cps",
            (("{{code}}", _rate("fraud_worker_dead_letters_total", "code") + " or vector(0)"),),
        ),
        (
            "Flags a second",
            "cps",
            (("{{flag}}", _rate("fraud_worker_flags_total", "flag") + " or vector(0)"),),
        ),
        (
            "Events with reasons a second",
            "cps",
            (("explained", _rate("fraud_worker_explained_events_total")),),
        ),
    ),
    "Worker": (
        (
            "Time of a micro-batch by stage",
            "s",
            (
                (
                    "{{stage}}",
                    f"{_rate('fraud_worker_stage_seconds_sum', 'stage')} / {_rate('fraud_worker_stage_seconds_count', 'stage')}",
                ),
            ),
        ),
        (
            "Events in a micro-batch",
            "short",
            (
                ("median", _quantile(0.5, "fraud_worker_batch_events")),
                ("99.0%", _quantile(0.99, "fraud_worker_batch_events")),
            ),
        ),
        (
            "Micro-batches a second",
            "cps",
            (("{{outcome}}", _rate("fraud_worker_batches_total", "outcome")),),
        ),
        (
            "CPU",
            "short",
            (
                (
                    "{{instance}}",
                    "rate(process_cpu_seconds_total{}[$__rate_interval]) and on (instance) fraud_worker_info{}",
                ),
            ),
        ),
        (
            "Memory",
            "bytes",
            (
                (
                    "{{instance}}",
                    "process_resident_memory_bytes{} and on (instance) fraud_worker_info{}",
                ),
            ),
        ),
        (
            "Partitions by replica",
            "short",
            (("{{instance}}", "fraud_worker_assigned_partitions{}"),),
        ),
    ),
    "State": (
        (
            "Paused",
            "bool_yes_no",
            (("{{dependency}}", "max by (dependency) (fraud_worker_paused{})"),),
        ),
        (
            "Share of the longest window that is filled",
            "percentunit",
            (("{{entity}}", "min by (entity) (fraud_worker_history_coverage_ratio{})"),),
        ),
        (
            "Wait for other partitions",
            "s",
            (("longest", "max (fraud_worker_alignment_wait_seconds{})"),),
        ),
        (
            "Bytes of members written a second",
            "Bps",
            (("bytes", _rate("fraud_worker_history_bytes_total")),),
        ),
        (
            "Histories lost",
            "short",
            (("losses", "sum (increase(fraud_worker_histories_lost_total{}[$__rate_interval]))"),),
        ),
        (
            "Labels a second",
            "cps",
            (
                ("applied", _rate("fraud_worker_labels_total")),
                ("late", _rate("fraud_worker_late_labels_total")),
            ),
        ),
    ),
    "Model": (
        (
            "Workers by model",
            "short",
            (
                (
                    "{{model}} {{model_version}}, policy {{policy_version}}",
                    "count by (model, model_version, policy_version) (fraud_worker_info{})",
                ),
            ),
        ),
        (
            "Age of the model",
            "s",
            (("age", "time() - min (fraud_worker_model_written_timestamp_seconds{})"),),
        ),
        ("Refused", "bool_yes_no", (("{{what}}", "max by (what) (fraud_worker_refused{})"),)),
    ),
}


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("dashboard.json")
    target.write_text(dashboard(), "utf-8")
