"""A short run of the hostile command, as `make hostile` runs it; and the command sees what is wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.commands.hostile import FAULTS
from tests.support.hostile_round import RUN, STARTS, Round
from tests.support.rig import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SECONDS = 15
LIMIT_S = 280.0
BUGGY = ("tests.support.buggy_worker",)
NO_WORKER = ("tests.support.no_worker",)
PlayRound = Callable[..., "Counter[str]"]


class Calm(random.Random):
    """Draws ordinary records, exactly once in small micro-batches, and topics that refuse none."""

    def random(self) -> float:
        return 0.6


@pytest.fixture
def play(tmp_path: Path, kafka: Any, redis_url: str) -> PlayRound:
    def play_round(program: Sequence[str], patience_s: float = 60.0) -> Counter[str]:
        played = Round(
            tmp_path / f"calm-{uuid.uuid4().hex[:8]}",
            (kafka.bootstrap, redis_url),
            Calm(1),
            print,
            program=program,
            patience_s=patience_s,
        )
        result = played.play()
        played.remove()
        assert result.counts["records"] == result.sent["headers: plain"] > 0
        return result.counts

    return play_round


def test_every_hostile_record_has_its_one_answer(seed: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "tests/commands/hostile.py",
            "--seconds",
            str(SECONDS),
            "--seed",
            str(seed),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {name: result[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), done.stderr
    assert result["records"] > 300
    assert min(result["scores"], result["dead_letters"]) > 50
    assert result["scores"] + result["dead_letters"] == result["records"] + result["repeated"]


def test_ordinary_records_are_scored(play: PlayRound) -> None:
    counts = play(RUN)
    assert counts["scores"] == counts["records"]
    assert {name: counts[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)


def test_records_that_are_committed_without_an_answer_are_lost(play: PlayRound) -> None:
    counts = play((*BUGGY, "--bug", "commit_before_produce", "--at", "between"))
    assert counts["lost"] == counts["records"] - counts["scores"] > 0
    assert counts["crashes"] == 1
    assert (counts["stuck"], counts["duplicated"]) == (0, 0)


def test_a_worker_that_does_nothing_is_stuck(play: PlayRound) -> None:
    counts = play((*NO_WORKER, "sleeps"), patience_s=1.0)
    assert counts["stuck"] == counts["records"]
    assert (counts["crashes"], counts["lost"]) == (0, 0)


@pytest.mark.parametrize(("status", "starts"), [(3, STARTS), (2, 1)])
def test_a_worker_that_ends_again_and_again_is_stuck(
    play: PlayRound, status: int, starts: int
) -> None:
    counts = play((*NO_WORKER, str(status)))
    assert counts["stuck"] == counts["records"]
    assert (counts["crashes"], counts["tracebacks"]) == (starts, 0)


def test_a_traceback_in_the_log_is_counted(play: PlayRound) -> None:
    counts = play((*NO_WORKER, "raises"))
    assert counts["tracebacks"] == counts["crashes"] == STARTS
