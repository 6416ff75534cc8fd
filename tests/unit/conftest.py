"""Guard of the unit tier: a test that starts a process, opens a connection or trains a model fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

HERE = Path(__file__).parent
FORBIDDEN = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
}
_in_unit_test = False


def _refuse(event: str, arguments: tuple[Any, ...] = ()) -> None:
    if _in_unit_test and event in FORBIDDEN:
        pytest.fail(f"a unit test may not {event} {arguments!r:.200}: move it to tests/process")


# An audit hook sees every way that Python has to a process or a socket; it cannot be removed again.
sys.addaudithook(_refuse)


def _refuse_training(*_: object, **__: object) -> None:
    pytest.fail("a unit test may not train a model: move it to tests/process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    # Unlike those of setup and call, this hook sees the tests of other folders too.
    global _in_unit_test  # noqa: PLW0603 - the audit hook has no other way to know
    if HERE not in item.path.parents:
        return (yield)
    _in_unit_test = True
    try:
        # Importing XGBoost for this would take a second.
        imported = "xgboost" in sys.modules
        with mock.patch("xgboost.train", _refuse_training) if imported else nullcontext():
            return (yield)
    finally:
        _in_unit_test = False
