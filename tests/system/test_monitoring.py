"""Dashboard, rules and traces of a worker on real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import SharedKafka
from tests.support.fleet import READY_S, Worker
from tests.support.load import Load
from tests.support.object_servers import require_tool
from tests.support.prometheus import (
    MONITORING,
    PROMETHEUS,
    Prometheus,
    TraceReceiver,
    trace_receiver,
)
from tests.support.rig import Rig, await_that

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

_DEADLINE_S = 60.0
_STAGES = ("decode", "enrich", "score", "decide", "explain", "encode", "deliver")


@contextmanager
def scraped(rig: Rig, traces: TraceReceiver) -> Iterator[Prometheus]:
    """Server that has scraped a worker under load some fifteen times."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    worker, load = Worker(rig, "monitored", environment=environment), Load(rig, 8, 300.0)
    with Prometheus(rig.folder / "prometheus", worker.port) as server:
        load.start()
        try:
            await_that(lambda: not worker.not_ready(), READY_S, "ready", worker.tail)
            committed = 'count_over_time(fraud_worker_batches_total{outcome="committed"}[1m]) > 15'
            await_that(lambda: bool(server.query(committed)), _DEADLINE_S, "scrapes", worker.tail)
            yield server
        finally:
            load.stop()
            worker.kill()


def queries() -> dict[str, str]:
    """Expressions of the dashboard by panel and legend, with values for its variables."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    variables = {"$namespace": "payments", "$job": ".*", "$__rate_interval": "10s"}
    found = {}
    for panel in panels:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            found[f"{panel['title']}: {target['legendFormat']}"] = expression
    return found


def test_a_worker_fills_the_dashboard_passes_the_rules_and_sends_traces(
    tmp_path: Path, trained: Path, kafka: SharedKafka, redis_url: str
) -> None:
    require_tool(PROMETHEUS)
    rig = Rig(tmp_path / f"monitored-{tmp_path.name}", trained, (kafka.bootstrap, redis_url))
    rig.load_lookups()
    with trace_receiver() as traces, scraped(rig, traces) as prometheus:
        asked = queries()
        assert len(asked) > 30
        assert not {name for name, query in asked.items() if not prometheus.query(query)}
        rules = prometheus.rules()
        assert {rule["health"] for rule in rules} == {"ok"}
        assert not [rule["name"] for rule in rules if rule.get("state") == "firing"]
        await_that(lambda: len(traces.spans) > 100, _DEADLINE_S, "spans", lambda: len(traces.spans))
    require_stages(traces, rig.topics["input"])


def require_stages(traces: TraceReceiver, topic: str) -> None:
    """Each micro-batch is a span, and its stages follow each other in it."""
    assert traces.services == {"fraud-worker"}
    batches = [span for span in traces.spans if not span.parent_span_id]
    assert {span.name for span in batches} == {f"process {topic}"}
    first = batches[0]
    own = [span for span in traces.spans if span.parent_span_id == first.span_id]
    assert tuple(span.name for span in own) == _STAGES
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in own]
    assert times[0][0] == first.start_time_unix_nano
    assert times[-1][1] == first.end_time_unix_nano
    assert all(end == begin for (_, end), (begin, _) in pairwise(times))
