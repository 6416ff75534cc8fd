"""Checks of the topics: they exist, may be used, and fit each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from features.definition import FeatureSet
from tools.checks.finding import Finding, failed, ok, pluralize, skipped, warning
from worker.consume.topics import InputTopic, retention_of
from worker.kafka import topic_settings, whole_number
from worker.settings import KafkaSettings, WorkerSettings
from worker.stages.dead_letter import LARGEST_OVERSIZE_BYTES

ROLES = INPUT, OUTPUT, DEAD_LETTERS = "input topic", "output topic", "dead-letter topic"
LABELS = "labels topic"
TOPICS, REPLICATION = "topics", "replication"
# Labels are written by other programs, or by `labels send` with a user of its own.
_READ = (INPUT, LABELS)
_SHORT_RETENTION_MS = 24 * 3_600_000
# librdkafka's default, and the bytes of a response that are not records.
_RECEIVE_BYTES = 100_000_000
_ANSWER_BYTES = 512
_CLOCKS_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class Topic:
    """Description of a topic, as the brokers report it.

    Attributes:
        name: Name of the topic.
        topic_id: Id of the topic.
        partitions: Number of partitions.
        replicas: Smallest number of replicas of a partition.
        rights: Names of the operations that this user may do; None if not reported.
        settings: Settings of the topic; empty if they may not be read.
    """

    name: str
    topic_id: str
    partitions: int
    replicas: int
    rights: frozenset[str] | None
    settings: Mapping[str, str]

    def number(self, setting: str) -> int | None:
        """A setting as a whole number; None if it could not be read."""
        return whole_number(self.settings.get(setting))

    def as_input(self) -> InputTopic:
        """Description of this topic as the input topic."""
        return InputTopic(self.name, self.topic_id, self.partitions, retention_of(self.settings))

    @property
    def is_compacted(self) -> bool:
        """True for a topic that keeps the last record of each key, and accepts none without."""
        return "compact" in self.settings.get("cleanup.policy", "")


def checks(settings: WorkerSettings | None) -> tuple[str, ...]:
    """The checks of single topics, under these settings; None if they are invalid."""
    if settings is None or settings.kafka.labels_topic is None:
        return ROLES
    return (*ROLES, LABELS)


def look_up(admin: AdminClient, settings: WorkerSettings) -> tuple[dict[str, Topic], list[Finding]]:
    """Describe the topics, by check; return a failed finding for each missing one."""
    timeout_s = settings.delivery.broker_timeout_s
    kafka = settings.kafka
    names = {
        INPUT: kafka.input_topic,
        OUTPUT: kafka.output_topic,
        DEAD_LETTERS: kafka.dead_letter_topic,
    }
    if kafka.labels_topic is not None:
        names[LABELS] = kafka.labels_topic
    answers = admin.describe_topics(
        TopicCollection([*names.values()]),
        include_authorized_operations=True,
        request_timeout=timeout_s,
    )
    topics, findings = dict[str, Topic](), list[Finding]()
    for check, name in names.items():
        try:
            described = answers[name].result()
        except KafkaException as error:
            findings.append(_absent(check, name, error.args[0]))
            continue
        rights = described.authorized_operations
        topics[check] = Topic(
            name,
            str(described.topic_id),
            len(described.partitions),
            min(len(partition.replicas) for partition in described.partitions),
            None if rights is None else frozenset(right.name for right in rights),
            topic_settings(admin, name, timeout_s),
        )
    return topics, findings


def _absent(check: str, name: str, error: KafkaError) -> Finding:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        remedy = f"create it: kafka-topics.sh --create --topic {name} --partitions N"
        return failed(check, f"{name} does not exist, or this user may not describe it", remedy)
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return failed(check, f"{name}: this user may not describe it", "allow Describe on it")
    return failed(check, f"{name}: {error.str()}", "see that the brokers are up")


def judge_topics(topics: Mapping[str, Topic], brokers: int) -> list[Finding]:
    """Check that the existing topics suit the worker."""
    findings = []
    for check, topic in topics.items():
        found = [*_rights(check, topic)]
        if check == INPUT:
            found += _input(topic)
        elif check == LABELS:
            found += _labels(topic)
        else:
            found += _written(check, topic, topics.get(INPUT))
        findings += found or [ok(check, _in_words(check, topic))]
    return [*findings, *_replication(topics.values(), brokers)]


def _in_words(check: str, topic: Topic) -> str:
    words = [f"{topic.name}: {pluralize(topic.partitions, 'partition')}"]
    retention_ms = topic.number("retention.ms")
    if retention_ms is not None:
        kept = "kept for ever" if retention_ms < 0 else f"kept for {days(retention_ms)}"
        words.append(kept)
    size = topic.number("max.message.bytes")
    if size is not None:
        words.append(f"records up to {size:,} bytes")
    if topic.rights is not None:
        words.append("readable" if check in _READ else "writable")
    return ", ".join(words)


def days(milliseconds: int) -> str:
    """Duration as text: ``36 h``, ``7 days``."""
    hours = milliseconds / 3_600_000
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"


def _rights(check: str, topic: Topic) -> Iterator[Finding]:
    needed = "READ" if check in _READ else "WRITE"
    if topic.rights is not None and needed not in topic.rights:
        remedy = f"allow {needed.title()} on it for the user of this worker"
        yield failed(check, f"{topic.name}: this user may not {needed.lower()} it", remedy)


def _input(topic: Topic) -> Iterator[Finding]:
    if topic.is_compacted:
        found = f"{topic.name}: cleanup.policy is {topic.settings['cleanup.policy']}"
        remedy = "set it to delete: compaction removes events that were not scored yet"
        yield warning(INPUT, found, remedy)
    retention_ms = topic.number("retention.ms")
    if retention_ms is not None and 0 <= retention_ms < _SHORT_RETENTION_MS:
        found = f"{topic.name}: events are kept for {days(retention_ms)} only"
        remedy = "raise retention.ms: a worker that is down for longer loses events"
        yield warning(INPUT, found, remedy)


def _labels(topic: Topic) -> Iterator[Finding]:
    """Warn where an event would find no longer what was known of others at its time."""
    if topic.is_compacted:
        found = f"{topic.name}: cleanup.policy is {topic.settings['cleanup.policy']}"
        remedy = (
            "set it to delete: compaction keeps only the last label that was sent for each event, so "
            "histories and training tables made from it lack what was known before a correction, "
            "and an older label that is sent again replaces the correction"
        )
        yield warning(LABELS, found, remedy)


def judge_labels_kept(feature_set: FeatureSet, topic: Topic) -> Iterator[Finding]:
    """Compare the retention of the labels topic with the events whose labels windows count."""
    retention_ms = retention_of(topic.settings)
    reaches = [plan.reach for plan in feature_set.histories.entities if plan.labelled]
    if retention_ms is None or not reaches:
        return
    needed_ms = (max(reaches) + feature_set.histories.rules.allowed_lateness) // 1000
    if retention_ms < needed_ms:
        found = (
            f"{topic.name}: labels are kept for {days(retention_ms)}, and windows count those of "
            f"events of the last {days(needed_ms)}"
        )
        remedy = (
            f"raise retention.ms to at least {needed_ms}: when the store has lost labels, the worker "
            "reads them from the topic again"
        )
        yield warning(LABELS, found, remedy)


def judge_size(kafka: KafkaSettings, topic: Topic) -> Iterator[Finding]:
    """Compare the input topic's largest record with what the consumer can receive."""
    option = "receive.message.max.bytes"
    options = {option: _RECEIVE_BYTES, **kafka.options, **kafka.consumer}
    receives, largest = whole_number(options[option]), topic.number("max.message.bytes")
    if receives is None or largest is None or largest + _ANSWER_BYTES <= receives:
        return
    found = (
        f"{topic.name} accepts records of up to {largest:,} bytes, but the consumer's {option} is "
        f"{receives:,}: a larger record would block its partition"
    )
    remedy = f"lower the topic's max.message.bytes, or raise {option} in kafka.consumer"
    yield warning(INPUT, found, remedy)


def _written(check: str, topic: Topic, source: Topic | None) -> Iterator[Finding]:
    yield from _compacted(check, topic)
    yield from _timestamps(check, topic)
    if source is None:
        return
    if check == OUTPUT and topic.partitions != source.partitions:
        found = (
            f"{topic.name} has {topic.partitions} partitions, {source.name} {source.partitions}: "
            "an event and its score are in partitions with different numbers"
        )
        remedy = "give both the same number; order and joins by partition depend on it"
        yield warning(check, found, remedy)
    own, largest = topic.number("max.message.bytes"), source.number("max.message.bytes")
    if check != DEAD_LETTERS or own is None or largest is None:
        return
    if own < LARGEST_OVERSIZE_BYTES:
        found = f"{topic.name} accepts records of up to {own:,} bytes only"
        remedy = (
            f"raise its max.message.bytes to at least {LARGEST_OVERSIZE_BYTES:,}: a dead letter "
            "needs that even without its record, and one that does not fit stops the worker"
        )
        yield failed(check, found, remedy)
    elif own < largest:
        found = f"{topic.name} accepts records of up to {own:,} bytes, {source.name} of {largest:,}"
        remedy = "raise its max.message.bytes: a larger record is kept as hash and size only"
        yield warning(check, found, remedy)


