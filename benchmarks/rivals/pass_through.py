"""Copy records in transactions as large as the worker's: the limit of client and broker.

The records go to the client with one call a transaction, its fastest way. At a low rate this is the
bare loop of a transaction: consume, produce, send offsets, commit.
"""

from __future__ import annotations

from benchmarks.rivals.task import Client, Stop, Task, given_task


def run(task: Task) -> None:
    """Run until a signal asks to stop."""
    client, stop = Client(task), Stop()
    while not stop:
        messages = client.take()
        if not messages:
            continue
        client.begin()
        client.produce_batch([{"value": m.value(), "key": m.key()} for m in messages])
        client.commit()
    client.close()


if __name__ == "__main__":
    run(given_task())
