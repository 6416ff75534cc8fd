"""The judge by positions on lists: what holds passes, and each fault is found where it is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Message

from schemas.batch import Position
from tests.oracles.answered import SCORED, UNREADABLE, Answer, Verdict, dead_letter, judge, score

INPUTS = [Position("in", partition, offset) for partition in (0, 1) for offset in (0, 1, 3)]
COMMITTED = {0: 4, 1: 4}
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "score.avsc").read_text())
OWN = [
    ("__worker.errors.topic", b"in"),
    ("__worker.errors.partition", b"1"),
    ("__worker.errors.offset", b"3"),
    ("__worker.errors.code", b"null_value"),
]


def answer(source: Position | None, at: int = 0) -> Answer:
    return Answer(source, Position("out", 0, at), SCORED)


ANSWERS = [answer(source, at) for at, source in enumerate(INPUTS)]


def message(value: bytes | None = None, headers: list[tuple[str, Any]] | None = None) -> Message:
    return Message(topic="dead", partition=0, offset=7, value=value, headers=headers)


def test_the_answer_oracle_accepts_one_answer_for_each_record_in_any_order() -> None:
    assert judge(INPUTS, ANSWERS[::-1], COMMITTED) == Verdict(records=len(INPUTS))


def test_a_missing_answer_is_lost_where_the_group_has_passed_it() -> None:
    assert judge(INPUTS, ANSWERS[:2] + ANSWERS[3:], COMMITTED).lost == [INPUTS[2]]
    assert judge(INPUTS, ANSWERS[:-1], COMMITTED).lost == [INPUTS[-1]]


def test_a_missing_answer_is_stuck_where_the_group_stands_before_it() -> None:
    verdict = judge(INPUTS, ANSWERS[:4], {0: 4, 1: 1})
    assert (verdict.lost, verdict.stuck) == ([], INPUTS[4:])
    verdict = judge(INPUTS, [], {})
    assert (verdict.lost, verdict.stuck) == ([], INPUTS)


def test_a_second_answer_is_a_duplicate_whatever_its_kind() -> None:
    again = Answer(INPUTS[0], Position("dead", 0, 5), "null_value")
    verdict = judge(INPUTS, [*ANSWERS, again], COMMITTED)
    assert verdict == Verdict(records=len(INPUTS), duplicated=[again])


@pytest.mark.parametrize(
    "wrong",
    [Position("in", 0, 2), Position("in", 2, 0), Position("other", 0, 0), None],
    ids=["control record", "another partition", "another topic", "unreadable"],
)
def test_an_answer_to_no_record_is_stray_and_answers_none(wrong: Position | None) -> None:
    verdict = judge(INPUTS, [answer(wrong), *ANSWERS[1:]], COMMITTED)
    assert verdict == Verdict(records=len(INPUTS), lost=[INPUTS[0]], stray=[answer(wrong)])


def test_a_dead_letter_answers_to_the_record_that_its_headers_name() -> None:
    found = dead_letter(message(headers=OWN))
    assert found == Answer(Position("in", 1, 3), Position("dead", 0, 7), "null_value")


def test_the_last_header_of_a_name_counts_so_that_forged_ones_do_not() -> None:
    forged = [(name, b"0") for name, _ in OWN] + [("__worker.errors.offset", None)]
    assert dead_letter(message(headers=[*forged, *OWN])) == dead_letter(message(headers=OWN))


@pytest.mark.parametrize("at", range(len(OWN)))
@pytest.mark.parametrize("other", [(), (b"\xff",), (None,)], ids=["absent", "no UTF-8", "null"])
def test_a_dead_letter_that_names_no_record_answers_none(at: int, other: tuple[Any, ...]) -> None:
    headers = [*OWN[:at], *((OWN[at][0], value) for value in other), *OWN[at + 1 :]]
    assert dead_letter(message(headers=headers)) == Answer(None, Position("dead", 0, 7), UNREADABLE)


def test_a_dead_letter_without_headers_answers_none() -> None:
    assert dead_letter(message()).source is None


def test_a_score_answers_to_its_source() -> None:
    value = io.BytesIO()
    fields = {item["name"]: item.get("default", 0) for item in SCHEMA["fields"]}
    text = ("event_id", "decision", "segment", "policy_version", "feature_set", "device")
    record = {
        **fields,
        **dict.fromkeys(text, ""),
        "flags": [],
        "model": {"name": "m", "version": "1"},
        "source": {"topic": "in", "partition": 1, "offset": 3},
    }
    fastavro.schemaless_writer(value, fastavro.parse_schema(SCHEMA), record)
    found = score(message(b"\x00\x00\x00\x00\x02" + value.getvalue()), SCHEMA)
    assert found == Answer(Position("in", 1, 3), Position("dead", 0, 7), SCORED)


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x02\x05"])
def test_a_value_that_is_no_score_answers_none(value: bytes | None) -> None:
    assert score(message(value), SCHEMA).code == UNREADABLE