def _compacted(check: str, topic: Topic) -> Iterator[Finding]:
    if not topic.is_compacted:
        return
    found = f"{topic.name}: cleanup.policy is {topic.settings['cleanup.policy']}"
    remedy = "set it to delete: "
    if check == DEAD_LETTERS:
        remedy += "it refuses records without a key, and such a dead letter stops the worker"
        yield failed(check, found, remedy)
    else:
        remedy += "it keeps only the last score of each key, and refuses scores without a key"
        yield warning(check, found, remedy)


def judge_keys_of_scores(topic: Topic | None, keys: Sequence[bytes | None]) -> list[Finding]:
    """Fail a compacted output topic where input records have no key."""
    without = sum(key is None for key in keys)
    if topic is None or not topic.is_compacted or not without:
        return []
    found = (
        f"{topic.name}: cleanup.policy is {topic.settings['cleanup.policy']}, and {without} of the "
        f"last {len(keys)} input records have no key"
    )
    remedy = "set it to delete, or give input records keys: a score without one is a dead letter"
    return [failed(OUTPUT, found, remedy)]


def _timestamps(check: str, topic: Topic) -> Iterator[Finding]:
    """Warn where a small clock difference, or a short wait, makes the topic refuse a record."""
    if topic.settings.get("message.timestamp.type") == "LogAppendTime":
        return
    for side in ("before", "after"):
        name = f"message.timestamp.{side}.max.ms"
        bound_ms = topic.number(name)
        if bound_ms is not None and bound_ms < _CLOCKS_MS:
            found = f"{topic.name}: {name} is {bound_ms:,}"
            remedy = (
                f"raise it to at least {_CLOCKS_MS:,}: records have the time of the worker's clock, "
                "and the topic refuses those beyond the limit; a transaction whose end it refuses "
                "stays open for ever (Kafka 4.3)"
            )
            yield warning(check, found, remedy)


def _replication(topics: Collection[Topic], brokers: int) -> list[Finding]:
    """Warn where the loss of one broker would lose records or stop writes."""
    if not topics:
        return [skipped(REPLICATION, "no topic could be described")]
    if brokers == 1:
        return [ok(REPLICATION, "one broker: every record has one copy")]
    findings = []
    for topic in topics:
        in_sync = topic.number("min.insync.replicas")
        found = f"{topic.name} has {topic.replicas} replicas, min.insync.replicas {in_sync}"
        if topic.replicas == 1:
            remedy = "reassign its partitions to three brokers: the loss of a broker loses records"
            findings.append(warning(REPLICATION, f"{topic.name} has one replica", remedy))
        elif in_sync == 1:
            remedy = "set it to 2: records that only one broker holds may be lost with it"
            findings.append(warning(REPLICATION, found, remedy))
        elif in_sync is not None and in_sync >= topic.replicas:
            remedy = "add replicas, or lower it: otherwise one broker that is down stops all writes"
            findings.append(warning(REPLICATION, found, remedy))
    names = ", ".join(f"{topic.name} {topic.replicas}" for topic in topics)
    return findings or [ok(REPLICATION, f"replicas: {names}")]
