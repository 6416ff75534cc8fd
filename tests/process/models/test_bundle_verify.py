"""A bundle proves itself in a child process, whose every end is an answer or a refusal."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import BundleRefusedError
from models.bundle import Limits, load_bundle, verify
from tests.support.bundles import edit_manifest, edit_model, sum_again, trees_in
from tests.support.small_model import NAMES, FakeFeatureSet, feature_set, reference

process: Any = importlib.import_module("models.sandbox.process")
FEATURES = feature_set(*NAMES).features


def test_a_bundle_that_holds_is_verified(folder: Path) -> None:
    verified = verify(folder, expected=FEATURES)
    bundle = load_bundle(folder, proven=verified.sums)
    assert (verified.name, verified.version, verified.device) == ("demo", "1", "cpu")
    assert verified.features == bundle.features
    assert verified.sums == bundle.sums


def test_neither_the_current_folder_nor_its_modules_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(folder.parent)
    assert verify(Path("bundle"), device="auto").name == "demo"


def test_a_wider_set_is_served_and_one_that_lacks_or_changes_a_feature_is_not(folder: Path) -> None:
    verify(folder, expected=feature_set("new", *reversed(NAMES)).features)
    with pytest.raises(BundleRefusedError, match="does not define hour, which the model demo 1"):
        verify(folder, expected=feature_set("amount", "avg_amount", "risk").features)
    other = FakeFeatureSet([reference(n, "changed" if n == "hour" else "") for n in NAMES])
    with pytest.raises(BundleRefusedError, match="on other definitions of hour; restore"):
        verify(folder, expected=other.features)


def truncated(folder: Path) -> None:
    path = folder / "model.ubj"
    path.write_bytes(path.read_bytes()[:-100])


def half_copied(folder: Path) -> None:
    (folder / "golden_margins.npy").unlink()


def reversed_columns(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["features"].reverse())


def cycle(folder: Path) -> None:
    """XGBoost loads it, and would score a row that comes there for ever."""

    def change(model: dict[str, Any]) -> None:
        tree = trees_in(model)[0]
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and node:
                tree["left_children"][node] = tree["right_children"][node] = node

    edit_model(folder, change)


def infinite_leaf(folder: Path) -> None:
    def change(model: dict[str, Any]) -> None:
        tree = trees_in(model)[0]
        tree["split_conditions"][tree["left_children"].index(-1)] = np.inf

    edit_model(folder, change)


def greedy(folder: Path) -> None:
    """An array that says to be of eight billion numbers."""
    path = folder / "model.ubj"
    content = path.read_bytes()
    at = content.index(b"split_conditions[$d#L") + len(b"split_conditions[$d#L")
    path.write_bytes(content[:at] + (2**33).to_bytes(8, "big") + content[at + 8 :])
    sum_again(folder)


def too_large(folder: Path) -> None:
    os.truncate(folder / "model.ubj", 2**30)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, r"model\.ubj: has the SHA-256"),
        (
            half_copied,
            r"golden_margins\.npy named in SHA256SUMS but not there; copy the bundle again",
        ),
        (reversed_columns, "or in another order"),
        (cycle, "more than one path to it|child that is not a node"),
        (infinite_leaf, "a leaf that is not a finite number"),
        (greedy, "a count of 8589934592 goes beyond the end"),
        (too_large, r"model\.ubj 1,073,741,824 of them; a bundle may have 536,870,912: write"),
    ],
)
def test_a_damaged_bundle_is_refused_with_its_reason(
    folder: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(folder)
    with pytest.raises(BundleRefusedError, match=said):
        verify(folder)


def test_a_bundle_that_needs_more_memory_than_is_allowed_is_refused(folder: Path) -> None:
    (folder / "report.html").write_bytes(b"\x00")
    os.truncate(folder / "report.html", 100 * 2**20)
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=r"more than 33,554,432 bytes of memory; .*max_by"):
        verify(folder, limits=Limits(bytes=32 * 2**20))
    verify(folder)


def child_that(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "answer that cannot be read"),
        ("print('hello')", "answer that cannot be read"),
        ("print('[]')", "answer that cannot be read"),
        ("print('{}')", "answer that cannot be read"),
        ("print('{\"refused\": 1}'); print()", "answer that cannot be read"),
        ("print('{\"proven\": {}}')", "answer that cannot be read"),
        ("print('{\"other\": 1}')", "answer that cannot be read"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\n')", "answer that cannot be read"),
        (
            "import sys; print('{}'); sys.exit('no')",
            "failed with status 1, and printed: no; check",
        ),
        ("import os; os.kill(os.getpid(), 11)", "ended the process that verified it with SIGSEGV"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "with SIGKILL; the model is damaged, or memory is short",
        ),
        ("import os; os.kill(os.getpid(), 40)", "with signal 40|with SIG"),
        ("import os; os.abort()", "with SIGABRT"),
        ('print(\'{"refused": "because"}\')', "^because$"),
    ],
)
def test_however_the_child_ends_it_is_a_refusal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(process, "COMMAND", child_that(code))
    with pytest.raises(BundleRefusedError, match=said):
        verify(folder)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(600)",
        "while True: pass",
        "while True: print('x' * 1000)",
        "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
        "import os, time; os.close(1); os.close(2); time.sleep(600)",
    ],
)
def test_a_child_that_hangs_is_ended_in_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(process, "COMMAND", child_that(code))
    children: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
        children.append(real(*arguments, **settings))
        return children[-1]

    real = subprocess.Popen
    monkeypatch.setattr(process.subprocess, "Popen", start)
    started = time.monotonic()
    with pytest.raises(BundleRefusedError, match=r"took more than 0\.5 s; .*verify_timeout_s"):
        verify(folder, limits=Limits(seconds=0.5))
    assert time.monotonic() - started < 10
    assert [child.returncode for child in children] == [-signal.SIGKILL]


def test_verify_says_that_no_process_can_be_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COMMAND", [str(folder / "nothing")])
    with pytest.raises(BundleRefusedError, match="no process could be started"):
        verify(folder)


def in_the_child(
    change: str,
    folder: str = "folder",
    seconds: float = 60,
    memory: int = 2**26,
    parent: int | None = None,
) -> tuple[int, str, str]:
    """Run the child's own code, changed; its status, answer and last words.

    change: statements before it begins; a `prove` that they define takes the place of its own.
    """
    code = (
        f"import models.sandbox.child as child\n{change}\n"
        "child.prove = globals().get('prove', child.prove)\nchild.main()"
    )
    ended = subprocess.run(
        [
            *child_that(code),
            *("verify", folder, "cpu", str(seconds), str(memory), str(parent or os.getpid())),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def refused(change: str, folder: str = "folder") -> tuple[str, str]:
    status, answer, words = in_the_child(change, folder)
    assert status == 0, words
    return json.loads(answer)["refused"], words


@pytest.mark.skipif(sys.platform != "linux", reason="the child is bound to its parent on Linux")
def test_the_child_of_a_process_that_has_ended_looks_at_nothing() -> None:
    assert in_the_child("def prove(*_): return 1")[:2] == (0, '{"proven": 1}\n')
    assert in_the_child("def prove(*_): return 1", parent=2**22 + 1)[:2] == (1, "")


def test_the_child_ends_itself_when_its_time_is_over() -> None:
    spin = "def prove(*_):\n    while True: pass"
    assert in_the_child(spin, seconds=1.5)[0] in (-14, -24)
    sleep = "def prove(*_):\n    import time; time.sleep(600)"
    assert in_the_child(sleep, seconds=1.5)[0] == -14


def test_the_child_bounds_its_memory_beyond_the_libraries() -> None:
    said, _ = refused("def prove(*_): return bytearray(2**26 + 2**24)")
    assert "needs more than 67,108,864 bytes" in said
    status, answer, _ = in_the_child("def prove(*_): return len(bytearray(2**25))")
    assert (status, json.loads(answer)) == (0, {"proven": 2**25})


BACKEND = (
    "import sys; sys.modules['sklearn'] = None\n"
    "import numpy as np; from models.backend.xgboost_backend import XgboostBackend\n"
    "margins = XgboostBackend.margins; contributions = XgboostBackend.contributions\n"
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "XgboostBackend.margins = lambda s, m: margins(s, m) + np.float32(len(m) == 1)",
            "each vector alone: gives other margins for 128 of 128",
        ),
        (
            "XgboostBackend.margins = lambda s, m: margins(s, m) + np.float32(len(m) > 1000)",
            "each vector among many: gives other margins for 128 of 128",
        ),
        (
            "XgboostBackend.contributions = lambda s, m: contributions(s, m) * np.nan",
            "its scores cannot be explained",
        ),
    ],
)
def test_margins_have_to_be_the_same_alone_and_among_many(
    folder: Path, change: str, said: str
) -> None:
    assert said in refused(BACKEND + change, str(folder))[0]


def test_the_verifying_child_prints_its_answer_alone() -> None:
    said, words = refused("def prove(*_):\n    print('loading'); raise RuntimeError('odd')")
    assert said == "folder: RuntimeError: odd"
    assert "loading" in words


def test_the_child_does_without_scikit_learn() -> None:
    look = "import sys\ndef prove(*_): return sorted(m for m in sys.modules if 'klearn' in m)"
    _, answer, _ = in_the_child(look)
    assert json.loads(answer) == {"proven": ["sklearn", "xgboost.sklearn"]}


@pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's")
def test_the_child_does_without_compiled_loops(folder: Path) -> None:
    look = (
        "import sys\nfrom models.sandbox.child import prove as real\n"
        "def prove(*given): return real(*given) and [m for m in sys.modules if m == 'numba']"
    )
    _, answer, _ = in_the_child(look, str(folder))
    assert json.loads(answer) == {"proven": []}


def test_the_child_gives_way_to_the_worker() -> None:
    look = (
        "import os, resource\n"
        "def prove(*_):\n"
        "    return [os.nice(0), open('/proc/self/oom_score_adj').read().strip(),\n"
        "        resource.getrlimit(resource.RLIMIT_CORE)[0]]"
    )
    _, answer, _ = in_the_child(look)
    assert json.loads(answer) == {"proven": [os.nice(0) + 5, "1000", 0]}
