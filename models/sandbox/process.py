"""Run a child process that verifies a model, so that no model can harm this process.

A damaged model file can end the process that loads it, take all its memory or all its time. The
child has bounds on all three; however it ends, the caller here gets an answer or a refusal with
its reason.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from base.errors import BundleRefusedError

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-m", "models.sandbox.child")
_MAX_ANSWER = 8 * 1024 * 1024
_MAX_LAST_WORDS = 64 * 1024
_SHOWN = 300
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a verification.

    Attributes:
        seconds: Time from the start of the child to its answer.
        bytes: Memory beyond that of the libraries.
    """

    seconds: float = 60.0
    bytes: int = 512 * 1024 * 1024


DEFAULT_LIMITS = Limits()


def ask(task: Literal["verify", "save"], path: Path, how: str, limits: Limits) -> Any:
    """Run the child on a bundle or a model file, and return its answer.

    Args:
        task: `verify` a bundle, or `save` a model file anew.
        path: The bundle's folder, or the model file.
        how: Device to verify on, or file to save to.
        limits: Limits of the child.

    Raises:
        BundleRefusedError: with the reason: the child's own, an exceeded limit, or a crash.
    """
    arguments = [task, str(path), how, repr(limits.seconds), str(limits.bytes), str(os.getpid())]
    ended = _run([*COMMAND, *arguments], limits.seconds)
    if ended.status != 0:
        raise BundleRefusedError(f"{path}: {_how(ended, limits)}")
    try:
        ((outcome, said),) = json.loads(ended.answer).items()
        if outcome not in ("proven", "refused") or ended.answer.count(b"\n") != 1:
            raise ValueError("not one line with one outcome")
    except (ValueError, AttributeError) as error:
        raise garbage(path, error) from error
    if outcome == "refused":
        raise BundleRefusedError(str(said))
    return said


def garbage(path: Path, error: Exception) -> BundleRefusedError:
    """Refusal for an answer that cannot be read."""
    return BundleRefusedError(
        f"{path}: the process that verified it gave an answer that cannot be read ({error}); "
        f"{_AGAIN}"
    )


_AGAIN = "write the bundle again"


@dataclass(frozen=True, slots=True)
class _Ended:
    """A child process that has ended.

    Attributes:
        status: Exit status as in `subprocess`; None where the time was over.
        answer: End of its stdout.
        last_words: End of its stderr.
    """

    status: int | None
    answer: bytes
    last_words: str


def _run(command: Sequence[str], seconds: float) -> _Ended:
    deadline = time.monotonic() + seconds
    environment = dict.fromkeys(_ONE_THREAD, "1")
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    )
    try:
        process = subprocess.Popen(  # noqa: S603  this package's own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise BundleRefusedError(
            f"no process could be started to verify the bundle ({error.strerror})"
        ) from error
    with process:
        try:
            answer, words = _read(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            return _Ended(None, b"", "")
        finally:
            process.kill()
    return _Ended(status, answer, words.decode(errors="replace"))


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Read stdout and stderr until they close, and keep a bounded part of the end of each.

    Raises TimeoutError.
    """
    answer, words = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        if process.stdout and process.stderr:
            selector.register(process.stdout, selectors.EVENT_READ, (answer, _MAX_ANSWER))
            selector.register(process.stderr, selectors.EVENT_READ, (words, _MAX_LAST_WORDS))
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                part = os.read(key.fd, 65_536)
                if not part:
                    selector.unregister(key.fileobj)
                kept, bound = key.data
                kept += part
                del kept[:-bound]
    return bytes(answer), bytes(words)


def _how(ended: _Ended, limits: Limits) -> str:
    """Describe the way a child failed, and say what to do."""
    out_of_time = {-getattr(signal, name, 0) for name in ("SIGALRM", "SIGXCPU")}
    if ended.status is None or ended.status in out_of_time:
        return (
            f"verifying it took more than {limits.seconds:g} s; {_AGAIN}, or raise "
            "model.verify_timeout_s"
        )
    lines = [line for line in ended.last_words.splitlines() if line.strip()]
    words = f", with the words: {lines[-1][:_SHOWN]}" if lines else ""
    if ended.status > 0:
        return (
            f"the process that verified it failed with status {ended.status}{words}; see that "
            "`fraud-worker model verify` works for another bundle"
        )
    number = -ended.status
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    return (
        f"loading it ended the process that verified it with {name}{words}; the model is damaged, "
        f"or memory is short: {_AGAIN}"
    )
