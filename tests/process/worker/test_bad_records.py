"""Bad records through the stages: each its own dead letter, no neighbour touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from features.store.memory import MemoryStore
from tests.support.payments import (
    MAX_OUTPUT_BYTES,
    BadRecord,
    bad_records,
    good_record,
    output_too_large,
    records,
    write_pipeline,
)
from worker.delivery.publish import SizeLimits
from worker.pipeline import load_pipeline, make_stages
from worker.stages.dead_letter import HEADER_PREFIX
from worker.stages.stages import Processed, Stages

BAD = [*bad_records(), output_too_large()]
MUTATED = 100_000
BATCH = 4000


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    pipeline = load_pipeline(write_pipeline(tmp_path_factory.mktemp("payments") / "pipeline", {}))
    return make_stages(
        pipeline,
        pipeline.decoder(),
        MemoryStore(),
        b"",
        lambda: SizeLimits(MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES),
        now_us=lambda: 1,
    )


def codes(processed: Processed) -> dict[int, str]:
    return {letter.position.offset: letter.code.value for letter in processed.dead_letters}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_record_alone_is_one_dead_letter(stages: Stages, bad: BadRecord) -> None:
    processed = stages(records([bad.value]))
    assert codes(processed) == {0: bad.code.value}
    assert processed.values == []


def test_bad_records_in_company_harm_no_neighbour(stages: Stages) -> None:
    good = [good_record(i) for i in range(len(BAD) + 1)]
    undisturbed = stages(records(list(good)))
    mixed: list[bytes | None] = [good[0]]
    for bad, neighbour in zip(BAD, good[1:], strict=True):
        mixed += [bad.value, neighbour]
    processed = stages(records(mixed))
    assert codes(processed) == {1 + 2 * i: bad.code.value for i, bad in enumerate(BAD)}
    # Equal but for the offset that each score names, which has one byte here as there.
    assert len(processed.values) == len(good)
    assert [v[:40] for v in processed.values] == [v[:40] for v in undisturbed.values]


def test_a_message_holds_no_payload(stages: Stages) -> None:
    processed = stages(records([bad.value for bad in BAD]))
    for letter in processed.dead_letters:
        message = dict(letter.headers)[f"{HEADER_PREFIX}message"] or b""
        assert b"k-1" not in message
        assert b"c-1" not in message


def test_mutated_payloads_end_as_scores_or_dead_letters(stages: Stages, seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = [good_record(i) for i in range(50)] + [b.value for b in BAD if b.value]
    sound = [value for value in sound if len(value) < 1000]
    answered = scored = 0
    for _ in range(MUTATED // BATCH):
        values: list[bytes | None] = [
            _MUTATIONS[random.integers(len(_MUTATIONS))](sound[random.integers(len(sound))], random)
            for _ in range(BATCH)
        ]
        processed = stages(records(values))
        scored += len(processed.values)
        answered += len(processed.values) + len(processed.dead_letters)
    assert answered == MUTATED
    assert 0 < scored < MUTATED


def _flip(value: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(value)
    for _ in range(random.integers(1, 4)):
        out[random.integers(len(out))] ^= 1 << random.integers(8)
    return bytes(out)


def _cut(value: bytes, random: np.random.Generator) -> bytes:
    return value[: random.integers(len(value))]


def _insert(value: bytes, random: np.random.Generator) -> bytes:
    at = random.integers(len(value) + 1)
    return value[:at] + random.bytes(int(random.integers(1, 12))) + value[at:]


def _delete(value: bytes, random: np.random.Generator) -> bytes:
    at = random.integers(len(value))
    return value[:at] + value[at + random.integers(1, 8) :]


def _noise(value: bytes, random: np.random.Generator) -> bytes:
    return value[:5] + random.bytes(int(random.integers(0, 200)))


Mutation = Callable[[bytes, np.random.Generator], bytes]
_MUTATIONS: list[Mutation] = [_flip, _cut, _insert, _delete, _noise]
