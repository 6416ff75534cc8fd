"""Progress bars on stderr, shown on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yield a function that takes the amounts done and in total."""
    from rich.progress import TimeRemainingColumn

    with _bar("{task.description}", TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for successive stages.

    Yields a function that takes the name of the stage and the amounts done and in total.
    """
    with _bar("{task.description:<11}") as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)


def _bar(text: str, *more: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn(text),
        BarColumn(),
        MofNCompleteColumn(),
        *more,
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )
