"""Reference pages of the metrics, the codes of dead letters and the exit codes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from base.errors import ErrorCode
from worker.process import metrics as declared
from worker.process.bulk_histogram import BulkHistogram
from worker.process.exits import ExitCode

_METRICS = """\
# Metrics

The worker serves them in the Prometheus text format at `/metrics` on `http.port`. Units are base units. No label holds an entity key or an event id. Histograms also have the series `_bucket`, `_sum` and `_count`. CPU time, memory, file descriptors and start of the process have Prometheus's own names (`process_…`). [Troubleshooting](../how-to/troubleshoot.md) says which metric to look at for which symptom.

| metric | type | labels | meaning |
|---|---|---|---|
"""
_ERROR_CODES = """\
# Codes of dead letters

A record that cannot be scored becomes a [dead letter](wire-formats.md#dead-letters). Its header `__worker.errors.code` has one of these codes. Codes are stable: consumers may match on them. [Read dead letters](../how-to/read-dead-letters.md) lists usual reasons and remedies.

| code | meaning |
|---|---|
"""
_EXIT_CODES = """\
# Exit codes

A supervisor may restart a worker after any of them. After 2 a restart alone does not help: a person has to change the configuration. [Troubleshooting](../how-to/troubleshoot.md) has a section for each.

| exit code | meaning |
|---|---|
"""


def metrics() -> str:
    """The text of docs/reference/metrics.md."""
    return _METRICS + "".join(_metric_rows())


def _metric_rows() -> Iterator[str]:
    for collector in vars(declared).values():
        if isinstance(collector, MetricWrapperBase):
            labels = collector._labelnames  # noqa: SLF001 - no public way
        elif isinstance(collector, BulkHistogram):
            labels = collector.labels
        else:
            continue
        (metric,) = collector.collect()
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        shown = ", ".join(f"`{label}`" for label in labels)
        yield f"| `{name}` | {metric.type} | {shown} | {metric.documentation} |\n"


def error_codes() -> str:
    """The text of docs/reference/error-codes.md."""
    return _ERROR_CODES + "".join(f"| `{code}` | {code.meaning} |\n" for code in ErrorCode)


def exit_codes() -> str:
    """The text of docs/reference/exit-codes.md."""
    rows = (f"| {code} | {code.meaning[0].upper()}{code.meaning[1:]}. |\n" for code in ExitCode)
    return _EXIT_CODES + "".join(rows)
