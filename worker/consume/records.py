"""Records out of the messages of Kafka's client."""

from __future__ import annotations

from operator import methodcaller
from typing import cast

import numpy as np
from confluent_kafka import Message

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers, Records

# The client gives headers whose names are not UTF-8 back with an exception pending, and a name that
# is NULL (confluent-kafka 2.16, c_headers_to_py). A method called by Python's own bytecode is not
# checked for that: the exception surfaces anywhere later. A call through C is checked.
_read_headers = methodcaller("headers")


def records_of(topic: str, messages: list[Message]) -> Records:
    """Consumed messages of one topic, none of them an error, as columns.

    A record whose headers cannot be read has none, and a fault. Reads the headers of each message
    once: a second call on such a message may end the process.
    """
    headers: list[Headers | None] = []
    faults: dict[int, RecordError] = {}
    reading = map(_read_headers, messages)
    while len(headers) < len(messages):
        try:
            # What was read before an exception stays in the list.
            headers.extend(reading)
        except (SystemError, UnicodeDecodeError):
            faults[len(headers)] = RecordError(
                ErrorCode.HEADER_INVALID,
                "the name of a header is not UTF-8, and the client can read none of its headers",
            )
            headers.append(None)
    return Records(
        topic,
        cast("list[bytes | None]", [m.key() for m in messages]),
        cast("list[bytes | None]", [m.value() for m in messages]),
        np.array([m.partition() for m in messages], dtype=np.int32),
        np.array([m.offset() for m in messages], dtype=np.int64),
        np.array([m.timestamp()[1] for m in messages], dtype=np.int64),
        headers if any(headers) else None,
        faults,
    )
