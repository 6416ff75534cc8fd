"""Settings of the worker's connections: Kafka, a schema registry, the online store."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from worker.settings.access import require_credentials
from worker.settings.options import (
    OWNED_CONSUMER_OPTIONS,
    OWNED_PRODUCER_OPTIONS,
    File,
    Options,
    Section,
    Servers,
    Text,
    Topic,
    Url,
)
from worker.settings.secrets import mask


class KafkaSettings(Section):
    """Brokers, topics and the consumer group."""

    bootstrap_servers: Servers = Field(
        description="Brokers, as host:port, comma-separated.", examples=["localhost:9092"]
    )
    group: Text = Field(
        description="Consumer group; replicas of one worker share it.", examples=["fraud-worker"]
    )
    input_topic: Topic = Field(
        description="Topic of transaction events.", examples=["transactions"]
    )
    output_topic: Topic = Field(description="Topic of scores.", examples=["scores"])
    dead_letter_topic: Topic = Field(
        description="Topic of records that cannot be scored.", examples=["dead-letters"]
    )
    labels_topic: Topic | None = Field(
        default=None,
        description="Topic of labels, which `labels send` writes. The worker puts its labels into the store "
        "while it runs; `features load-labels` reads it once.",
        examples=["labels"],
    )
    start_from: Literal["earliest", "latest", "error"] = Field(
        description="Start of a partition for which the group has no checkpoint.",
        examples=["earliest"],
    )
    accept_topic: Text | None = Field(
        default=None,
        description="Kafka's id of an input topic that was created again, or is in another cluster: "
        "it is read from its beginning, and the checkpoints of the earlier topic are dropped.",
        examples=["3ZcaJHreSNi9WfSvJ91sCw"],
    )
    password_file: File | None = Field(
        default=None,
        description="File with the SASL password; the user is sasl.username in kafka.options.",
        examples=["/secrets/kafka-password"],
    )
    secret_files: dict[str, File] = Field(
        default={},
        description="Files with the values of further secret librdkafka options, by option.",
        examples=[{"ssl.key.password": "/secrets/key-password"}],
    )
    options: Options = Field(
        default={},
        description="librdkafka options for all clients, such as security.protocol.",
        examples=[
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "fraud-worker",
            }
        ],
    )
    consumer: Options = Field(
        default={},
        description="librdkafka options for the consumer.",
        examples=[{"session.timeout.ms": 45000}],
    )
    producer: Options = Field(
        default={},
        description="librdkafka options for the producers.",
        examples=[{"compression.type": "zstd"}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = ["input_topic", "output_topic", "dead_letter_topic"]
        names += ["labels_topic"] if self.labels_topic is not None else []
        topics = [getattr(self, name) for name in names]
        if len(set(topics)) < len(topics):
            raise ValueError(
                f"{', '.join(names[:-1])} and {names[-1]} are {mask(topics)}; name "
                f"{'three' if len(names) == 3 else 'four'} topics"
            )
        for section, owned in (
            ("options", OWNED_CONSUMER_OPTIONS | OWNED_PRODUCER_OPTIONS),
            ("consumer", OWNED_CONSUMER_OPTIONS),
            ("producer", OWNED_PRODUCER_OPTIONS),
        ):
            for name in getattr(self, section):
                if name in owned:
                    raise ValueError(
                        f"{section}: {name} is the worker's own ({owned[name]}); remove it"
                    )
        options = {**self.options, **self.consumer, **self.producer}
        if "sasl.password" in options:
            raise ValueError("options: sasl.password stands in the open; use kafka.password_file")
        for name in self.secret_files:
            if name in options or name == "sasl.password":
                other = "password_file" if name == "sasl.password" else "options"
                raise ValueError(f"secret_files: {name} has its place in {other}; name it once")
        if self.password_file and "sasl.username" not in options:
            raise ValueError("password_file is set, options has no sasl.username; add it")
        require_credentials(
            options, self.secret_files.keys(), has_password=self.password_file is not None
        )
        return self


class Registry(Section):
    """Confluent-compatible schema registry."""

    url: Url = Field(
        description="Address of the registry, with its path if it has one; no user, password or query in it.",
        examples=["http://localhost:8081"],
    )
    username: str | None = Field(
        default=None, description="User, with password_file.", examples=["fraud-worker"]
    )
    password_file: File | None = Field(
        default=None,
        description="File with the password, with username.",
        examples=["/secrets/registry-password"],
    )
    timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="Bound on one complete answer, in seconds."
    )
    give_up_s: float = Field(
        default=600.0,
        gt=0,
        description=(
            "Longest wait of records for one schema while the registry answers other requests, in "
            "seconds; then they become dead letters. While it answers none, they wait without end."
        ),
    )
    register_score_schema: bool = Field(
        default=False,
        description="Register score.avsc at the start, under the subject OUTPUT_TOPIC-value; "
        "otherwise it must be registered already.",
    )
    register_label_schema: bool = Field(
        default=False,
        description="`labels send` registers label.avsc, under the subject LABELS_TOPIC-value; "
        "otherwise it must be registered already.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.url.startswith(("http://", "https://")) or re.search(r"[?#]", self.url):
            raise ValueError(
                f"url is {mask(self.url)}; it begins with http:// or https:// and has no query"
            )
        if (self.username is None) != (self.password_file is None):
            given, absent = "username", "password_file"
            if self.username is None:
                given, absent = absent, given
            raise ValueError(f"{given} is set and {absent} is not; set both or neither")
        return self


class Store(Section):
    """The online store, for lookups and the histories of windows: Redis or Valkey."""

    url: Url = Field(
        description="redis://, rediss:// or unix:// address; no user, password or token in it.",
        examples=["redis://localhost:6379/0"],
    )
    username: str | None = Field(
        default=None, description="ACL user, with password_file.", examples=["fraud-worker"]
    )
    password_file: File | None = Field(
        default=None,
        description="File with the password; read again on each connection.",
        examples=["/secrets/store-password"],
    )
    timeout_s: float = Field(default=2.0, gt=0, description="Bound on one answer, in seconds.")
    state: Text | None = Field(
        default=None,
        description="Name of the histories that windows read; default: kafka.group.",
        examples=["fraud-worker-2"],
    )
    accept_group: Text | None = Field(
        default=None,
        description="Group that filled the histories of this state and has stopped permanently: this "
        "worker's group takes them over.",
        examples=["fraud-worker-refill"],
    )
    max_lag_s: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Longest delay behind real time of events that are read, in seconds; histories are "
            "kept longer by this time. Default: the input topic's retention; without either, for "
            "ever."
        ),
        examples=[604800],
    )
    options: Options = Field(
        default={},
        description="redis-py's own connection options.",
        examples=[{"ssl_ca_certs": "/secrets/ca.pem"}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"url is {mask(self.url)}; it begins with redis://, rediss:// (TLS) or unix://"
            )
        if "password" in self.options:
            raise ValueError("options: password stands in the open; use store.password_file")
        if self.username is not None and self.password_file is None:
            raise ValueError("username is set and password_file is not; set both or neither")
        return self
