"""Checks of the consumer group: the right to join it, and the offsets to start from."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from base.errors import ConfigurationError
from tools.checks.finding import Finding, failed, ok, pluralize, refused, skipped, warning
from tools.checks.topics import days
from tools.topics.topic_log import once_coordinated
from worker.consume.start_offsets import Committed, StartOffsets, foreign_ids, other_topic
from worker.consume.topics import InputTopic, retention_of
from worker.delivery.producers_in_turn import PRODUCERS
from worker.delivery.publish import SizeLimits
from worker.kafka import make_consumer, make_producer, whole_number
from worker.process.replica import transactional_id, transactional_prefix
from worker.settings import WorkerSettings

T = TypeVar("T")

GROUP, START, EXPIRY = "consumer group", "start", "offset expiry"
TRANSACTIONS = "transactions"
_ASSIGNOR = "cooperative-sticky"
_REFUSED = (
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_LIMITS = SizeLimits(1_000_000, 1_000_000)
_LISTED = 5
# The largest value of offsets.retention.minutes: four thousand years.
_FOR_EVER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class GroupState:
    """Description of a consumer group, as the brokers report it.

    Attributes:
        name: Name of the group.
        state: Name of its state.
        members: Number of its members.
        assignor: Name of its partition assignor.
        rights: Operations that this user may do on it; None if the brokers do not report them.
    """

    name: str
    state: str
    members: int
    assignor: str
    rights: frozenset[str] | None


def check_group(admin: AdminClient, settings: WorkerSettings, name: str) -> list[Finding]:
    """Check a group, which exists as soon as it is named. Raises KafkaException."""
    timeout_s = settings.delivery.broker_timeout_s

    def describe() -> Any:
        asked = admin.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=timeout_s
        )
        return asked[name].result()

    described = once_coordinated(describe, timeout_s)
    rights = described.authorized_operations
    group = GroupState(
        name,
        described.state.name,
        len(described.members),
        described.partition_assignor,
        None if rights is None else frozenset(right.name for right in rights),
    )
    return [judge_group(group)]


def judge_group(group: GroupState) -> Finding:
    """Check that this worker may join the group."""
    if group.rights is not None and "READ" not in group.rights:
        remedy = "allow Read on the group for the user of this worker"
        return failed(GROUP, f"{group.name}: this user may not join it", remedy)
    if group.members and group.assignor != _ASSIGNOR:
        found = f"{group.name}: {pluralize(group.members, 'member')} assigned by {group.assignor!r}"
        return failed(GROUP, found, f"name another kafka.group; this worker uses {_ASSIGNOR}")
    state = "new" if group.state == "DEAD" else group.state.lower()
    return ok(GROUP, f"{group.name}: {state}, {pluralize(group.members, 'member')}")


def check_start(admin: AdminClient, settings: WorkerSettings, topic: InputTopic) -> list[Finding]:
    """Check the offsets from which each partition would start. Raises KafkaException."""
    timeout_s = settings.delivery.broker_timeout_s
    at = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
    checkpoints = read_checkpoints(settings, topic)
    bounds = [
        {
            at.partition: answer.result().offset
            for at, answer in admin.list_offsets(
                dict.fromkeys(at, spec), request_timeout=timeout_s
            ).items()
        }
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    ]
    return judge_start(settings, topic, checkpoints, bounds[0], bounds[1])


def read_checkpoints(settings: WorkerSettings, topic: InputTopic) -> dict[int, Committed]:
    """Read the group's checkpoint of each partition. Raises KafkaException."""
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    # Not by the admin client: librdkafka 2.16 crashes the process where the group's coordinator
    # answers that it is being made or has moved (rd_kafka_handle_OffsetFetch, without a group).
    with closing(make_consumer(kafka, lambda _: None)) as consumer:
        starts = StartOffsets(consumer, topic, kafka.start_from, kafka.accept_topic, timeout_s)
        return once_coordinated(lambda: starts.committed(range(topic.partitions)), timeout_s)


