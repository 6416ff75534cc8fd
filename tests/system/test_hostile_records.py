"""The hostile records themselves: they follow the seed, and each kind can be drawn."""

from __future__ import annotations

import random

from tests.support.hostile_bodies import HostileBodies, Sizes
from tests.support.hostile_limits import draw_limits
from tests.support.hostile_records import HostileRecord, RecordMaker

SIZES = Sizes(input=5_000, scores=2_000, dead_letters=2_000, decoded=5_000)
HEADER_KINDS = ("name not UTF-8", "forged answer", "forged, large", "thousands")


def drawn(seed: int, count: int, kinds: float = 0.5) -> list[HostileRecord]:
    draw = random.Random(seed)
    make = RecordMaker(draw, HostileBodies(draw, SIZES), SIZES, "topic", kinds=kinds)
    return [make() for _ in range(count)]


def test_records_follow_the_seed() -> None:
    assert [h.kinds for h in drawn(7, 200)] == [h.kinds for h in drawn(7, 200)]
    assert [h.record.value for h in drawn(7, 200)] == [h.record.value for h in drawn(7, 200)]
    assert [h.kinds for h in drawn(7, 200)] != [h.kinds for h in drawn(8, 200)]


def test_each_kind_of_hostile_record_is_drawn_in_some_rounds_only() -> None:
    rounds = [{kind for h in drawn(seed, 150) for kind in h.kinds} for seed in range(40)]
    for kind in (f"headers: {kind}" for kind in HEADER_KINDS):
        assert 0 < sum(kind in kinds for kinds in rounds) < len(rounds)
    assert {kind.partition(":")[0] for kind in set().union(*rounds)} == {
        "body",
        "key",
        "headers",
        "timestamp",
    }
    assert len(set().union(*rounds)) > 45


def test_each_kind_of_hostile_record_is_drawn_where_all_are_asked_for() -> None:
    kinds = {kind for h in drawn(1, 1_000, kinds=1.0) for kind in h.kinds}
    assert kinds >= {f"headers: {kind}" for kind in HEADER_KINDS}


def test_limits_are_of_each_sort_and_a_dead_letter_topic_takes_every_dead_letter() -> None:
    limits = [draw_limits(random.Random(seed)) for seed in range(200)]
    outputs = [each.topics["output"] for each in limits]
    names = {name for own in outputs for name in own}
    assert names >= {"cleanup.policy", "message.timestamp.before.max.ms", "message.timestamp.type"}
    assert {each.exactly_once for each in limits} == {True, False}
    for each in limits:
        own = each.topics["dead_letter"]
        assert "cleanup.policy" not in own
        assert int(own["max.message.bytes"]) >= 2_000
        assert int(own.get("message.timestamp.before.max.ms", 2**63 - 1)) >= 60_000
