"""``fraud-worker dead-letters`` on real topics: what is sent, once, and what the worker makes of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType
from typer.testing import CliRunner, Result

from base.errors import DeliveryFatalError, ErrorCode, RecordError
from schemas.batch import Headers, Records
from tests.conftest import MakeTopic, SharedKafka
from tests.support.access_rules import BROKER_SETTINGS, allow
from tests.support.healthy import edit
from tests.support.payments import body, framed, good_record, some, text, write_pipeline
from tests.support.worker_process import read_until, worker
from tools.cli.commands import app
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.letters.redriven import Redriven
from tools.letters.sender import Outgoing, RedriveBooks, RedriveSender, find_target
from tools.topics.topic_log import read_to_end
from worker.settings import load_settings
from worker.stages.dead_letter import Stage, dead_letter

ERRORS = [
    RecordError(ErrorCode.SCHEMA_UNKNOWN, "no schema"),
    RecordError(ErrorCode.AMOUNT_MISSING, "no amount"),
]
KILL = """
import os, sys
from tools.cli import commands
from tools.letters.sender import RedriveSender

fatal, left, call = sys.argv[1], [int(sys.argv[2])], RedriveSender._call

def killed(self, what, run):
    if what == fatal:
        left[0] -= 1
        if left[0] < 0:
            self._producer.flush(10)
            os.kill(os.getpid(), 9)
    call(self, what, run)

RedriveSender._call = killed
sys.argv[:3] = ["fraud-worker"]
commands.main()
"""


class Sent(NamedTuple):
    """A record of the input topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


class Letters:
    """Pipeline whose dead-letter topic a test fills by itself.

    Args:
        folder: Pipeline folder to create.
        bootstrap: Address of Kafka.
        make_topic: Makes topics.
        partitions: Number of partitions of the input topic.
        dead_letter: Settings of the dead-letter topic.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        make_topic: MakeTopic,
        *,
        partitions: int = 3,
        dead_letter: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.input = make_topic("payments", partitions)
        self.dead = make_topic("dead", 2, dead_letter)
        self.scores = make_topic("scores")
        topics = {
            "input_topic": self.input,
            "output_topic": self.scores,
            "dead_letter_topic": self.dead,
        }
        write_pipeline(folder, {"bootstrap_servers": bootstrap, "group": self.input, **topics})
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 50}
        )

    def write(self, first: int, end: int, headers: Headers = (("trace", b"\xff"),)) -> None:
        """Write dead letters of records at these offsets of input partition 1; codes take turns."""
        count = end - first
        records = Records(
            self.input,
            [f"k{number}".encode() for number in range(first, end)],
            [f"v{number}".encode() for number in range(first, end)],
            np.ones(count, np.int32),
            np.arange(first, end),
            np.full(count, 5),
            [headers] * count,
        )
        for row in range(count):
            letter = dead_letter(records, row, ERRORS[(first + row) % 2], Stage.DECODE, None)
            self.produce(self.dead, letter.value, letter.key, letter.headers)
        assert self._producer.flush(30) == 0

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Headers = ()
    ) -> None:
        given: Any = [*headers]
        self._producer.produce(topic, value, key, headers=given)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command of `dead-letters`, and return its JSON."""
        done = self.call(*arguments)
        assert done.exit_code == 0, done.output
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def call(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["dead-letters", *arguments, "-p", str(self.folder)])

    def killed(self, what: str, calls: int) -> int:
        """Status of a redrive that is killed before its call of the client after so many."""
        program = [sys.executable, "-c", KILL, what, str(calls)]
        command = [*program, "dead-letters", "redrive", "-p", str(self.folder)]
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode

    def sent(self, topic: str | None = None) -> list[Sent]:
        """All committed records of the input topic, in order by partition."""
        found = []
        for records in read_to_end(self.bootstrap, topic or self.input):
            for row, value in enumerate(records.values):
                at = records.position(row)
                headers = dict((records.headers[row] if records.headers else None) or ())
                found.append(Sent(at.partition, at.offset, records.keys[row], value, headers))
        return sorted(found, key=lambda one: one[:2])

    def redriven(self) -> list[int]:
        """Offsets of the records that were redriven."""
        return [int(one.headers["__worker.redriven.offset"] or b"") for one in self.sent()]


@pytest.fixture
def letters(tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic) -> Letters:
    return Letters(tmp_path / "p", kafka.bootstrap, make_topic)


def test_each_letter_is_redriven_once_whenever_the_command_is_killed(letters: Letters) -> None:
    letters.write(0, 1_800)
    for what, calls in (
        ("begin_transaction", 0),
        # Records of the first and second transaction are written, and not committed.
        ("send_offsets_to_transaction", 0),
        ("commit_transaction", 1),
        ("begin_transaction", 1),
    ):
        assert letters.killed(what, calls) == -9
    done = letters.run("redrive")
    assert letters.run("redrive")["redriven"] == 0

    # Two of four killed calls committed a transaction of 500 records.
    assert done["redriven"] == 800
    assert sorted(letters.redriven()) == [*range(1_800)]
    (first,) = [one for one in letters.sent() if one.value == b"v7"]
    assert (first.partition, first.key) == (1, b"k7")
    assert first.headers == {
        "trace": b"\xff",
        "__worker.redriven.topic": letters.input.encode(),
        "__worker.redriven.partition": b"1",
        "__worker.redriven.offset": b"7",
        "__worker.redriven.timestamp": b"5",
        "__worker.redriven.times": b"1",
    }