def judge_start(
    settings: WorkerSettings,
    topic: InputTopic,
    checkpoints: Mapping[int, Committed],
    first: Mapping[int, int],
    end: Mapping[int, int],
) -> list[Finding]:
    """Compare the group's checkpoints with the offsets that the topic holds.

    Args:
        settings: The settings of the worker.
        topic: The input topic.
        checkpoints: The group's checkpoint of each partition.
        first: The first offset of each partition.
        end: The end offset of each partition.
    """
    kafka = settings.kafka
    foreign = foreign_ids(topic, checkpoints.values())
    if foreign and kafka.accept_topic != topic.topic_id:
        error = ConfigurationError(other_topic(topic, foreign, kafka.accept_topic))
        return refused(START, error)
    # The checkpoints of the topic before an accepted one do not count.
    offsets = {
        p: None if at.metadata.topic_id in foreign else at.offset for p, at in checkpoints.items()
    }
    known = {p: offset for p, offset in offsets.items() if offset is not None}
    lost = {p: first[p] - offset for p, offset in known.items() if offset < first[p]}
    beyond = [p for p, offset in known.items() if offset > end[p]]
    fresh = [p for p, offset in offsets.items() if offset is None]
    findings = []
    if lost:
        found = f"retention has deleted {sum(lost.values())} unread records of {_listed([*lost])}"
        remedy = "raise the retention; to accept the loss, reset the group's offsets"
        findings.append(failed(START, found, remedy))
    if beyond:
        found = (
            f"the checkpoints of {_listed(beyond)} are beyond the end: the topic lost records or "
            "was made anew"
        )
        findings.append(failed(START, found, "name another kafka.group"))
    if fresh and kafka.start_from == "error" and not foreign:
        found = f"{_listed(fresh)} have no checkpoint, and kafka.start_from is error"
        remedy = "set kafka.start_from to earliest or latest, or commit offsets for the group"
        findings.append(failed(START, found, remedy))
    at_the_ends = kafka.start_from == "latest" and not known and not foreign
    waiting = sum(end[p] - offset for p, offset in known.items())
    if not at_the_ends:
        waiting += sum(end[p] - first[p] for p in fresh)
    words = f"{len(fresh)} of {len(checkpoints)} partitions have no checkpoint"
    if fresh:
        words += f" and start at the {'latest' if at_the_ends else 'earliest'}"
    return findings or [ok(START, f"{words}; {waiting:,} records are unread")]


def judge_expiry(
    settings: WorkerSettings, brokers: Mapping[str, str], topic: Mapping[str, str]
) -> Finding:
    """Compare how long the brokers keep a group's offsets with how long the input keeps records.

    Args:
        settings: The settings of the worker.
        brokers: The settings of a broker; empty if they may not be read.
        topic: The settings of the input topic; empty if they may not be read.
    """
    start_from = settings.kafka.start_from
    minutes = whole_number(brokers.get("offsets.retention.minutes"))
    if start_from == "error":
        return ok(EXPIRY, "kafka.start_from is error: without offsets the worker does not start")
    if minutes is None or not topic:
        whose = "the brokers' offsets.retention.minutes" if topic else "the input topic's retention"
        return skipped(EXPIRY, f"{whose} cannot be read: grant DescribeConfigs")
    compacted = topic.get("cleanup.policy") == "compact"
    records_ms = None if compacted else retention_of(topic)
    if minutes >= _FOR_EVER:
        return ok(EXPIRY, "offsets do not expire")
    offsets_ms = 60_000 * minutes
    kept = "for ever" if records_ms is None else days(records_ms)
    found = f"offsets expire {days(offsets_ms)} after the group was left; records are kept {kept}"
    if records_ms is not None and offsets_ms >= records_ms:
        return ok(EXPIRY, found)
    then = {
        "earliest": "then all records that are still there are scored again",
        "latest": "then all records that were not scored yet are skipped",
    }[start_from]
    least = f"to {_FOR_EVER} (for ever)" if records_ms is None else "above the retention"
    remedy = (
        f"raise the brokers' offsets.retention.minutes {least}, or set kafka.start_from to error "
        "once the group has offsets"
    )
    return warning(EXPIRY, f"{found}: {then} (kafka.start_from: {start_from})", remedy)


def check_transactions(settings: WorkerSettings) -> list[Finding]:
    """Check that this user may use each transactional id. Raises KafkaException."""
    if settings.delivery.guarantee != "exactly_once":
        return [skipped(TRANSACTIONS, "delivery.guarantee is at_least_once")]
    group, replica = settings.kafka.group, settings.replica or socket.gethostname()
    prefix = transactional_prefix(group)
    # The ids of a worker would fence it, even one that has not joined the group yet.
    names = [transactional_id(group, replica, number, check=True) for number in range(PRODUCERS)]
    producers = [
        make_producer(settings.kafka, _LIMITS, **{"transactional.id": name}) for name in names
    ]
    for name, producer in zip(names, producers, strict=True):
        try:
            producer.init_transactions(settings.delivery.broker_timeout_s)
        except KafkaException as error:
            if error.args[0].code() not in _REFUSED:
                raise
            remedy = f"allow Write and Describe on transactional ids that begin with {prefix}"
            return [failed(TRANSACTIONS, f"{name}: {error.args[0].str()}", remedy)]
    return [ok(TRANSACTIONS, f"allowed for ids that begin with {prefix}")]


def _listed(partitions: list[int]) -> str:
    shown = ", ".join(map(str, sorted(partitions)[:_LISTED]))
    more = len(partitions) - _LISTED
    return f"partitions {shown}" + (f" and {more} more" if more > 0 else "")
