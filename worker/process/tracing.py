"""OpenTelemetry traces: a span for each committed micro-batch, its stages as children.

The standard variables of OpenTelemetry configure them: an endpoint (``OTEL_EXPORTER_OTLP_ENDPOINT``
or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) switches them on. Names follow OpenTelemetry's semantic
conventions for messaging. No span holds a key, an id or a value of an event.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from base.errors import ConfigurationError
from schemas.batch import Records
from worker.stages.stages import Processed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED: Final = "http/protobuf"
_HEADER: Final = "traceparent"
# Most are not sampled, and parsing takes OpenTelemetry 5 us each.
_SAMPLED: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")
MAX_LINKS: Final = 128
"""OpenTelemetry's own default for the links of a span."""
_CLOSE_S: Final = 3.0


class Spans:
    """Spans of committed micro-batches.

    Args:
        provider: Provider that exports spans.
        group: Consumer group.
    """

    def __init__(self, provider: TracerProvider, group: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("fraud_worker")
        self._group = group

    def batch(self, records: Records, processed: Processed, seconds: float, at: float) -> None:
        """Record a committed micro-batch.

        Args:
            records: Its records, as they were polled.
            processed: Result of the stages.
            seconds: Time from the start of the stages to the commit.
            at: Time of the commit, in Unix seconds.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415  see `_exporting`

        end = int(at * 1e9)
        begin = end - int(seconds * 1e9)
        span = self._tracer.start_span(
            f"process {records.topic}",
            kind=SpanKind.CONSUMER,
            links=[*islice(_sampled(records), MAX_LINKS)],
            attributes=self._attributes(records, processed),
            start_time=begin,
        )
        if span.is_recording():
            context, before = set_span_in_context(span), begin
            for stage, took in processed.seconds.items():
                after = before + int(took * 1e9)
                self._tracer.start_span(stage, context, start_time=before).end(after)
                before = after
            self._tracer.start_span("deliver", context, start_time=before).end(end)
        span.end(end)

    def _attributes(self, records: Records, processed: Processed) -> Mapping[str, Any]:
        model = processed.model
        partitions, first = np.unique(records.partitions, return_index=True)
        return {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": records.topic,
            "messaging.consumer.group.name": self._group,
            "messaging.batch.message_count": len(records),
            "fraud_worker.partitions": partitions.tolist(),
            "fraud_worker.first_offsets": records.offsets[first].tolist(),
            "fraud_worker.dead_letters": len(processed.dead_letters),
            "fraud_worker.model": f"{model.name} {model.version}",
        }

    def close(self) -> None:
        """Send what is left, for a bounded time."""
        # The exporter repeats requests for longer than a drain may take.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


def open_tracing(group: str) -> Spans | None:
    """Open the traces that the environment asks for; None if it asks for none.

    Args:
        group: Consumer group.

    Raises:
        ConfigurationError: A package is missing, or the protocol is not supported.
    """
    environment = os.environ
    endpoint = next((name for name in _ENDPOINTS if environment.get(name)), None)
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or is_off or environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    for name in _PROTOCOLS:
        if environment.get(name, _SUPPORTED) != _SUPPORTED:
            raise ConfigurationError(
                f"{name} is {environment[name]!r}: traces are sent by {_SUPPORTED} only; set that, "
                f"and the port of OTLP over HTTP (4318) in {endpoint}"
            )
    return Spans(_exporting(endpoint), group)


def _exporting(endpoint: str) -> TracerProvider:
    """Provider that exports to the endpoint of the environment.

    Its packages are imported here: they are an extra, and take a quarter of a second.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"{endpoint} asks for traces, and {error.name} is not installed: install the extra "
            "otel (pip install 'fraud-worker[otel]'), or set OTEL_SDK_DISABLED=true"
        ) from error
    provider = TracerProvider(
        resource=Resource.create(default_resource(os.environ)), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def default_resource(environment: Mapping[str, str]) -> dict[str, str]:
    """Attributes of the resource that the environment does not set; these would override it."""
    of_resource = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    is_named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in of_resource
    return {} if is_named else {"service.name": "fraud-worker"}


def _sampled(records: Records) -> Iterator[Link]:
    """Links to the traces of events whose producers sampled them."""
    from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415  see `_exporting`
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    propagator = TraceContextTextMapPropagator()
    for headers in records.headers or ():
        for name, value in headers or ():
            if name == _HEADER and value and _SAMPLED.fullmatch(value):
                carrier = {_HEADER: value.decode("ascii", "replace")}
                context = get_current_span(propagator.extract(carrier)).get_span_context()
                if context.is_valid and context.trace_flags.sampled:
                    yield Link(context)