def test_what_a_call_leaves_out_is_redriven_by_the_next_one(letters: Letters) -> None:
    letters.write(0, 40)
    time.sleep(0.01)
    begin = time.time()
    letters.write(40, 60)
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin)) + f".{int(begin % 1 * 1000):03}Z"

    dry = letters.run("redrive", "--code", "schema_unknown", "--since", since, "--dry-run")
    assert (dry["redriven"], dry["skipped"], letters.redriven()) == (10, 50, [])
    late = letters.run("redrive", "--code", "schema_unknown", "--since", since)
    assert (late["redriven"], late["codes"]) == (10, {"schema_unknown": 10})
    assert sorted(letters.redriven()) == [*range(40, 60, 2)]
    assert letters.run("redrive", "--code", "schema_unknown")["redriven"] == 20
    rest = letters.run("redrive")
    assert (rest["redriven"], rest["already"], rest["codes"]) == (30, 30, {"amount_missing": 30})
    assert sorted(letters.redriven()) == [*range(60)]

    letters.write(60, 62)
    assert letters.run("redrive")["redriven"] == 2
    again = letters.run("redrive", "--again", "--code", "amount_missing")
    assert again["redriven"] == 31
    counts = Counter(letters.redriven())
    assert counts == {offset: 1 + offset % 2 for offset in range(62)}


def test_letters_of_other_pipelines_and_other_records_stay_where_they_are(
    letters: Letters, make_topic: MakeTopic
) -> None:
    letters.write(0, 2)
    letters.produce(letters.dead, b"no letter", None)
    own, letters.input = letters.input, "another-topic"
    letters.write(2, 5)
    letters.input = own
    elsewhere = make_topic("elsewhere", 5)
    result = letters.run("redrive", "--to", elsewhere)
    assert (result["redriven"], result["others"], result["to"]) == (2, 4, elsewhere)
    assert letters.sent() == []
    assert sorted(one.value or b"" for one in letters.sent(elsewhere)) == [b"v0", b"v1"]


