"""Change the champion and the policy of a pipeline, to valid and to broken ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Literal, Self, cast, get_args

import yaml

from tests.support.image import image_path
from tests.support.rig import ROOT

Fault = Literal["YAML", "threshold", "field", "version"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
MODELS = "models"
"""Folder beside worker.yaml with all bundles, also those of a remote location."""

_CODES = {
    "AMOUNT": ["AMOUNT*", "SUM_*", "MEAN_*", "MAX_*", "LAST"],
    "PACE": ["NB_*", "SINCE_LAST"],
    "PLACE": ["TERMINAL*"],
}


class Champions:
    """A location of bundles, and a process that changes its champion with the project's own code.

    As a context manager it ends the process on exit.

    Args:
        trained: Folder that `tests.support.rig.train` has filled.
        folder: Folder to create with the bundles.
        url: Remote location to add them to; None to serve from the folder.

    Attributes:
        location: What the workers follow: the folder or the URL.
        good: Names of the valid bundles.
        broken: Names of the broken bundles.
    """

    def __init__(self, trained: Path, folder: Path, url: str | None = None) -> None:
        self.location = str(folder) if url is None else url
        command = [sys.executable, "-m", "tests.oracles.location", str(trained), str(folder)]
        command += [] if url is None else ["--at", url]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": image_path()},
        )
        names = json.loads(self._answer())
        self.good: list[str] = names["good"]
        self.broken: list[str] = names["broken"]

    def promote(self, name: str) -> str:
        """Promote a bundle, and return the new champion."""
        return self._ask(f"promote {name}")

    def rollback(self) -> str:
        """Roll back, and return the new champion."""
        return self._ask("rollback")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, line: str) -> str:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(line + "\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"tests.oracles.location ended with status {self._process.wait()}")
        return line.strip()


class Policies:
    """Writer of policy.yaml in a folder; valid policies are also archived for the oracle.

    Each policy has its own version, with random segments and reasons.

    Attributes:
        first: Version of the first policy.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._file = folder / "policy.yaml"
        self._archive = folder / "policies"
        self._archive.mkdir()
        self._draw = draw
        self._written = 0
        self.first = self.write_good()

    def write_good(self) -> str:
        """Write a valid policy, and return its version."""
        version = f"p{self._written}"
        text = _text(self._policy(version))
        (self._archive / f"{version}.yaml").write_text(text)
        self._write(text)
        return version

    def write_broken(self, fault: Fault) -> None:
        """Write a policy with one fault; ``version`` repeats the version of the first policy."""
        policy = self._policy(f"broken{self._written}")
        if fault == "threshold":
            policy["segments"][-1]["bands"]["decline"] = 1.5
        elif fault == "field":
            policy["segments"][0]["where"] = "chanel == 'pos'"
        elif fault == "version":
            policy["version"] = self.first
        text = _text(policy)
        self._write(text[: text.index("where")] + "[" if fault == "YAML" else text)

    def restore(self, version: str) -> None:
        self._write((self._archive / f"{version}.yaml").read_text())

    def _policy(self, version: str) -> dict[str, Any]:
        draw = self._draw
        codes = draw.sample(sorted(_CODES), draw.randint(1, len(_CODES)))
        return {
            "version": version,
            "segments": [
                {
                    "name": "large",
                    "where": f"amount >= {draw.randint(40, 200)}",
                    "bands": self._bands(),
                },
                # A field that is used nowhere else.
                {
                    "name": "often",
                    "where": f"channel == 'other' and NB_6H > {draw.randint(1, 20)}",
                    "bands": self._bands(),
                },
                {"name": "rest", "bands": self._bands()},
            ],
            "reasons": {
                "max": draw.randint(1, 4),
                "catalogue": {
                    code: {"features": features, "text": code.lower()}
                    for code, features in [*((c, _CODES[c]) for c in codes), ("REST", ["*"])]
                },
            },
        }

    def _bands(self) -> dict[str, float]:
        draw = self._draw
        return {"review": draw.uniform(0.5, 0.8), "decline": draw.uniform(0.8, 0.99)}

    def _write(self, text: str) -> None:
        """Replace the file by rename; its content always changes."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"# change {self._written}\n{text}")
        beside.replace(self._file)
        self._written += 1


def _text(policy: dict[str, Any]) -> str:
    return yaml.safe_dump(policy, sort_keys=False)
