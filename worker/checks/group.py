"""The consumer group: whether this worker may join it, and where it would start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.errors import ConfigurationError
from worker.checks.finding import Finding, failed, many, ok, refused, skipped
from worker.kafka import make_producer, transactional_id
from worker.publish import SizeLimits
from worker.settings import WorkerSettings
from worker.starts import Committed, foreign_ids, other_topic
from worker.topics import InputTopic

GROUP, START, TRANSACTIONS = "consumer group", "start", "transactions"
_ASSIGNOR = "cooperative-sticky"
_SOON = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_REFUSED = (
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_LIMITS = SizeLimits(1_000_000, 1_000_000)
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Group:
    """What the brokers say of the consumer group. rights: None where not told."""

    name: str
    state: str
    members: int
    assignor: str
    rights: frozenset[str] | None


def look_up(admin: AdminClient, settings: WorkerSettings) -> tuple[Group, list[Finding]]:
    """The group, which is there as soon as it is named. Raises KafkaException."""
    name, timeout_s = settings.kafka.group, settings.delivery.broker_timeout_s
    deadline = time.monotonic() + timeout_s
    while True:
        asked = admin.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=timeout_s
        )
        try:
            found = asked[name].result()
        except KafkaException as error:
            # The first request for a group may find its coordinator still being made.
            if error.args[0].code() not in _SOON or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        rights = found.authorized_operations
        group = Group(
            name,
            found.state.name,
            len(found.members),
            found.partition_assignor,
            None if rights is None else frozenset(right.name for right in rights),
        )
        return group, [judge_group(group)]


def judge_group(group: Group) -> Finding:
    """Whether this worker may join."""
    if group.rights is not None and "READ" not in group.rights:
        remedy = "allow Read on the group for the user of this worker"
        return failed(GROUP, f"{group.name}: this user may not join it", remedy)
    if group.members and group.assignor != _ASSIGNOR:
        found = f"{group.name}: {many(group.members, 'member')} assigned by {group.assignor!r}"
        return failed(GROUP, found, f"use another kafka.group; this worker uses {_ASSIGNOR}")
    state = "new" if group.state == "DEAD" else group.state.lower()
    return ok(GROUP, f"{group.name}: {state}, {many(group.members, 'member')}")


def check_start(admin: AdminClient, settings: WorkerSettings, topic: InputTopic) -> list[Finding]:
    """Where each partition would start. Raises KafkaException."""
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    at = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(kafka.group, at)], request_timeout=timeout_s
    )
    checkpoints = {
        answer.partition: Committed.of(answer)
        for answer in asked[kafka.group].result().topic_partitions
    }
    bounds = [
        {
            found.partition: answer.result().offset
            for found, answer in admin.list_offsets(
                dict.fromkeys(at, spec), request_timeout=timeout_s
            ).items()
        }
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    ]
    return judge_start(settings, topic, checkpoints, bounds[0], bounds[1])


def judge_start(
    settings: WorkerSettings,
    topic: InputTopic,
    checkpoints: Mapping[int, Committed],
    first: Mapping[int, int],
    end: Mapping[int, int],
) -> list[Finding]:
    """What checkpoints, by partition, mean against the offsets that the topic holds."""
    kafka = settings.kafka
    foreign = foreign_ids(topic, checkpoints.values())
    if foreign and kafka.accept_topic != topic.topic_id:
        error = ConfigurationError(other_topic(topic, foreign, kafka.accept_topic))
        return refused(START, error)
    # The checkpoints of the topic before an accepted one do not count.
    offsets = {
        p: None if at.note.topic_id in foreign else at.offset for p, at in checkpoints.items()
    }
    known = {p: offset for p, offset in offsets.items() if offset is not None}
    lost = {p: first[p] - offset for p, offset in known.items() if offset < first[p]}
    beyond = [p for p, offset in known.items() if offset > end[p]]
    fresh = [p for p, offset in offsets.items() if offset is None]
    findings = []
    if lost:
        found = f"retention deleted {sum(lost.values())} unread records of {_listed([*lost])}"
        remedy = "lengthen the retention, and reset the group's offsets to accept the loss"
        findings.append(failed(START, found, remedy))
    if beyond:
        found = (
            f"the checkpoints of {_listed(beyond)} are beyond the end: the topic lost records or "
            "was made anew"
        )
        findings.append(failed(START, found, "use another kafka.group"))
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
    return findings or [ok(START, f"{words}; {waiting:,} records are to be read")]


def check_transactions(settings: WorkerSettings, group: Group | None) -> list[Finding]:
    """That this replica's transactional id may be used.

    Taking the id would fence a worker that uses it, so that running workers are left alone.
    Raises KafkaException.
    """
    if settings.delivery.guarantee != "exactly_once":
        return [skipped(TRANSACTIONS, "delivery.guarantee is at_least_once")]
    if group is None:
        return [skipped(TRANSACTIONS, "the group could not be looked at")]
    if group.members:
        return [skipped(TRANSACTIONS, "workers are running in the group and use them")]
    name = transactional_id(settings)
    producer = make_producer(settings.kafka, _LIMITS, **{"transactional.id": name})
    try:
        producer.init_transactions(settings.delivery.broker_timeout_s)
    except KafkaException as error:
        if error.args[0].code() not in _REFUSED:
            raise
        remedy = (
            f"allow Write and Describe on transactional ids that begin with {settings.kafka.group}-"
        )
        return [failed(TRANSACTIONS, f"{name}: {error.args[0].str()}", remedy)]
    return [ok(TRANSACTIONS, f"transactional.id {name}")]


def _listed(partitions: list[int]) -> str:
    shown = ", ".join(map(str, sorted(partitions)[:_LISTED]))
    more = len(partitions) - _LISTED
    return f"partitions {shown}" + (f" and {more} more" if more > 0 else "")
