"""Checks of the brokers: they answer, their version is supported, and the time bounds fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tools.checks.finding import Finding, failed, ok, pluralize, warning
from worker.kafka import TRANSACTION_TIMEOUT_MS
from worker.settings import WorkerSettings

BROKERS, BOUNDS = "brokers", "time bounds"
# Defaults where worker.yaml sets none: the worker's own, and librdkafka's.
DEFAULTS_MS = {
    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    "session.timeout.ms": 45_000,
    "max.poll.interval.ms": 300_000,
}
# Offsets in transactions fenced by the group's generation: KIP-447.
_OLDEST = (2, 5)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Description of a Kafka cluster, as its brokers report it.

    Attributes:
        cluster_id: Id of the cluster.
        brokers: Number of brokers.
        settings: Settings of one broker; empty if they may not be read.
    """

    cluster_id: str
    brokers: int
    settings: Mapping[str, str]


def reach(
    admin: AdminClient, settings: WorkerSettings, lines: list[str]
) -> tuple[Cluster | None, list[Finding]]:
    """Describe the cluster; None if no broker answers within the broker timeout."""
    timeout_s = settings.delivery.broker_timeout_s
    try:
        described = admin.describe_cluster(request_timeout=timeout_s).result()
    except KafkaException as error:
        admin.poll(0)
        why = lines[-1] if lines else error.args[0].str()
        at = settings.kafka.bootstrap_servers
        remedy = "check kafka.bootstrap_servers, and security.protocol and sasl.… in kafka.options"
        return None, [failed(BROKERS, f"{at}: no answer within {timeout_s:g} s: {why}", remedy)]
    node = described.nodes[0].id_string
    cluster = Cluster(
        str(described.cluster_id), len(described.nodes), _broker_settings(admin, node, timeout_s)
    )
    return cluster, [judge_cluster(cluster)]


def _broker_settings(admin: AdminClient, node: str, timeout_s: float) -> dict[str, str]:
    resource = ConfigResource(ResourceType.BROKER, node)
    try:
        entries = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result()
    except KafkaException:
        # It needs a right that the worker itself does not need.
        return {}
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def judge_cluster(cluster: Cluster) -> Finding:
    """Check that the brokers are new enough."""
    version = "of an unknown version"
    if cluster.settings:
        # Brokers of version 4 and later have no such setting.
        protocol = cluster.settings.get("inter.broker.protocol.version", "")
        numbers = tuple(int(n) for n in re.findall(r"\d+", protocol)[:2])
        version = f"of version {numbers[0]}.{numbers[1]}" if numbers else "of version 4 or later"
        if numbers and numbers < _OLDEST:
            found = f"the brokers are {version}"
            return failed(
                BROKERS, found, "upgrade them: exactly-once delivery needs Kafka 2.5 or later"
            )
    return ok(
        BROKERS, f"{pluralize(cluster.brokers, 'broker')} {version}, cluster {cluster.cluster_id}"
    )


def check_bounds(settings: WorkerSettings, cluster: Cluster | None) -> list[Finding]:
    """Check that each time bound leaves room for the shorter ones within it."""
    bounds = {name: option_ms(settings, name) for name in DEFAULTS_MS}
    findings = [*_settled(settings, bounds)]
    limits = cluster.settings if cluster else {}
    for name, limit, wrong in (
        ("transaction.timeout.ms", "transaction.max.timeout.ms", int.__gt__),
        ("session.timeout.ms", "group.max.session.timeout.ms", int.__gt__),
        ("session.timeout.ms", "group.min.session.timeout.ms", int.__lt__),
    ):
        if limit in limits and wrong(bounds[name], int(limits[limit])):
            found = f"{name} is {bounds[name]}, the brokers' {limit} {limits[limit]}"
            findings.append(failed(BOUNDS, found, f"set {name} within the brokers' limit"))
    bounds_text = ", ".join(f"{name} {value}" for name, value in bounds.items())
    return findings or [ok(BOUNDS, bounds_text)]


def _settled(settings: WorkerSettings, bounds: Mapping[str, int]) -> Iterator[Finding]:
    delivery = settings.delivery
    budget_ms = 1000 * delivery.latency_budget_s
    transaction_ms, poll_ms = bounds["transaction.timeout.ms"], bounds["max.poll.interval.ms"]
    if delivery.guarantee == "exactly_once" and transaction_ms <= budget_ms:
        yield failed(
            BOUNDS,
            f"transaction.timeout.ms is {transaction_ms}, delivery.latency_budget_s "
            f"{delivery.latency_budget_s:g}: transactions would be aborted before their commit",
            "raise transaction.timeout.ms in kafka.producer, or lower the budget",
        )
    elif delivery.guarantee == "exactly_once" and transaction_ms < 4 * budget_ms:
        yield warning(
            BOUNDS,
            f"transaction.timeout.ms is {transaction_ms}, less than four times "
            f"delivery.latency_budget_s ({delivery.latency_budget_s:g})",
            "raise transaction.timeout.ms or lower the budget, to leave time for a slow broker",
        )
    if 1000 * delivery.watchdog_s >= poll_ms:
        yield warning(
            BOUNDS,
            f"delivery.watchdog_s is {delivery.watchdog_s:g}, max.poll.interval.ms {poll_ms}: "
            "the group would drop a stuck worker before the watchdog ends it",
            "lower watchdog_s, or raise max.poll.interval.ms in kafka.consumer",
        )


def option_ms(settings: WorkerSettings, name: str) -> int:
    """Value of a librdkafka option in milliseconds, as the clients get it."""
    kafka = settings.kafka
    own = kafka.producer if name.startswith("transaction.") else kafka.consumer
    return int({**DEFAULTS_MS, **kafka.options, **own}[name])
