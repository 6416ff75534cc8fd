"""A bundle proves itself in a process of its own, so that no bundle can harm this one.

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
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from models.bundle.load import columns_in
from models.bundle.manifest import FeatureRef, NamedFeature
from models.bundle.refusal import BundleRefusedError

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-m", "models.bundle_child")
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


class Verified(BaseModel):
    """What a bundle has proven. sums: the SHA-256 of its SHA256SUMS, for `load_bundle`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    version: str
    features: tuple[FeatureRef, ...]
    sums: str
    device: str


def verify(
    path: Path,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: str = "cpu",
    limits: Limits = Limits(),
) -> Verified:
    """Have a child process load the bundle at `path` and score its golden vectors.

    expected: the features, in matrix order, that it is to serve; None: any.
    device: `cpu`; `cuda`: there as well; `auto`: there as well where there is a GPU.

    Raises BundleRefusedError with the reason: that of `load_bundle`, other features, a limit, or
    how the child ended.
    """
    arguments = [str(path.absolute()), device, repr(limits.seconds), str(limits.bytes)]
    ended = _run([*COMMAND, *arguments], limits.seconds)
    said = _answer(ended.answer, path) if ended.status == 0 else None
    if said is None:
        raise BundleRefusedError(f"{path}: {_how(ended, limits)}")
    if "refused" in said:
        raise BundleRefusedError(str(said["refused"]))
    try:
        verified = Verified.model_validate_json(json.dumps(said["verified"]))
    except (ValidationError, KeyError) as error:
        raise BundleRefusedError(f"{path}: {_GARBAGE}; {_AGAIN}") from error
    if expected is not None:
        columns_in(verified.features, expected, path, f"{verified.name} {verified.version}")
    return verified


_GARBAGE = "the process that verified it gave an answer that cannot be read"
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


def _answer(text: bytes, path: Path) -> dict[str, Any]:
    """The one line of JSON that a child that came to an end gives. Raises BundleRefusedError."""
    try:
        said = json.loads(text)
        if not isinstance(said, dict) or len(said) != 1 or text.count(b"\n") != 1:
            raise ValueError("not one line with one object")
    except ValueError as error:
        raise BundleRefusedError(f"{path}: {_GARBAGE} ({error}); {_AGAIN}") from error
    return said


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
