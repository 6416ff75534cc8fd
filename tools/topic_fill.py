"""Fill of histories from the input topic, before any worker starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

from base.errors import DependencyUnavailableError, HistoriesLostError
from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore
from tools.file_fill import NewHistories
from tools.topics.topic_log import ignore_error
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import InputTopic
from worker.fill.source import LogSource
from worker.histories.filling import Restoring
from worker.kafka import make_consumer, make_fill_consumer
from worker.reload import load_rules
from worker.schema_sources import event_decoder
from worker.settings import WorkerSettings


class GroupCheckpoints:
    """Input topic, and the checkpoints of a group that this client is no member of.

    Args:
        starts: Start offsets of the group.
    """

    def __init__(self, starts: StartOffsets) -> None:
        self._starts = starts
        self.bounds = starts.bounds
        self.checkpoints = starts.log_state

    @property
    def topic(self) -> str:
        return self._starts.topic.name

    def at_starts(self) -> LogState:
        """State of the log where workers will begin to read, of all partitions."""
        partitions = range(self._starts.topic.partitions)
        state = self._starts.log_state(partitions)
        # With `latest`, the first worker of a group without checkpoints begins at the ends.
        end = int(self._starts.start_from == "latest" and not state.offsets)
        others = {p: self.bounds(p)[end] for p in partitions if p not in state.offsets}
        return replace(state, offsets={**others, **state.offsets})


def fill_from_topic(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    store: OnlineStore,
    topic: InputTopic,
    advance: Callable[[int, int], None],
) -> Restoring:
    """Fill histories that begin anew up to where workers begin to read.

    The next start of a worker takes them over.

    Args:
        settings: Settings of the worker.
        feature_set: Feature set whose windows read the histories.
        store: Online store that holds the state.
        topic: Input topic, which may have more partitions than the state knows.
        advance: Takes the number of offsets read, and of all.

    Returns:
        The fill that was done.

    Raises:
        ConfigurationError: The state is another worker's.
        DependencyUnavailableError: The store or the registry does not answer, or the store has lost
            members.
        KafkaException: The brokers do not answer.
    """
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    with closing(make_consumer(kafka, ignore_error)) as consumer:
        group = GroupCheckpoints(StartOffsets.of(settings, consumer, topic))
        new = NewHistories(settings, feature_set, store, topic, moves=True)
        decoder = event_decoder(settings, feature_set, load_rules(settings, feature_set))
        make = partial(make_fill_consumer, kafka, ignore_error)
        source = LogSource(group, feature_set, decoder, make, timeout_s)
        fill = Restoring(new.target, source, group.at_starts())
        total = 0
        try:
            for progress in fill.run():
                left = sum(progress.remaining.values())
                total = max(total, left)
                advance(total - left, total)
        except HistoriesLostError:
            raise DependencyUnavailableError(
                "the store has lost members during the fill; fill again"
            ) from None
    new.adopt()
    return fill
