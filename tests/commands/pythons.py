"""Run the short tests with every Python version of pyproject.toml that is installed.

`make pythons` runs them on the versions other than that of .venv, which `make test` uses. Each
version has its own environment with the packages of the lock. All use the broker and the store of
this process: the runtime of Java in a new environment has no profiles of Kafka, and a trial run that
makes some takes as long as the tests (decision 21).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.servers import Servers, ask

ROOT = Path(__file__).parents[2]
# Golden scores, also of a worker on Kafka and Valkey; then tests of what has differed between
# versions of Python (depth of parsing and recursion) or of XGBoost.
SHORT = (
    "tests/golden/test_replay.py",
    "tests/unit/features/test_definition.py",
    "tests/unit/features/test_expression.py",
    "tests/unit/features/test_python_hook.py",
    "tests/process/models/test_bundle_write.py",
    "tests/process/models/test_reasons.py",
    "tests/unit/schemas/test_files.py",
    "tests/unit/schemas/test_projection.py",
    "tests/unit/schemas/test_source.py",
)
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def named() -> list[str]:
    """Versions in the classifiers of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    matches = (re.fullmatch(r".* :: (3\.\d+)", each) for each in project["classifiers"])
    return [match[1] for match in matches if match]


def find(version: str) -> Path | None:
    """Interpreter of a version, from PATH or pyenv; None if there is none."""
    return next((each for each in _candidates(version) if version_of(each) == version), None)


def version_of(interpreter: Path) -> str:
    """Version of an interpreter; "" if it does not run, as can happen with a shim of pyenv."""
    try:
        said = subprocess.run(
            [interpreter, "-c", _VERSION], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return said.stdout.strip()


def _candidates(version: str) -> Iterator[Path]:
    for name in (f"python{version}", "python3"):
        on_path = shutil.which(name)
        if on_path is not None:
            yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the short tests; return 0 if they pass on all installed versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="fail if a version is not installed")
    needs_all = parser.parse_args(arguments).all
    own = ".".join(map(str, sys.version_info[:2]))
    passed: list[str] = []
    failed: list[str] = []
    absent: list[str] = []
    with closing(Servers()) as servers:
        for version in named():
            if version == own:
                continue
            interpreter = find(version)
            if interpreter is None:
                absent.append(version)
                continue
            print(f"Python {version}: {interpreter}", flush=True)
            (passed if _passes(interpreter, servers) else failed).append(version)
    print(f"make test is for Python {own}; short tests:", end=" ")
    outcomes = {"passed on": passed, "FAILED on": failed, "not found:": absent}
    print("; ".join(f"{said} {', '.join(them)}" for said, them in outcomes.items() if them))
    return 1 if failed or (absent and needs_all) else 0


def _passes(interpreter: Path, servers: Servers) -> bool:
    # The variables of the outer `make` must not affect the inner one.
    environment = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    environment["FRAUD_WORKER_TEST_KAFKA"] = ask(servers.address, "kafka")
    environment["FRAUD_WORKER_TEST_REDIS"] = ask(servers.address, "valkey")
    command = ["make", "test", f"PYTHON={interpreter}", "JOBS=2", f"ARGS={' '.join(SHORT)}"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
