"""The Makefile against a Python that only writes down what it is asked to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Without what the `make` around this test hands down.
BARE = {"PATH": os.environ["PATH"]}
# Stands for the system's Python and, copied into the environment, for that one's own.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  -c*print*) echo "${VERSION:-3.99}" ;;
  --version) echo "Python 3.99" ;;
  "-m worker.warm_up") echo "python $*" >> "$LOG"; exit "${NO_KERNELS:-0}" ;;
  -c*version_info*) exit "${TOO_OLD:-0}" ;;
  "-m pip "*--version) exit "${NO_PIP:-0}" ;;
  *) echo "$(basename "$0") $*" >> "$LOG" ;;
esac
if [[ "$1 $2" == "-m venv" ]]; then
  rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
elif [[ "$2" == benchmarks* || "$1 $2" == *tests[./]* ]]; then
  echo '{"last": true}'
fi
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "locks", tmp_path / "locks")
    python = tmp_path / "system-python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "PYTHON=./system-python", *arguments],
        cwd=clone,
        env=BARE | {"LOG": "log"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def calls(clone: Path) -> list[str]:
    """What the two Pythons were asked since the last time, oldest first."""
    log = clone / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, env=BARE, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in shown.stdout.splitlines()] == phony[1].split()


def test_install_makes_the_environment_from_the_lock_once(clone: Path) -> None:
    installed = make(clone, "install")
    assert installed.returncode == 0
    assert installed.stderr.endswith("Compiling the kernels: some 20 seconds, once.\n")
    first = calls(clone)
    assert first[0] == "system-python -m venv --clear .venv"
    assert "-m pip" in first[1]  # of uv
    assert "--require-hashes -r locks/cpu.txt" in first[2]
    assert first[3].endswith("--no-deps --no-build-isolation -e .")
    assert first[4:] == ["python -m worker.warm_up"]

    again = make(clone, "install")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert calls(clone) == []


def test_kernels_that_do_not_compile_leave_the_installation_whole(clone: Path) -> None:
    installed = make(clone, "install", NO_KERNELS="1")
    assert installed.returncode == 0
    assert "The kernels are not compiled: the first start compiles them" in installed.stderr
    assert (clone / ".venv" / ".installed-cpu").exists()


def test_a_changed_lock_is_installed_into_the_same_environment(clone: Path) -> None:
    make(clone, "install")
    calls(clone)
    later = (clone / ".venv" / ".installed-cpu").stat().st_mtime + 10
    os.utime(clone / "locks" / "cpu.txt", (later, later))
    assert make(clone, "install").returncode == 0
    assert ["-m pip" in call for call in calls(clone)] == [True, True, True, False]


def test_a_half_made_environment_is_made_anew(clone: Path) -> None:
    make(clone, "install")
    (clone / ".venv" / ".installed-cpu").unlink()
    calls(clone)
    assert make(clone, "install", NO_PIP="1").returncode == 0
    assert calls(clone)[0] == "system-python -m venv --clear .venv"


def test_another_device_starts_anew_and_then_stays(clone: Path) -> None:
    make(clone, "install")
    calls(clone)
    assert make(clone, "install", "DEVICE=gpu").returncode == 0
    changed = calls(clone)
    assert changed[0] == "system-python -m venv --clear .venv"
    assert "-r locks/gpu.txt" in changed[2]

    make(clone, "bench")
    assert calls(clone) == ["python -m benchmarks"]


def test_the_proof_on_a_gpu_has_an_environment_of_its_own_and_needs_no_network(
    clone: Path,
) -> None:
    make(clone, "install")
    calls(clone)
    done = make(clone, "gpu", "WHEELS=wheels", "JSON=1", "RECORD=1")
    assert done.returncode == 0, done.stderr
    asked = calls(clone)
    assert asked[0] == "system-python -m venv --clear .venv-gpu"
    options = "--no-index --find-links wheels --require-hashes -r "
    assert options in asked[1]
    assert asked[2].endswith(f"{options}locks/gpu.txt")
    assert asked[-1] == "python -m benchmarks.gpu --json --record"
    assert done.stdout.splitlines() == ['{"last": true}']
    assert (clone / ".venv" / ".installed-cpu").exists()


def test_the_peers_have_an_environment_of_their_own_only_when_they_are_measured(
    clone: Path,
) -> None:
    make(clone, "bench")
    assert not any("peers" in call for call in calls(clone))
    assert make(clone, "bench", "SUITE=peers").returncode == 0
    made, installed, measured = calls(clone)
    assert made == "python -m venv --clear .venv-peers"
    assert "install --require-hashes -r locks/peers.txt" in installed
    assert measured == "python -m benchmarks --suite peers"
    assert make(clone, "bench", "SUITE=peers").returncode == 0
    assert calls(clone) == [measured]


def another_python(clone: Path) -> str:
    python = clone / "another-python"
    python.write_text(PYTHON.replace("${VERSION:-3.99}", "3.98"))
    python.chmod(0o755)
    return "PYTHON=./another-python"


def test_another_python_has_an_environment_beside_that_of_the_first(clone: Path) -> None:
    make(clone, "install")
    calls(clone)
    assert make(clone, "bench", another_python(clone)).returncode == 0
    asked = calls(clone)
    assert asked[0] == "another-python -m venv --clear .venv-3.98"
    assert "--require-hashes -r locks/cpu.txt" in asked[2]
    assert asked[-1] == "python -m benchmarks"
    assert (clone / ".venv-3.98" / ".installed-cpu").exists()

    assert make(clone, "install", "PYTHON=./system-python").returncode == 0
    assert make(clone, "install", another_python(clone)).returncode == 0
    assert calls(clone) == []


def test_the_uv_of_the_first_environment_installs_into_the_others(clone: Path) -> None:
    make(clone, "install")
    calls(clone)
    uv = clone / ".venv" / "bin" / "uv"
    uv.write_text('#!/usr/bin/env bash\necho "uv $*" >> "$LOG"\n')
    uv.chmod(0o755)
    assert make(clone, "install", another_python(clone)).returncode == 0
    install = "uv pip install --quiet --python .venv-3.98/bin/python "
    assert calls(clone)[1:] == [
        f"{install}--require-hashes -r locks/cpu.txt",
        f"{install}--no-deps --no-build-isolation -e .",
        "python -m worker.warm_up",
    ]


def test_pip_installs_the_uv_of_the_lock_and_uv_the_rest(clone: Path) -> None:
    """The first call of pip leaves a uv behind, as the real one does."""
    uv = '#!/usr/bin/env bash\necho "uv $*" >> "$LOG"'
    leave = f"""cat "${{@: -1}}" > uv.txt; echo '{uv}' > .venv/bin/uv; chmod +x .venv/bin/uv"""
    python = PYTHON.replace("  *) echo", f"  *install*/dev/fd/*) {leave} ;;\n  *) echo")
    (clone / "system-python").write_text(python)
    assert make(clone, "install").returncode == 0
    install = "uv pip install --quiet --python .venv/bin/python "
    assert calls(clone)[1:] == [
        f"{install}--require-hashes -r locks/cpu.txt",
        f"{install}--no-deps --no-build-isolation -e .",
        "python -m worker.warm_up",
    ]
    pinned, *hashes = (clone / "uv.txt").read_text().splitlines()
    assert pinned.startswith("uv==")
    assert hashes
    assert all(line.lstrip().startswith("--hash=sha256:") for line in hashes)


def test_the_first_environment_is_of_the_python_that_is_named(clone: Path) -> None:
    assert make(clone, "install", another_python(clone)).returncode == 0
    assert calls(clone)[0] == "another-python -m venv --clear .venv"
    without = subprocess.run(["make", "bench"], cwd=clone, env=BARE | {"LOG": "log"}, check=False)
    assert without.returncode == 0
    assert calls(clone) == ["python -m benchmarks"]


def test_a_python_that_does_not_run_is_refused(clone: Path) -> None:
    make(clone, "install")
    refused = make(clone, "test", "PYTHON=./no-python")
    assert refused.returncode != 0
    assert 'PYTHON is "./no-python", which does not run' in refused.stderr


def test_an_unknown_device_is_refused(clone: Path) -> None:
    refused = make(clone, "install", "DEVICE=tpu")
    assert refused.returncode != 0
    assert 'DEVICE is "tpu": use DEVICE=cpu or DEVICE=gpu' in refused.stderr


def test_an_old_python_is_refused_with_the_remedy(clone: Path) -> None:
    refused = make(clone, "install", TOO_OLD="1")
    assert refused.returncode != 0
    assert "Python 3.11 or later is needed" in refused.stderr
    assert "make install PYTHON=" in refused.stderr
    assert calls(clone) == []


def test_a_failed_install_is_tried_again(clone: Path) -> None:
    python = clone / "system-python"
    python.write_text(PYTHON.replace("case ", '[[ "$*" != *locks* ]] || exit 1\ncase ', 1))
    assert make(clone, "install").returncode != 0
    python.write_text(PYTHON)
    shutil.copy(python, clone / ".venv" / "bin" / "python")
    calls(clone)
    assert make(clone, "install").returncode == 0
    assert any("-r locks/cpu.txt" in call for call in calls(clone))


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["bench"], "python -m benchmarks"),
        (["bench", "JSON=1", "SUITE=late"], "python -m benchmarks --json --suite late"),
        (["bench", "RECORD=1"], "python -m benchmarks --record"),
        (["bench", "OUT=here"], "python -m benchmarks --out here"),
        (["chaos"], "python tests/commands/chaos.py --kills 20"),
        (["chaos", "KILLS=4", "SEED=7"], "python tests/commands/chaos.py --kills 4 --seed 7"),
        (["skew"], "python tests/commands/skew.py"),
        (
            ["skew", "FAULTS=4", "SEED=7", "EVENTS=9", "WITHOUT=all"],
            "python tests/commands/skew.py --faults 4 --seed 7 --events 9 --without all",
        ),
        (["swaps"], "python tests/commands/swaps.py --swaps 100"),
        (["swaps", "SWAPS=4", "SEED=7"], "python tests/commands/swaps.py --swaps 4 --seed 7"),
        (["hostile"], "python tests/commands/hostile.py --seconds 60"),
        (
            ["hostile", "SECONDS=9", "SEED=7"],
            "python tests/commands/hostile.py --seconds 9 --seed 7",
        ),
        (["bundles"], "python tests/commands/flips.py --flips 500"),
        (["bundles", "FLIPS=9", "SEED=7"], "python tests/commands/flips.py --flips 9 --seed 7"),
        (["properties"], "python -m tests.commands.properties --cases 20000"),
        (
            ["properties", "CASES=9", "SEED=7"],
            "python -m tests.commands.properties --cases 9 --seed 7",
        ),
    ],
)
def test_the_last_line_is_the_commands_own(clone: Path, arguments: list[str], call: str) -> None:
    make(clone, "install")
    calls(clone)
    done = make(clone, *arguments)
    assert done.returncode == 0, done.stderr
    assert calls(clone) == [call]
    assert json.loads(done.stdout.splitlines()[-1]) == {"last": True}
