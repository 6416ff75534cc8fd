"""A child process that looks at a model, so that no model can harm this one.

A damaged model file can end the process that loads it, take all its memory or all its time. The
child has bounds on all three; however it ends, here it is an answer or a refusal with its reason.
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
    """What a verification may take.

    seconds: from the start of the child to its answer. bytes: memory beyond the libraries'.
    """

    seconds: float = 60.0
    bytes: int = 512 * 1024 * 1024


DEFAULT_LIMITS = Limits()


def ask(task: Literal["verify", "save"], path: Path, how: str, limits: Limits) -> Any:
    """What the child says of the bundle or the model file at `path`.

    how: `verify` it on that device, or `save` it as that file.

    Raises BundleRefusedError with the reason: the child's own, a limit, or how it ended.
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
    """The refusal of an answer that is none."""
    return BundleRefusedError(
        f"{path}: the process that verified it gave an answer that cannot be read ({error}); "
        f"{_AGAIN}"
    )


_AGAIN = "write the bundle again"


@dataclass(frozen=True, slots=True)
class _Ended:
    """status: None where the time was over, else as in `subprocess`."""

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
    """What comes of both pipes until they close, a bounded part of each.

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
    """How a child ended that did not come to its end, and what to do."""
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
