"""Types of settings, and the options of other libraries that are the worker's own business."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

OWNED_CONSUMER_OPTIONS = {
    "auto.commit.enable": "always false: offsets are part of the checkpoint",
    "auto.offset.reset": "kafka.start_from",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "enable.auto.commit": "always false: offsets are part of the checkpoint",
    "enable.auto.offset.store": "always false: offsets are part of the checkpoint",
    "enable.partition.eof": "always true",
    "group.id": "kafka.group",
    "group.protocol": "always classic, for cooperative-sticky",
    "isolation.level": "always read_committed",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "partition.assignment.strategy": "always cooperative-sticky",
}
OWNED_PRODUCER_OPTIONS = {
    "acks": "always all",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "delivery.report.only.error": "always true",
    "enable.idempotence": "always true",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "partitioner": "always murmur2_random, Kafka's own",
    "request.required.acks": "always all",
    "transactional.id": "kafka.group and replica",
}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give it a value")
    return text


def _scalar(found: object) -> object:
    if not isinstance(found, str | int | float | bool):
        raise ValueError(f"is {type(found).__name__}; an option is text, a number, true or false")  # noqa: TRY004 - pydantic wants it
    return found


def _no_password(url: str) -> str:
    if re.search(r"//.*:.*@|[?&]password=", url):
        raise ValueError("holds a password; use password_file beside it")
    return url


def _local(found: object) -> object:
    # As a path, s3://bucket/model would be a folder called s3: in the pipeline's.
    if isinstance(found, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", found):
        raise ValueError(
            f"is {found}, an address; it takes a path of this machine: download or mount what is "
            "there, and give its folder or file"
        )
    return found


def _topic_name(text: str) -> str:
    # Kafka's own rule. A consumer would take a name that begins with ^ for a pattern.
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", text) or text in (".", ".."):
        raise ValueError(
            f"is {text!r}, which is no topic's name; name one topic, of at most 249 letters, digits "
            "and . _ - (patterns and lists are not read)"
        )
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Topic = Annotated[str, AfterValidator(_topic_name)]
Url = Annotated[Text, AfterValidator(_no_password)]
LocalPath = Annotated[Path, BeforeValidator(_local)]
Options = dict[str, Annotated[str | int | float | bool, BeforeValidator(_scalar)]]


class Section(BaseModel):
    """A group of settings: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
