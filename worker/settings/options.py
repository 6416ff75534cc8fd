"""Types of settings, and the options of other libraries that are the worker's own business."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

OWNED_CONSUMER_OPTIONS = {
    "auto.commit.enable": "always false: offsets are part of the checkpoint",
    "auto.offset.reset": "kafka.start_from",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "enable.auto.commit": "always false: offsets are part of the checkpoint",
    "enable.auto.offset.store": "always false: offsets are part of the checkpoint",
    "enable.partition.eof": "always false",
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


Text = Annotated[str, AfterValidator(_not_blank)]
Url = Annotated[Text, AfterValidator(_no_password)]
Options = dict[str, Annotated[str | int | float | bool, BeforeValidator(_scalar)]]


class Section(BaseModel):
    """A group of settings: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
