"""Run a child process that verifies a model, so that a damaged model cannot harm this process.

A damaged model file can crash the process that loads it, or exhaust its memory or time. The child
has limits on memory and time. However it ends, the caller gets an answer, or a refusal with the
reason.
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
_MAX_STDERR = 64 * 1024
_SHOWN = 300
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a verification.

    Attributes:
        seconds: Time from the start of the child to its answer, in seconds.
        bytes: Memory in bytes, beyond that of the libraries.
    """

    seconds: float = 60.0
    bytes: int = 512 * 1024 * 1024


DEFAULT_LIMITS = Limits()


def run_child(
    task: Literal["verify", "save", "reduce"], path: Path, target: str, limits: Limits
) -> Any:
    """Run the child on a bundle or a model file.

    Args:
        task: `verify` a bundle, `save` a model file of XGBoost in its present format, or `reduce` a
            model file in ONNX to its score.
        path: The bundle's folder, or the model file.
        target: Device to verify on, file to save to, or folder with the request to `reduce`.
        limits: Limits of the child.

    Returns:
        The child's answer: the fields of `Verified`; after `save` those of `SavedModel`; after
        `reduce` the result of `reduce_onnx`.

    Raises:
        BundleRefusedError: with the reason: the child's refusal, an exceeded limit, or a crash.
    """
    arguments = [task, str(path), target, repr(limits.seconds), str(limits.bytes), str(os.getpid())]
    ended = _run([*COMMAND, *arguments], limits.seconds)
    if ended.status != 0:
        raise BundleRefusedError(f"{path}: {_describe_failure(ended, limits)}")
    try:
        ((outcome, answer),) = json.loads(ended.stdout).items()
        if outcome not in ("proven", "refused") or ended.stdout.count(b"\n") != 1:
            raise ValueError("not one line with one outcome")
    except (ValueError, AttributeError) as error:
        raise unreadable_answer(path, error) from error
    if outcome == "refused":
        raise BundleRefusedError(str(answer))
    return answer


def unreadable_answer(path: Path, error: Exception) -> BundleRefusedError:
    """Make the error for an answer that cannot be read."""
    return BundleRefusedError(
        f"{path}: the process that verified it gave an answer that cannot be read ({error}); "
        f"{_WRITE_AGAIN}"
    )


_WRITE_AGAIN = "write the bundle again"


@dataclass(frozen=True, slots=True)
class _EndedChild:
    """A child process that has ended.

    Attributes:
        status: Exit status as in `subprocess`; None if the time limit was exceeded.
        stdout: End of its stdout.
        stderr: End of its stderr.
    """

    status: int | None
    stdout: bytes
    stderr: str


def _run(command: Sequence[str], seconds: float) -> _EndedChild:
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
            stdout, stderr = _read(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            return _EndedChild(None, b"", "")
        finally:
            process.kill()
    return _EndedChild(status, stdout, stderr.decode(errors="replace"))


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Read stdout and stderr until they close, and keep a limited part of the end of each.

    Raises:
        TimeoutError: after the deadline, a time of `time.monotonic`.
    """
    stdout, stderr = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        if process.stdout and process.stderr:
            selector.register(process.stdout, selectors.EVENT_READ, (stdout, _MAX_ANSWER))
            selector.register(process.stderr, selectors.EVENT_READ, (stderr, _MAX_STDERR))
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            for key, _ in selector.select(remaining):
                part = os.read(key.fd, 65_536)
                if not part:
                    selector.unregister(key.fileobj)
                buffer, bound = key.data
                buffer += part
                del buffer[:-bound]
    return bytes(stdout), bytes(stderr)


def _describe_failure(ended: _EndedChild, limits: Limits) -> str:
    """Describe the failure of a child, and say what to do."""
    out_of_time = {-getattr(signal, name, 0) for name in ("SIGALRM", "SIGXCPU")}
    if ended.status is None or ended.status in out_of_time:
        return (
            f"verifying it took more than {limits.seconds:g} s; {_WRITE_AGAIN}, or raise "
            "model.verify_timeout_s"
        )
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    last_line = f", and printed: {lines[-1][:_SHOWN]}" if lines else ""
    if ended.status > 0:
        return (
            f"the process that verified it failed with status {ended.status}{last_line}; check "
            "that `fraud-worker model verify` works for another bundle"
        )
    number = -ended.status
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    return (
        f"loading it ended the process that verified it with {name}{last_line}; the model is "
        f"damaged, or memory is short: {_WRITE_AGAIN}"
    )
