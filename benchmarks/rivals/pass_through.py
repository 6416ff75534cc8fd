"""Copy records in the same transactions as the worker: the cost of Kafka alone."""

from __future__ import annotations

from benchmarks.rivals.task import (
    BATCH_EVENTS,
    Stop,
    Task,
    commit,
    given_task,
    make_consumer,
    make_producer,
    records,
)


def run(task: Task) -> None:
    """Run until a signal asks to stop."""
    consumer, producer, stop = make_consumer(task), make_producer(task), Stop()
    while not stop:
        messages = records(consumer.consume(BATCH_EVENTS, 0.1))
        if not messages:
            continue
        producer.begin_transaction()
        copies = [{"value": m.value(), "key": m.key()} for m in messages]
        if producer.produce_batch(task.output_topic, copies) < len(copies):
            raise RuntimeError("the producer's queue is full")
        commit(producer, consumer)
    consumer.close()


if __name__ == "__main__":
    run(given_task())
