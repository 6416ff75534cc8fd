"""The labels topic as the brokers describe it, and the ends of its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import AdminClient, OffsetSpec

from base.arrays import Longs
from base.errors import ConfigurationError, DeliveryFatalError, DependencyUnavailableError
from worker.consume.topics import no_topic

SETTING = "kafka.labels_topic"
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_FRESH_S = 1.0
"""Age of the ends up to which labels have to be applied."""
_APART_S = 0.3
"""Time between two questions for ends."""


class LabelTopic:
    """Labels topic; the admin client may be used by several threads.

    Args:
        admin: Admin client.
        name: Name of the topic.
        timeout_s: Bound on one answer of the brokers, in seconds.

    Attributes:
        name: As above.
        topic_id: Kafka's id of the topic, as of the last `open`.
    """

    def __init__(self, admin: AdminClient, name: str, timeout_s: float) -> None:
        self.name = name
        self.topic_id = ""
        self._admin = admin
        self._timeout_s = timeout_s

    def open(self) -> None:
        """Look up the id of the topic.

        Raises:
            ConfigurationError: The brokers have no such topic.
            DependencyUnavailableError: The brokers do not answer.
        """
        try:
            self.topic_id, _ = self._describe()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise no_topic(SETTING, self.name) from error
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise ConfigurationError(
                    f"{SETTING}: this user may not describe {self.name}; allow Describe on it"
                ) from error
            raise DependencyUnavailableError(
                f"{SETTING}: {self.name} cannot be described: {error}"
            ) from error

    def ends(self) -> Longs:
        """End of each partition behind its committed labels, int64[P].

        Raises:
            KafkaException: The brokers do not answer, or have no such topic.
            DeliveryFatalError: The topic was deleted and created again.
        """
        topic_id, partitions = self._describe()
        if topic_id != self.topic_id:
            raise DeliveryFatalError(
                f"{SETTING}: {self.name} was deleted and created again while this worker ran; start "
                "the worker again: it reads the labels of the new topic from its beginning"
            )
        return self._offsets(range(partitions), _LATEST)

    def bounds(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """First offset and end of some partitions.

        Raises:
            KafkaException: The brokers do not answer.
        """
        asked = list(partitions)
        first = self._offsets(asked, _EARLIEST).tolist()
        ends = self._offsets(asked, _LATEST).tolist()
        return dict(zip(asked, zip(first, ends, strict=True), strict=True))

    def _describe(self) -> tuple[str, int]:
        """Id and number of partitions."""
        asked = self._admin.describe_topics(
            TopicCollection([self.name]), request_timeout=self._timeout_s
        )
        described = asked[self.name].result()
        return str(described.topic_id), len(described.partitions)

    def _offsets(self, partitions: Iterable[int], spec: OffsetSpec) -> Longs:
        asked = {At(self.name, partition): spec for partition in partitions}
        if not asked:
            return np.empty(0, np.int64)
        answers = self._admin.list_offsets(
            asked,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout_s,
        )
        return np.array([answers[at].result().offset for at in asked], np.int64)


class LabelEnds:
    """Ends of the labels topic that were read in the last second.

    The thread that applies labels reads them: the loop waits for no answer. Where labels keep
    coming, those of the answer before the last have been applied meanwhile, so that no event has to
    wait.

    Args:
        ask: Asks for the end of each partition; raises KafkaException.
        clock: Returns monotonic seconds.
    """

    def __init__(self, ask: Callable[[], Longs], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        # Replaced as a whole: another thread reads it.
        self._asked: tuple[tuple[float, Longs], ...] = ()

    def refresh(self) -> None:
        """Ask for the ends, unless they have just been read.

        Raises:
            DependencyUnavailableError: The brokers do not answer.
            DeliveryFatalError: The topic was deleted and created again.
        """
        now = self._clock()
        if self._asked and now - self._asked[-1][0] < _APART_S:
            return
        try:
            ends = self._ask()
        except KafkaException as error:
            raise DependencyUnavailableError(f"{SETTING}: its ends are unknown: {error}") from error
        self._asked = (*(one for one in self._asked if now - one[0] <= _FRESH_S), (now, ends))

    def are_reached(self, reached: Longs) -> bool:
        """True if labels are applied to all ends as they were at most a second ago.

        Args:
            reached: int64[Q], one more than the offset behind the last applied label of each
                partition; 0 where nothing is known.
        """
        now = self._clock()
        return any(now - at <= _FRESH_S and _is_behind(ends, reached) for at, ends in self._asked)


def _is_behind(ends: Longs, reached: Longs) -> bool:
    return len(ends) <= len(reached) and bool((reached[: len(ends)] > ends).all())
