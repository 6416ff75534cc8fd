"""Running schedules: one by one, silently or with a journal, of the worker or of a bug in it."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import structlog

from tests.search.world import World

_CLOCKED = ("events_per_s", "seconds_left")
"""Values in the worker's log that are of real time."""


def run_schedule(seed: int, *, note: Callable[[str], None] | None = None) -> None:
    """Run one schedule.

    Args:
        seed: Seed of the schedule.
        note: Takes the lines of the journal, those of the worker's log included; None for silence.

    Raises:
        Exception: The schedule has failed.
    """
    world = World(seed, note=note or _nothing)
    with _names_by(seed), _logs_to(world.say if note else _nothing):
        world.run()


def first_failure(seeds: Iterable[int]) -> tuple[int, Exception] | None:
    """The first of some schedules that fails, and its error; None if none does."""
    for seed in seeds:
        try:
            run_schedule(seed)
        except Exception as error:  # noqa: BLE001 - a bug may show in any error
            return seed, error
    return None


@contextmanager
def _names_by(seed: int) -> Iterator[None]:
    """Draw the random names and keys of histories by the seed: the worker's log shows them."""
    rng = random.Random(f"names {seed}")

    def token_hex(length: int) -> str:
        return rng.randbytes(length).hex()

    with (
        mock.patch.object(secrets, "token_hex", token_hex),
        mock.patch.object(secrets, "token_bytes", rng.randbytes),
    ):
        yield


@contextmanager
def _logs_to(say: Callable[[str], None]) -> Iterator[None]:
    """Write the worker's log to the journal."""

    def write(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        name = event.pop("event")
        for of_the_clock in _CLOCKED:
            event.pop(of_the_clock, None)
        say(f"log: {name} {', '.join(f'{key}={value}' for key, value in event.items())}")
        raise structlog.DropEvent

    before = structlog.get_config()
    # Without a journal, nothing is formatted.
    lowest = logging.CRITICAL if say is _nothing else logging.DEBUG
    structlog.configure(
        processors=[write], wrapper_class=structlog.make_filtering_bound_logger(lowest)
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _nothing(_: str) -> None:
    pass