def test_a_value_that_was_too_large_comes_from_the_input_topic_while_it_is_there(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    letters = Letters(tmp_path / "p", kafka.bootstrap, make_topic, partitions=1)
    value = b"x" * 5_000
    letters.produce(letters.input, b"before", b"k")
    letters.produce(letters.input, value, b"k", [("big", b"h")])
    letters.flush()
    records = Records(
        letters.input,
        [b"k"] * 3,
        # The second one has changed, and the third is not there.
        [value, value + b"y", value],
        np.zeros(3, np.int32),
        np.array([1, 0, 9]),
        np.full(3, 5),
    )
    for row in range(3):
        letter = dead_letter(records, row, ERRORS[0], Stage.DECODE, None).oversize()
        letters.produce(letters.dead, letter.value, letter.key, letter.headers)
    letters.flush()

    done = letters.call("redrive")
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert (result["redriven"], result["not_redrivable"]) == (1, 2)
    refused = f"not redrivable: {letters.input}:0:9 (schema_unknown): the dead letter has no value"
    assert refused in done.stderr
    last = letters.sent()[-1]
    assert (last.value, last.headers["big"]) == (value, b"h")


def test_a_second_redrive_ends_the_first(letters: Letters) -> None:
    settings = load_settings(letters.folder)
    target = find_target(settings.kafka, None, 10.0)
    with (
        closing(RedriveBooks(settings.kafka, 10.0)) as books,
        RedriveSender(settings.kafka, target, 10.0) as first,
        RedriveSender(settings.kafka, target, 10.0) as second,
    ):
        record = Outgoing(b"k", b"v", (), 1)
        offsets = books.offsets({0: Redriven(1)})
        second.send([record], offsets, books.group_metadata)
        with pytest.raises(DeliveryFatalError, match="another `dead-letters redrive` of this pipe"):
            first.send([record], offsets, books.group_metadata)
        assert books.read([0, 1]) == {0: Redriven(1)}
    assert len(letters.sent()) == 1


def test_the_rights_of_a_redrive_are_enough_and_each_is_needed(
    private_kafka: Callable[..., Kafka], tmp_path: Path
) -> None:
    server = private_kafka(BROKER_SETTINGS)

    def make_topic(
        name: str = "topic", partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> str:
        create_topics(server.bootstrap, {name: partitions}, settings)
        return name

    letters = Letters(tmp_path / "p", server.bootstrap, make_topic)
    letters.write(0, 3)
    edit(letters.folder / "worker.yaml", lambda values: values["kafka"].update(group="g"))
    # In the order in which the command needs them.
    needed = [
        (ResourceType.TRANSACTIONAL_ID, "g/redrive", AclOperation.WRITE),
        (ResourceType.TOPIC, letters.dead, AclOperation.READ),
        (ResourceType.TOPIC, letters.input, AclOperation.WRITE),
        (ResourceType.GROUP, "g.redrive", AclOperation.READ),
    ]
    with AdminClient({"bootstrap.servers": server.bootstrap}) as admin:
        for kind, name, _ in needed:
            allow(admin, kind, name, AclOperation.DESCRIBE)
        allow(admin, ResourceType.GROUP, "g", AclOperation.DELETE)
        allow(admin, ResourceType.TOPIC, letters.scores, AclOperation.DELETE)
        for kind, name, operation in needed:
            refused = letters.call("redrive")
            assert refused.exit_code == 1
            assert re.search("may not redrive|lacks a right", str(refused.exception))
            allow(admin, kind, name, operation)
    assert letters.run("redrive")["redriven"] == 3


def test_letters_are_shown_by_code_and_one_with_its_payload_only_on_request(
    letters: Letters,
) -> None:
    letters.write(0, 3)
    letters.produce(letters.dead, b"no letter", None)
    letters.flush()
    done = letters.call("show")
    result = json.loads(done.stdout)
    assert (result["letters"], result["others"]) == (3, 1)
    assert [(row["code"], row["count"]) for row in result["codes"]] == [
        ("schema_unknown", 2),
        ("amount_missing", 1),
    ]
    assert result["codes"][1]["example"] == f"{letters.input}:1:1"
    assert "1 other records of the topic" in done.stderr
    assert letters.run("show", "--code", "amount_missing")["letters"] == 1

    one = letters.call("show", "--position", f"{letters.input}:1:1")
    (letter,) = json.loads(one.stdout)["letters"]
    assert (letter["code"], letter["headers"], letter["value_bytes"]) == (
        "amount_missing",
        ["trace"],
        2,
    )
    assert b"v1".hex() not in one.stdout + one.stderr
    (whole,) = letters.run("show", "--position", letter["at"], "--payload")["letters"]
    assert (whole["value_hex"], whole["headers"]) == (b"v1".hex(), [["trace", "ff"]])
    assert letters.call("show", "--position", f"{letters.input}:1:99").exit_code == 1


def test_a_flood_holds_its_partition_until_it_is_accepted_and_is_scored_when_redriven(
    letters: Letters,
) -> None:
    flood, other_id = 1_500, 8
    producer = Producer({"bootstrap.servers": letters.bootstrap, "linger.ms": 50})

    def produce(partition: int, *values: bytes) -> None:
        for value in values:
            producer.produce(letters.input, value, b"k", partition=partition)

    produce(0, *(good_record(number) for number in range(1_200)))
    produce(0, *(framed(good_record(1_200 + n)[5:], other_id) for n in range(flood)))
    produce(1, *(good_record(9_000 + number) for number in range(300)))
    assert producer.flush(30) == 0

    set_limit(letters.folder, max_share=0.1)
    for _ in range(2):
        with worker(letters.folder):
            await_log(letters.folder, r"partition 0 of .* is held at offset 1300: more than 100 of")
            read_until(letters.bootstrap, [letters.scores], 1_500)
        (letters.folder / "worker.log").unlink()
    assert letters.run("show")["letters"] == 100

    set_limit(letters.folder, max_share=0.1, accept_through={0: 1_200 + flood - 1})
    produce(0, framed(body(amount=b"\x00", id=some(text("bad")))))
    assert producer.flush(30) == 0
    with worker(letters.folder):
        read_until(letters.bootstrap, [letters.dead], flood + 1)
    assert "is held" not in (letters.folder / "worker.log").read_text()

    schema = (letters.folder / "payment.avsc").read_text()
    (letters.folder / "writer-schemas" / f"{other_id}.avsc").write_text(schema)
    assert letters.run("redrive")["codes"] == {"schema_unknown": flood, "amount_missing": 1}
    with worker(letters.folder):
        read_until(letters.bootstrap, [letters.scores], 1_500 + flood)
        # The record that is still bad is a dead letter once more, and can be redriven once more.
        read_until(letters.bootstrap, [letters.dead], flood + 2)
    again = letters.run("redrive")
    assert (again["redriven"], again["most_times"]) == (1, 2)


def set_limit(folder: Path, **values: object) -> None:
    edit(folder / "worker.yaml", lambda settings: settings.update(dead_letters=values))


def await_log(folder: Path, words: str) -> None:
    """Wait until the worker's log has text that matches ``words``."""
    until = time.monotonic() + 30
    while not re.search(words, (folder / "worker.log").read_text()):
        assert time.monotonic() < until, (folder / "worker.log").read_text()[-3000:]
        time.sleep(0.05)
