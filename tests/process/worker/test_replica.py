"""Names of replicas are unique, and so are the transactional ids that are made of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from worker.process.replica import claim_replica, transactional_id, transactional_prefix

HOST = socket.gethostname()
# Short names over the characters that separate parts, or could; surrogates come of environments
# that are not UTF-8.
NAMES = st.text(st.sampled_from("a/1-%2F.é \ud800"), min_size=1, max_size=6) | st.text(
    min_size=1, max_size=20
)
TRIPLES = st.tuples(NAMES, NAMES, st.integers(0, 12))


@given(TRIPLES, TRIPLES, st.booleans(), st.booleans())
def test_transactional_ids_of_different_triples_differ(
    one: tuple[str, str, int], other: tuple[str, str, int], check: bool, check_other: bool
) -> None:
    same = (one, check) == (other, check_other)
    ids = transactional_id(*one, check=check), transactional_id(*other, check=check_other)
    assert (ids[0] == ids[1]) is same


@given(TRIPLES)
def test_a_prefix_of_a_workers_id_covers_the_id_that_is_checked(
    triple: tuple[str, str, int],
) -> None:
    assert transactional_id(*triple, check=True).startswith(f"{transactional_id(*triple)}/")


def test_names_that_share_their_letters_have_ids_of_their_own() -> None:
    assert transactional_id("G", "x-1", 0) != transactional_id("G-x", "1", 0)
    assert transactional_id("G", "x/1", 0) != transactional_id("G/x", "1", 0)
    assert transactional_id("G", "x", 10) != transactional_id("G", "x/1", 0)
    assert transactional_id("G", "%2F", 0) != transactional_id("G", "/", 0)
    assert transactional_id("fraud-worker", "host-0", 0) == "fraud-worker/host-0/0"


@given(TRIPLES, NAMES)
def test_the_prefix_is_that_of_the_group_and_of_no_other(
    triple: tuple[str, str, int], group: str
) -> None:
    assert transactional_id(*triple).startswith(transactional_prefix(group)) is (group == triple[0])


@given(TRIPLES)
def test_an_id_is_printable_ascii(triple: tuple[str, str, int]) -> None:
    name = transactional_id(*triple)
    assert name.isascii()
    assert name.isprintable()
    assert " " not in name


def test_names_that_are_too_long_are_refused() -> None:
    longest = 32_767 - len("g//0")
    name = transactional_id("g", "r" * longest, 0)
    Producer({"bootstrap.servers": "127.0.0.1:1", "transactional.id": name, "log_level": 0})
    with pytest.raises(ConfigurationError, match=r"32,768 bytes.*; shorten them"):
        transactional_id("g", "r" * (longest + 1), 0)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_workers_of_a_group_take_the_lowest_numbers_that_are_free() -> None:
    with ExitStack() as stack:
        names = [stack.enter_context(claim_replica("g")) for _ in range(3)]
        assert names == [f"{HOST}-0", f"{HOST}-1", f"{HOST}-2"]
    with claim_replica("g") as name:
        assert name == f"{HOST}-0"


def test_replicas_of_another_group_count_by_themselves() -> None:
    with claim_replica("g") as one, claim_replica("g" * 400) as other:
        assert one == other == f"{HOST}-0"


@contextmanager
def claiming(group: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has claimed a name, and the name."""
    code = (
        "import sys, time\nfrom worker.process.replica import claim_replica\n"
        "with claim_replica(sys.argv[1]) as name:\n    print(name, flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, group], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_the_name_of_a_killed_worker_is_free_again() -> None:
    with claiming("g") as (process, name), claim_replica("g") as mine:
        assert (name, mine) == (f"{HOST}-0", f"{HOST}-1")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with claiming("g") as (_, again):
            assert again == f"{HOST}-0"


def test_a_child_of_the_worker_does_not_hold_its_name() -> None:
    with claim_replica("g"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with claim_replica("g") as name:
        assert name == f"{HOST}-0"
    child.communicate(b"\n")


def test_a_lock_file_that_was_deleted_under_the_lock_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = list[int](), os.open

    def cleaned(path: Path, flags: int, mode: int = 0o777) -> int:
        found = real(path, flags, mode)
        if not opened:
            path.unlink()
        opened.append(found)
        return found

    monkeypatch.setattr(os, "open", cleaned)
    with claim_replica("g") as name:
        assert name == f"{HOST}-0"
        (left,) = tmp_path.glob("fraud-worker.*.lock")
        assert left.stat().st_ino == os.fstat(opened[-1]).st_ino


def test_a_file_that_is_no_lock_of_ours_is_left_alone(tmp_path: Path) -> None:
    with claim_replica("g"):
        (path,) = tmp_path.glob("fraud-worker.*.lock")
    target = tmp_path / "target"
    path.unlink()
    path.symlink_to(target)
    with claim_replica("g") as name:
        assert name == f"{HOST}-1"
    assert not target.exists()


def test_a_lock_file_that_another_user_keeps_closed_counts_as_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with claim_replica("g"):
        (path,) = tmp_path.glob("fraud-worker.*.lock")
    real = os.open

    def refused(asked: Path, flags: int, mode: int = 0o777) -> int:
        if asked == path:
            raise PermissionError(13, "Permission denied")
        return real(asked, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    with claim_replica("g") as name:
        assert name == f"{HOST}-1"


def test_a_replica_without_a_writable_folder_is_told_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not-there"))
    with (
        pytest.raises(ConfigurationError, match=r"^replica: .*not-there.*; set replica to a name"),
        claim_replica("g"),
    ):
        pass
