"""The watchdog ends the process when a call overstays, and at no other time."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.fakes import Clock
from worker.process.watchdog import Watchdog


class Ended:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
def watchdog(clock: Clock, ended: Ended) -> Watchdog:
    return Watchdog(10.0, clock=clock, end=ended)


def test_a_call_within_its_limit_is_left_alone(
    watchdog: Watchdog, clock: Clock, ended: Ended
) -> None:
    watchdog.check()
    with watchdog.guard("commit"):
        clock.sleep(10.0)
        watchdog.check()
    clock.sleep(100.0)
    watchdog.check()
    assert ended.times == 0


def test_a_call_past_its_limit_ends_the_process_and_is_named(
    watchdog: Watchdog, clock: Clock, ended: Ended, capsys: pytest.CaptureFixture[str]
) -> None:
    with watchdog.guard("flush"):
        pass
    with watchdog.guard("commit_transaction"):
        clock.sleep(10.1)
        watchdog.check()
    assert ended.times == 1
    said = capsys.readouterr().out
    assert "commit_transaction" in said
    assert "flush" not in said


def test_each_guard_of_the_watchdog_has_its_own_limit(
    watchdog: Watchdog, clock: Clock, ended: Ended
) -> None:
    with watchdog.guard("outer"):
        clock.sleep(9.0)
        with watchdog.guard("inner"):
            clock.sleep(0.5)
        watchdog.check()
        assert ended.times == 0
        clock.sleep(0.6)
        watchdog.check()
    assert ended.times == 1


def test_a_call_that_fails_is_no_longer_guarded(
    watchdog: Watchdog, clock: Clock, ended: Ended
) -> None:
    with pytest.raises(ValueError, match="refused"), watchdog.guard("commit"):
        raise ValueError("refused")
    clock.sleep(100.0)
    watchdog.check()
    assert ended.times == 0


def test_the_whole_process_can_be_bounded(watchdog: Watchdog, clock: Clock, ended: Ended) -> None:
    watchdog.bound("drain", 20.0)
    with watchdog.guard("commit"):
        clock.sleep(5.0)
    clock.sleep(15.0)
    watchdog.check()
    assert ended.times == 0
    clock.sleep(0.1)
    watchdog.check()
    assert ended.times == 1


def test_repeated_signals_give_no_more_time(watchdog: Watchdog, clock: Clock, ended: Ended) -> None:
    for _ in range(3):
        watchdog.bound("drain", 20.0)
        clock.sleep(7.0)
    watchdog.check()
    assert ended.times == 1


def test_a_signal_handler_may_bound_the_process_while_a_call_is_being_guarded(
    ended: Ended,
) -> None:
    interrupted: list[bool] = []

    def clock() -> float:
        # Read under the watchdog's lock: here a signal may come.
        if not interrupted:
            interrupted.append(True)
            guarded.bound("drain", 1.0)
        return 0.0

    guarded = Watchdog(10.0, clock=clock, end=ended)
    with guarded.guard("commit"):
        guarded.check()
    assert interrupted
    assert ended.times == 0


def test_a_thread_of_its_own_looks(clock: Clock) -> None:
    ended = threading.Event()
    watchdog = Watchdog(0.01, clock=clock, end=ended.set)
    watchdog.start()
    with watchdog.guard("commit"):
        clock.sleep(1.0)
        assert ended.wait(20.0)


def test_the_end_of_the_process_has_its_own_exit_status(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    watchdog = Watchdog(10.0, clock=clock)
    with watchdog.guard("commit"):
        clock.sleep(11.0)
        watchdog.check()
    assert statuses == [70]
