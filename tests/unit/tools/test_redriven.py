"""The dead letters that calls of `dead-letters redrive` choose, against a set of those sent."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from schemas.batch import Position
from tools.letters.due import Due, DueLetters
from tools.letters.letter import Letter, Selection
from tools.letters.redriven import ALL, Redriven

CODES = ["a", "b", "c"]
TOPIC_ID = "x" * 22


def letter(offset: int, code: str, written_ms: int = 0) -> Letter:
    return Letter(
        Position("dead", 0, offset), written_ms, Position("in", 0, offset), {"code": code}, *NOTHING
    )


NOTHING: tuple[None, None, tuple[()]] = (None, None, ())


class Call(NamedTuple):
    """A call of the command, and what happens meanwhile."""

    codes: frozenset[str]
    since_ms: int | None
    until_ms: int | None
    again: bool
    killed_after: int | None
    new: int
    first: int


TIMES = st.one_of(st.none(), st.integers(0, 40))
CALLS = st.builds(
    Call,
    st.frozensets(st.sampled_from(CODES), max_size=2),
    TIMES,
    TIMES,
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 10)),
    st.integers(0, 10),
    st.integers(0, 5),
)
LOG = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(CODES), st.integers(0, 40)),
    min_size=60,
    max_size=60,
)


@given(LOG, st.lists(CALLS, max_size=6))
def test_any_calls_send_each_selected_letter_once_and_no_other(
    drawn: list[tuple[int, str, int]], calls: list[Call]
) -> None:
    """Letters have gaps between them, come while nothing runs, and are deleted by retention."""
    log, offset = list[Letter](), 0
    for gap, code, written_ms in drawn:
        offset += gap
        log.append(letter(offset, code, written_ms))
    written = low = 0
    committed: tuple[int, str] | None = None
    sent = set[int]()
    for call in calls:
        written, low = min(60, written + call.new), low + call.first
        there = [one for one in log[:written] if one.at.offset >= low]
        end = max(low, log[written - 1].at.offset + 1 if written else 0)
        known = {} if committed is None else {0: Redriven.decode(*committed, TOPIC_ID)}
        assert None not in known.values()
        state = {p: one for p, one in known.items() if one}
        begin = max(low, state[0].begin if state and not call.again else 0)
        selection = Selection(call.codes, call.since_ms, call.until_ms)
        due = DueLetters(selection, state, {0: min(begin, end)}, -1, again=call.again)
        chosen, number = list[int](), 0
        for one in there:
            if one.at.offset < begin:
                continue
            if number == call.killed_after:
                break
            number += 1
            if due.take(one) is Due.REDRIVEN:
                chosen.append(one.at.offset)
        else:
            due.end({0: end})
        read = [one for one in there if one.at.offset >= begin][:number]
        expected = [
            one.at.offset
            for one in read
            if one in selection and (call.again or one.at.offset not in sent)
        ]
        assert chosen == expected
        # What the call did not read before it began was redriven.
        assert call.again or {x.at.offset for x in there if x.at.offset < begin} <= sent
        sent.update(chosen)
        committed = due.redriven[0].begin, due.redriven[0].encode(TOPIC_ID)


def test_a_call_without_options_leaves_an_offset_and_nothing_else() -> None:
    due = DueLetters(Selection(), {}, {0: 3}, 0, again=False)
    for offset in (3, 5, 9):
        assert due.take(letter(offset, "a")) is Due.REDRIVEN
    due.end({0: 12})
    assert due.redriven == {0: Redriven(12)}


def test_ranges_by_code_end_where_everything_was_redriven() -> None:
    redriven = Redriven(5)
    redriven.add("a", 5, 20)
    redriven.add(ALL, 30, 40)
    assert [(7, "a") in redriven, (7, "b") in redriven, (35, "b") in redriven] == [
        True,
        False,
        True,
    ]
    redriven.add(ALL, 4, 30)
    assert redriven == Redriven(40)


def test_letters_from_before_the_time_for_which_offsets_are_kept_are_uncertain() -> None:
    due = DueLetters(Selection(), {}, {0: 0}, 1_000, again=False)
    assert due.take(letter(0, "a", 999)) is Due.UNCERTAIN
    assert due.take(letter(1, "a", 1_000)) is Due.REDRIVEN
    known = DueLetters(Selection(), {0: Redriven(0)}, {0: 0}, 1_000, again=False)
    assert known.take(letter(0, "a", 999)) is Due.REDRIVEN
    again = DueLetters(Selection(), {}, {0: 0}, 1_000, again=True)
    assert again.take(letter(0, "a", 999)) is Due.REDRIVEN


def test_a_note_of_another_topic_id_says_nothing_and_one_of_a_later_version_is_refused() -> None:
    redriven = Redriven(5, {"a": [(7, 9)]})
    text = redriven.encode(TOPIC_ID)
    assert Redriven.decode(5, text, TOPIC_ID) == redriven
    assert Redriven.decode(5, text, "y" * 22) is None
    # Somebody has reset the offset of the group.
    assert Redriven.decode(5, "", TOPIC_ID) == Redriven(5)
    with pytest.raises(ConfigurationError, match="has version 2, this command knows version 1"):
        Redriven.decode(5, text.replace('"version":1', '"version":2'), TOPIC_ID)


def test_too_many_ranges_are_refused_with_the_remedy() -> None:
    redriven = Redriven(0)
    for number in range(400):
        redriven.add("a", 10 * number + 5, 10 * number + 6)
    with pytest.raises(ConfigurationError, match="redrive without these options first"):
        redriven.encode(TOPIC_ID)
