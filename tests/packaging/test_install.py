"""The installed wheel, used from a folder that has packages named like those of the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.packaging.test_image import BUILD, PACKAGES, ROOT
from tests.support.healthy import EVENT, SCHEMA, healthy_pipeline
from tests.support.training_table import simulated, write_table

MARK = "imported"
COMMAND_S = 300.0


@dataclass(frozen=True, slots=True)
class Installed:
    """The console script of an environment of its own, and the folder that it is run in."""

    program: Path
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, *arguments: object, status: int = 0) -> str:
        return self._run(self.program, *arguments, status=status)

    def python(self, *arguments: object) -> str:
        return self._run(self.program.with_name("python"), *arguments, status=0)

    def _run(self, program: Path, *arguments: object, status: int) -> str:
        done = subprocess.run(
            [program, *map(str, arguments)],
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


def test_the_program_helps(installed: Installed) -> None:
    assert "Usage: fraud-worker" in installed.run("--help")


# Commands import when they run: here all of them do, in one process.
def test_every_module_imports(installed: Installed) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py"}
    ]
    program = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]"
    installed.python("-P", "-c", program, *modules)


def test_the_modules_are_those_of_the_wheel(installed: Installed) -> None:
    program = "import tools, worker, models.sandbox.process as p; print(tools.__file__, p.ROOT)"
    for options in (["-P", "-c", program], ["-I", "-c", program]):
        told = installed.python(*options)
        assert str(ROOT) not in told
        assert str(installed.program.parents[1]) in told


def test_a_pipeline_from_a_schema_to_its_check(installed: Installed) -> None:
    shutil.copy(SCHEMA, installed.folder / "event.avsc")
    installed.run("init", "new", "--schema", "event.avsc")
    installed.run("features", "check", "--pipeline", "new")
    installed.run("features", "show", "--pipeline", "new")
    found = installed.run("check", "--pipeline", "new", "--json", status=2)
    states = {f["check"]: f["state"] for f in json.loads(found)["findings"]}
    assert states["features.yaml"] == states["policy.yaml"] == "ok"


@pytest.mark.timeout(900)
def test_a_model(installed: Installed) -> None:
    table = write_table(installed.folder / "table.parquet", simulated(days=2, a_day=500, delay=0))
    installed.run(
        *("train", "--features", table, "--out", "bundles/v1"),
        *("--delay", "0s", "--folds", 1, "--tries", 1, "--forest", 1, "--threads", 1),
    )
    installed.run("model", "verify", "bundles/v1")


def test_scores_of_a_pipeline(installed: Installed) -> None:
    healthy_pipeline(installed.folder / "payments")
    (installed.folder / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    scores = installed.run("score", "--pipeline", "payments", "--events", "events.jsonl")
    assert [json.loads(line)["event_id"] for line in scores.splitlines()] == ["t1"]


def test_a_worker_gets_as_far_as_its_pipeline(installed: Installed) -> None:
    installed.run("run", "--pipeline", "elsewhere", status=2)
