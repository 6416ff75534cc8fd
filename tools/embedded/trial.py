"""Load of a broker's trial run: transactions, as those of a worker."""

from __future__ import annotations

import threading

from confluent_kafka import KafkaException, Producer

from tools.embedded.pass_through import copy
from tools.embedded.topic_admin import create_topics

_SOURCE, _TARGET, _PARTITIONS = "trial-input", "trial-output", 4
_TICK_S, _TICK_RECORDS = 0.01, 10
_VALUE = bytes(100)
_ANSWER_S = 30.0


def transact(bootstrap: str, seconds: float) -> None:
    """Produce 1,000 records a second for some time, and copy them in transactions.

    Raises:
        KafkaException: The broker refuses something, or does not answer in time.
        BufferError: Transactions take so long that the records of one fill a queue.
    """
    create_topics(bootstrap, dict.fromkeys((_SOURCE, _TARGET), _PARTITIONS))
    ended, errors = threading.Event(), []

    def copying() -> None:
        try:
            copy(bootstrap, "trial", _SOURCE, _TARGET, ended.is_set)
        except (KafkaException, BufferError) as error:
            errors.append(error)
            ended.set()

    thread = threading.Thread(target=copying, name="trial")
    thread.start()
    try:
        _produce(bootstrap, seconds, ended)
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


def _produce(bootstrap: str, seconds: float, ended: threading.Event) -> None:
    options = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}
    producer = Producer({**options, "log_level": 0})
    for number in range(int(seconds / _TICK_S)):
        records = [{"value": _VALUE, "key": str((number, i))} for i in range(_TICK_RECORDS)]
        producer.produce_batch(_SOURCE, records)
        producer.poll(0)
        if ended.wait(_TICK_S):
            break
    producer.flush(_ANSWER_S)
    producer.close()
