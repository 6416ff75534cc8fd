"""Random settings of a round's topics and worker."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.healthy import edit
from tests.support.hostile_bodies import Sizes
from tests.support.hostile_records import COPIED_HEADER
from tests.support.payments import write_pipeline
from tests.support.rig import SESSION_TIMEOUT_S
from tests.support.windowed import windowed_pipeline
from tools.embedded.topic_admin import create_topics

_DEFAULT_BYTES = 1_048_588
_LARGEST_BYTES = 3_000_000
_OUTPUT_BYTES = (2_000, 3_000, 20_000, 100_000, _DEFAULT_BYTES, _LARGEST_BYTES)
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_FOR_EVER_MS = 2**63 - 1

TopicSettings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of one round.

    Attributes:
        partitions: Number of partitions of the input topic.
        topics: Settings of the topics, by their names in worker.yaml without ``_topic``.
        exactly_once: True for exactly-once delivery; otherwise duplicates are allowed.
        windows: True if the feature set has windows, so that events have histories.
        decoded: Maximum value that the worker decodes, in bytes.
        worker: Sections of worker.yaml.
    """

    partitions: int
    topics: dict[str, TopicSettings]
    exactly_once: bool
    windows: bool
    decoded: int
    worker: dict[str, dict[str, Any]]

    def sizes(self) -> Sizes:
        """Sizes that records are drawn near."""
        largest = {name: int(own["max.message.bytes"]) for name, own in self.topics.items()}
        return Sizes(largest["input"], largest["output"], largest["dead_letter"], self.decoded)

    def summary(self) -> str:
        """One line about the settings."""
        words = [f"{self.partitions} partitions"]
        words += ["exactly once" if self.exactly_once else "at least once"]
        words += ["windows"] * self.windows
        for name, own in self.topics.items():
            words.append(f"{name}: {', '.join(f'{key}={own[key]}' for key in own)}")
        words += [f"{section}: {own}" for section, own in self.worker.items()]
        return "; ".join(words)


def draw_limits(draw: random.Random) -> Limits:
    """Draw settings with which each record can be answered.

    A dead-letter topic that refuses dead letters is left out, because the worker has to stop then.
    A compacted topic, for example, refuses dead letters without a key.
    """
    exactly_once, decoded = draw.random() < 0.75, draw.choice((1_000, 20_000, 1_000_000, 5_000_000))
    worker: dict[str, dict[str, Any]] = {
        "delivery": {
            "guarantee": "exactly_once" if exactly_once else "at_least_once",
            "max_batch_events": draw.choice((10, 40, 4_000)),
        },
        "output": {
            "carry": ["note"],
            "vector": draw.choice(("all", "off")),
            "headers": [COPIED_HEADER] * (draw.random() < 0.4),
        },
        "wire": {"max_record_bytes": decoded},
    }
    topics = {
        "input": _input(draw),
        "output": _output(draw, exactly_once=exactly_once),
        "dead_letter": _dead_letters(draw),
    }
    windows = draw.random() < 0.5
    return Limits(draw.randint(1, 4), topics, exactly_once, windows, decoded, worker)


def make_topics(bootstrap: str, name: str, limits: Limits) -> dict[str, str]:
    """Create the topics; return their names, by the settings in worker.yaml without ``_topic``."""
    sizes = {"input": limits.partitions, "output": limits.partitions + 1, "dead_letter": 1}
    names = {role: f"{name}.{role}" for role in sizes}
    for role, partitions in sizes.items():
        create_topics(bootstrap, {names[role]: partitions}, limits.topics[role])
    return names


def make_folder(
    folder: Path, servers: tuple[str, str], topics: dict[str, str], limits: Limits
) -> None:
    """Write the pipeline folder.

    Args:
        folder: Folder to create; its name is the name of the group.
        servers: Bootstrap address of Kafka, URL of the store.
        topics: Names of the topics.
        limits: Settings of the round.
    """
    kafka: dict[str, Any] = {
        "bootstrap_servers": servers[0],
        "group": folder.name,
        **{f"{role}_topic": topic for role, topic in topics.items()},
        # A killed worker stays a member, and its transaction stays open, for this time.
        "consumer": {
            "session.timeout.ms": int(SESSION_TIMEOUT_S * 1000),
            "heartbeat.interval.ms": 1_500,
        },
        "producer": {"transaction.timeout.ms": 5_000},
    }
    if limits.windows:
        windowed_pipeline(folder, **kafka)
    else:
        write_pipeline(folder, kafka)

    def change(values: dict[str, Any]) -> None:
        for section, own in limits.worker.items():
            values[section] = {**values.get(section, {}), **own}
        values["model"]["threads"] = 1
        values["logs"] = {"format": "json"}
        if limits.windows:
            values["store"] = {"url": servers[1]}

    edit(folder / "worker.yaml", change)


def _input(draw: random.Random) -> TopicSettings:
    settings = {"max.message.bytes": str(draw.choice((_DEFAULT_BYTES, _LARGEST_BYTES)))}
    if draw.random() < 0.8:
        settings["message.timestamp.after.max.ms"] = str(_FOR_EVER_MS)
    return settings | _append_time(draw, 0.15)


def _output(draw: random.Random, *, exactly_once: bool) -> TopicSettings:
    settings = {"max.message.bytes": str(draw.choice(_OUTPUT_BYTES))}
    if draw.random() < 0.3:
        settings["cleanup.policy"] = "compact"
    if draw.random() < 0.4:
        # A score sometimes reaches the broker within a millisecond of its time. With exactly-once
        # delivery a transaction marker may be late too, and Kafka 4.3 then never ends the
        # transaction (decision 16), so the bound is longer.
        bound = draw.choice((_MINUTE_MS if exactly_once else 1, _MINUTE_MS, _HOUR_MS))
        settings["message.timestamp.before.max.ms"] = str(bound)
    if draw.random() < 0.3:
        settings["message.timestamp.after.max.ms"] = str(draw.choice((1_000, _MINUTE_MS)))
    return settings | _append_time(draw, 0.2)


def _dead_letters(draw: random.Random) -> TopicSettings:
    settings = {"max.message.bytes": str(draw.choice(_OUTPUT_BYTES))}
    if draw.random() < 0.5:
        bound = draw.choice((_MINUTE_MS, _HOUR_MS))
        settings["message.timestamp.before.max.ms"] = str(bound)
    if draw.random() < 0.3:
        settings["message.timestamp.after.max.ms"] = str(draw.choice((1_000, _MINUTE_MS)))
    return settings | _append_time(draw, 0.2)


def _append_time(draw: random.Random, share: float) -> TopicSettings:
    return {"message.timestamp.type": "LogAppendTime"} if draw.random() < share else {}
