"""Prometheus histogram that takes a column of values; prometheus_client's takes one a call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from base.arrays import Floats, Longs


class BulkHistogram(Collector):
    """Histogram with a series of buckets for each set of label values.

    Args:
        name: Name of the metric.
        documentation: Description of the metric.
        buckets: Upper bounds of the buckets, inclusive and rising; infinity is added.
        labels: Names of the labels.
        registry: Registry that exposes the metric.

    Attributes:
        labels: Names of the labels.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._family = name, documentation
        self.labels = tuple(labels)
        self._bounds = np.array(buckets, np.float64)
        self._limits = [*map(floatToGoString, buckets), "+Inf"]
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], Longs] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def observe(self, values: Floats, *labels: str) -> None:
        """Count N values, none of them NaN; ``labels`` are the values of the labels."""
        buckets = np.searchsorted(self._bounds, values)
        counts = np.bincount(buckets, minlength=len(self._limits))
        total = float(values.sum())
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + counts
            self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric with its series."""
        family = HistogramMetricFamily(*self._family, labels=self.labels)
        with self._lock:
            for labels, counts in self._counts.items():
                buckets = zip(self._limits, np.cumsum(counts).tolist(), strict=True)
                family.add_metric(labels, [*buckets], self._sums[labels])
        yield family
