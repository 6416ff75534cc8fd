"""Spans of committed micro-batches, and the environment that asks for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from base.errors import BatchAbortedError, ConfigurationError
from tests.support.fakes import FakeMessage
from tests.support.loop_harness import LoopHarness, raising
from worker.process.tracing import MAX_LINKS, Spans, default_resource, open_tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MODULE = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider, "group")


def roots(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.parent is None]


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    assert span.attributes is not None
    return dict(span.attributes)


def test_each_committed_batch_is_a_span_with_its_stages_as_children(
    exporter: InMemorySpanExporter, spans: Spans
) -> None:
    bench = LoopHarness({0: 4}, tracing=spans)
    bench.process.bad = {(0, 1)}
    bench.checkpoint.outcomes.append(raising(BatchAbortedError("once")))
    bench.run()
    first, second = roots(exporter)
    assert first.name == second.name == "process in"
    assert attributes(first) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "in",
        "messaging.consumer.group.name": "group",
        "messaging.batch.message_count": 2,
        "fraud_worker.partitions": (0,),
        "fraud_worker.first_offsets": (0,),
        "fraud_worker.dead_letters": 1,
        "fraud_worker.model": "m 1",
    }
    assert attributes(second)["fraud_worker.first_offsets"] == (2,)
    children = [span for span in exporter.get_finished_spans() if span.parent == first.context]
    assert [span.name for span in children] == ["decode", "deliver"]
    assert children[0].start_time == first.start_time
    assert children[0].end_time == children[1].start_time
    assert children[1].end_time == first.end_time


def test_a_span_links_to_the_events_that_their_producers_sampled(
    exporter: InMemorySpanExporter, spans: Spans
) -> None:
    headers = (
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",  # not sampled
        "nonsense \u00e4",
        f"00-{'0' * 32}-{SPAN}-01",  # not valid
    )
    bench = LoopHarness({0: len(headers)}, batch=len(headers), tracing=spans)
    for offset, header in enumerate(headers):
        extra = [("other", None), ("traceparent", header.encode())]
        bench.consumer.messages[0, offset] = FakeMessage((0, offset), extra=extra)
    bench.run()
    (span,) = roots(exporter)
    (link,) = span.links
    assert f"{link.context.trace_id:032x}" == TRACE
    assert f"{link.context.span_id:016x}" == SPAN


def test_the_number_of_links_is_bounded(exporter: InMemorySpanExporter, spans: Spans) -> None:
    rows = MAX_LINKS + 5
    bench = LoopHarness({0: rows}, batch=rows, tracing=spans)
    for offset in range(rows):
        header = f"00-{TRACE}-{offset + 1:016x}-01".encode()
        message = FakeMessage((0, offset), extra=[("traceparent", header)])
        bench.consumer.messages[0, offset] = message
    bench.run()
    (span,) = roots(exporter)
    assert [link.context.span_id for link in span.links] == list(range(1, MAX_LINKS + 1))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_there_are_no_traces_unless_an_endpoint_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert open_tracing("group") is None


@pytest.mark.parametrize(
    ("named", "service"),
    [
        ({}, "fraud-worker"),
        ({"OTEL_SERVICE_NAME": "scores"}, "scores"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=scores,zone=a"}, "scores"),
    ],
)
def test_the_service_has_the_name_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, named: Mapping[str, str], service: str
) -> None:
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert Resource.create(default_resource(named)).attributes["service.name"] == service


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'.*4318"):
        open_tracing("group")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ConfigurationError, match=f"{MODULE} is not installed.*otel"):
        open_tracing("group")
