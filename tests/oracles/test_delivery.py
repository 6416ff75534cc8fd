"""The oracle of delivery on lists: what holds passes, and each fault is found where it is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import Position
from tests.oracles.delivery import Answer, Verdict, judge

INPUTS = [Position("in", partition, offset) for partition in (0, 1) for offset in range(4)]
SERIAL = {position: f"score of {position}" for position in INPUTS}


def answer(source: Position, at: int, partition: int = 0) -> Answer:
    return Answer(source, Position("out", partition, at), SERIAL[source])


ANSWERS = [answer(source, at) for at, source in enumerate(INPUTS)]


def verdict(answers: list[Answer]) -> Verdict:
    return judge(INPUTS, answers, SERIAL)


def test_the_delivery_oracle_accepts_one_answer_for_each_record_in_order() -> None:
    assert verdict(ANSWERS) == Verdict()
    assert verdict(ANSWERS).clean


def test_partitions_may_mix_and_gaps_of_offsets_mean_nothing() -> None:
    mixed = [answer(source, 10 * at) for at, source in enumerate(INPUTS[::4] + INPUTS[1:4])]
    assert not verdict(mixed).out_of_order


def test_a_missing_answer_is_lost() -> None:
    found = verdict(ANSWERS[:2] + ANSWERS[3:])
    assert found == Verdict(lost=[INPUTS[2]])
    assert not found.clean


def test_a_second_answer_is_a_duplicate_even_elsewhere_and_not_out_of_order() -> None:
    again = answer(INPUTS[0], 0, partition=1)
    late = answer(INPUTS[0], 99)
    assert verdict([*ANSWERS, again, late]) == Verdict(duplicated=[again, late])


def test_an_answer_behind_that_of_a_later_record_is_out_of_order() -> None:
    moved = replace(ANSWERS[1], at=Position("out", 0, 50))
    assert verdict([*ANSWERS[:1], moved, *ANSWERS[2:]]) == Verdict(out_of_order=[moved])
    elsewhere = replace(ANSWERS[1], at=Position("out", 1, 50))
    assert verdict([*ANSWERS[:1], elsewhere, *ANSWERS[2:]]).clean


def test_other_content_and_answers_to_nothing_differ_from_the_serial_run() -> None:
    wrong = replace(ANSWERS[3], content="another score")
    stray = Answer(Position("in", 7, 7), Position("out", 0, 77), "a score")
    found = verdict([*ANSWERS[:3], wrong, *ANSWERS[4:], stray])
    assert found == Verdict(scores_different=[wrong, stray])


@given(st.lists(st.sampled_from(INPUTS)))
def test_answers_are_counted_whatever_their_number_and_order(sources: list[Position]) -> None:
    found = verdict([answer(source, at) for at, source in enumerate(sources)])
    assert len(found.lost) == len(set(INPUTS) - set(sources))
    assert len(found.duplicated) == len(sources) - len(set(sources))
    assert not found.scores_different
    firsts = list(dict.fromkeys(sources))
    in_order = all(
        [p.offset for p in firsts if p.partition == lane]
        == sorted(p.offset for p in firsts if p.partition == lane)
        for lane in (0, 1)
    )
    assert in_order == (not found.out_of_order)
