"""The installed wheel, used from a folder that has packages named like those of the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer.main

from tests.packaging.test_image import BUILD, PACKAGES, ROOT
from tests.support.healthy import EVENT, SCHEMA, healthy_pipeline
from tests.support.replay import LOOKUPS
from tests.support.training_table import simulated, write_table
from tools.cli.commands import app
from tools.demo.prepare import simulate_files

MARK = "imported"
COMMAND_S = 300.0


@dataclass(frozen=True, slots=True)
class Installed:
    """The console script of an environment of its own, and the folder that it is run in."""

    program: Path
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, *arguments: object, status: int = 0) -> str:
        done = subprocess.run(
            [self.program, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        told = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, told
        assert [*self.folder.rglob(MARK)] == [], told
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment that sees the dependencies, and no other copy of the project."""
    place = tmp_path_factory.mktemp("install")
    context = place / "context"
    context.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, context)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, context / package)
    subprocess.run([*BUILD, "--wheel-dir", place, context], check=True)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", symlinks=True)
    python = place / "venv" / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-deps", "--no-index", "--disable-pip-version-check", wheel),
        ],
        check=True,
    )
    own = Path(sysconfig.get_path("purelib", vars={"base": str(place / "venv")}))
    # A folder that a .pth names is searched, but the .pth files in it are not read: those that
    # make this project's source importable.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n")
    folder = place / "shop"
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            f"from pathlib import Path\nPath(__file__).with_name({MARK!r}).touch()\n"
            "raise RuntimeError('a folder of the user was imported')\n"
        )
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FRAUD_WORKER_", "PYTHON"))
    }
    timeout = {"FRAUD_WORKER_DELIVERY__BROKER_TIMEOUT_S": "0.3"}
    return Installed(place / "venv" / "bin" / "fraud-worker", folder, inherited | timeout)


def commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


@pytest.mark.parametrize("names", [*commands(typer.main.get_command(app))], ids="-".join)
def test_the_help_of_each_command(installed: Installed, names: tuple[str, ...]) -> None:
    assert "Usage: fraud-worker" in installed.run(*names, "--help")


def test_the_modules_are_those_of_the_wheel(installed: Installed) -> None:
    python = installed.program.with_name("python")
    program = "import tools, worker, models.sandbox.process as p; print(tools.__file__, p.ROOT)"
    for options in (["-P", "-c", program], ["-I", "-c", program]):
        told = subprocess.run(
            [python, *options],
            cwd=installed.folder,
            env=installed.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert str(ROOT) not in told.stdout
        assert str(installed.program.parents[1]) in told.stdout


def test_a_pipeline_from_a_schema_to_its_check(installed: Installed) -> None:
    shutil.copy(SCHEMA, installed.folder / "event.avsc")
    installed.run("init", "new", "--schema", "event.avsc")
    installed.run("features", "check", "--pipeline", "new")
    installed.run("features", "show", "--pipeline", "new")
    found = installed.run("check", "--pipeline", "new", "--json", status=2)
    states = {f["check"]: f["state"] for f in json.loads(found)["findings"]}
    assert states["features.yaml"] == states["policy.yaml"] == "ok"


@pytest.mark.timeout(900)
def test_a_table_and_a_model(installed: Installed) -> None:
    data = installed.folder / "data"
    data.mkdir()
    simulate_files(data, 100)
    handbook = ROOT / "examples" / "handbook" / "features.yaml"
    files = ("--events", "data/live.parquet", "--set", handbook)
    built = installed.run("features", "build", *files, "--out", "data/built.parquet")
    assert json.loads(built)["rows"] > 0
    (event_id,) = pq.read_table(data / "live.parquet")["TRANSACTION_ID"][:1].to_pylist()
    assert installed.run("features", "explain", "TX_AMOUNT", event_id, *files)
    table = write_table(data / "table.parquet", simulated(days=2, a_day=1_500, delay=0))
    installed.run(
        *("train", "--features", table, "--out", "bundles/v1"),
        *("--delay", "0s", "--folds", 1, "--tries", 1, "--forest", 1, "--threads", 1),
    )
    packed = ("--name", "shop", "--version", "2", "--out", "bundles/v2")
    installed.run("model", "pack", "--model", "bundles/v1/model.ubj", *packed)
    installed.run("model", "show", "bundles/v1")
    for name in ("v1", "v2"):
        installed.run("model", "verify", f"bundles/{name}")
        installed.run("model", "promote", "bundles", name)
    installed.run("model", "rollback", "bundles")
    installed.run("model", "show", "bundles")


def test_scores_and_the_checks_of_a_pipeline(installed: Installed) -> None:
    healthy_pipeline(installed.folder / "payments")
    (installed.folder / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    scores = installed.run("score", "--pipeline", "payments", "--events", "events.jsonl")
    assert [json.loads(line)["event_id"] for line in scores.splitlines()] == ["t1"]
    found = installed.run("check", "--pipeline", "payments", "--json", status=2)
    states = {f["check"]: f["state"] for f in json.loads(found)["findings"]}
    assert states["model bundle"] == "ok"
    assert states["brokers"] == "failed"
    # As far as they go without servers: 1 is an outage, 2 a pipeline without windows.
    for status, *arguments in (
        (1, "features", "load", "customer_profile", LOOKUPS),
        (2, "features", "load-labels", "events.jsonl"),
        (2, "features", "state", "customer", "1"),
    ):
        installed.run(*arguments, "--pipeline", "payments", status=status)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--pipeline", "elsewhere"),
        ("model", "compare", "elsewhere", "elsewhere"),
        ("demo", "--pipeline", "elsewhere", "--events", "10"),
        ("dev", "up", "--topic", "no-number"),
    ],
    ids=" ".join,
)
def test_commands_of_servers_get_as_far_as_their_arguments(
    installed: Installed, arguments: tuple[str, ...]
) -> None:
    installed.run(*arguments, status=2)
