"""Events without end: a topic that stays ahead of the worker, and does not fill the disk."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks import population
from benchmarks.play import CHUNK, Messages, play
from benchmarks.programs import Run
from benchmarks.testbed import Testbed, encoder, event_keys
from tools.embedded.topic_admin import create_topics

AHEAD = 500_000
"""Number of events that are kept between the worker and the end of its topic."""
DISTINCT = 500_000
"""Number of distinct events, which are played again and again."""
_LOOK_S = 0.02
# For each partition, far above AHEAD. The broker looks every five minutes.
_RETENTION = {"retention.bytes": "500000000", "segment.bytes": "100000000"}


class Load:
    """Number of played events, and the lowest number that was ahead of the worker.

    Args:
        committed: Returns the number of events that the worker has committed.
    """

    def __init__(self, committed: Callable[[], int]) -> None:
        self._committed = committed
        self._stop = threading.Event()
        self.played = 0

    def stop(self) -> None:
        self._stop.set()

    def chunks(self, distinct: Sequence[Messages]) -> Iterator[Messages]:
        """Repeat the chunks until `stop`; each waits until fewer than AHEAD events are ahead."""
        for chunk in itertools.cycle(distinct):
            while self.played - self._committed() > AHEAD:
                if self._stop.wait(_LOOK_S):
                    return
            if self._stop.is_set():
                return
            yield chunk
            self.played += len(chunk[0])


@contextmanager
def endless(testbed: Testbed, run: Run, committed: Callable[[], int]) -> Iterator[Load]:
    """Create the topics of a run, and play events while the block runs."""
    bootstrap = testbed.kafka.bootstrap
    topics = dict.fromkeys((run.input_topic, run.output_topic), testbed.partitions)
    create_topics(bootstrap, topics, _RETENTION)
    load, distinct = Load(committed), []
    encode = encoder(testbed.feature_set)
    for first in range(0, DISTINCT, CHUNK):
        columns = population.payments(first, CHUNK)
        distinct.append((encode.encode(CHUNK, columns), event_keys(columns)))
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play, bootstrap, run.input_topic, load.chunks(distinct))
        try:
            yield load
        finally:
            load.stop()
        playing.result()
