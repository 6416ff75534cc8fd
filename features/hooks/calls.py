"""Calls into a file of hooks: contain its exceptions, and refuse imports of other files beside it.

Containment is against mistakes. A hook runs with the rights of the process: ``os._exit``, threads,
``ctypes`` and ``exec`` of text that it has read itself are out of reach here.
"""

from __future__ import annotations

import functools
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from base.errors import HookRaisedError

T = TypeVar("T")

_SHOWN_CHARACTERS = 300
_INSTALLED = ("stdlib", "purelib", "platlib")


class HookFile:
    """A file of hooks.

    Args:
        path: Path of the file, as features.yaml gives it.
        folder: Folder of features.yaml, resolved.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self._folder = folder
        roots = (Path(sysconfig.get_path(name)).resolve() for name in _INSTALLED)
        self._installed = [root for root in roots if root.is_relative_to(folder)]
        _watch()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that is, or calls, code of this file, and return its result.

        Raises:
            HookRaisedError: The function raised an exception, SystemExit and a KeyboardInterrupt of
                its own included.
            KeyboardInterrupt: The user pressed Ctrl-C meanwhile.
        """
        interrupts = _Interrupts()
        outer, _running.file = _running.file, self
        try:
            interrupts.begin()
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001  no hook ends the process
                if interrupts.came:
                    raise KeyboardInterrupt from None
                raise HookRaisedError(error) from None
            if interrupts.came:
                raise KeyboardInterrupt
            return result
        finally:
            _running.file = outer
            interrupts.end()

    def words(self, raised: HookRaisedError) -> str:
        """Describe the exception in one line, with the last line of this file in its traceback."""
        error = raised.error
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == str(self.path)]
        where = f" ({self.path.name}, line {lines[-1]})" if lines else ""
        text = self.text(raised)
        return f"{type(error).__name__}{f': {text}' if text else ''}{where}"

    def text(self, raised: HookRaisedError) -> str:
        """The exception's message on one line, cut and printable; "" if there is none to show."""
        try:
            text = self.run(lambda: " ".join(str(raised.error).split()))
        except HookRaisedError:
            return ""
        cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        return "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut
        )

    def refuse_beside(self, name: str) -> None:
        """Raise ImportError if ``name``, whose code is about to run, is another file in the folder.

        Args:
            name: File name of the code.
        """
        if name == str(self.path):
            return
        try:
            file = Path(name).resolve()
            beside = file.is_relative_to(self._folder) and file.is_file()
        except (OSError, ValueError, RuntimeError):
            return
        if beside and not any(file.is_relative_to(root) for root in self._installed):
            raise ImportError(
                f"{file.name} lies beside it, which no fingerprint covers; put what it needs into "
                f"{self.path.name}"
            )


class _Interrupts:
    """Ctrl-C while a hook runs, as distinct from a KeyboardInterrupt that the hook raises itself.

    It is watched only where Python's own handler would raise; a worker's handlers do not raise.
    """

    def __init__(self) -> None:
        self.came = False
        self._watched = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def begin(self) -> None:
        if self._watched:
            signal.signal(signal.SIGINT, self._note)

    def end(self) -> None:
        if self._watched:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt


class _Running(threading.local):
    """Hook file whose code this thread runs."""

    file: HookFile | None = None


_running = _Running()


@functools.cache
def _watch() -> None:
    """Audit all code that a hook runs. The audit hook stays until the process ends."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    file = _running.file
    if file is None:
        return
    if event == "exec":  # of a module's code, however it was found
        name = getattr(arguments[0], "co_filename", "<")
    elif event == "import":  # the file is named for extension modules only
        name = arguments[1] or "<"
    else:
        return
    if not str(name).startswith("<"):
        file.refuse_beside(str(name))
