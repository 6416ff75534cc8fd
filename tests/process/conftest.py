"""Verification of bundles without a child process, for tests whose subject is another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.sandbox import child, process


@pytest.fixture
def verified_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify bundles by the child's code in this process: its start takes half a second of CPU.

    tests/process/models/test_bundle_verify.py proves the child itself. A COMMAND that a test has
    put in its place is started all the same.
    """
    own, start = process.COMMAND, process._run

    def run(command: Sequence[str], seconds: float) -> process._EndedChild:
        if own != process.COMMAND or command[len(own)] != "verify":
            return start(command, seconds)
        task, path, how, _, memory, _ = command[len(own) :]
        said = child._outcome(task, Path(path), how, int(memory))
        return process._EndedChild(0, json.dumps(said).encode() + b"\n", "")

    monkeypatch.setattr(process, "_run", run)
    monkeypatch.setattr(child, "_bound_memory", lambda _: lambda: None)
