"""Progress on stderr: bars on a terminal; for slow starts and downloads a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yield a function that takes the amounts done and in total."""
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


@contextmanager
def fetching(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a download of ``total`` bytes; yield a function that takes the bytes received."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"Downloading {title}: {total / 1e6:.0f} MB", soft_wrap=True, highlight=False)
        yield lambda _: None
        return
    columns = (TextColumn("Downloading {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as shown:
        task = shown.add_task(title, total=total)
        yield lambda received: shown.advance(task, received)


@contextmanager
def doing(title: str) -> Iterator[None]:
    """Show on stderr that a step is running which takes seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(title, soft_wrap=True, highlight=False)
        yield
        return
    with console.status(title):
        yield


def _bar(text: str, *more: ProgressColumn) -> Progress:
    return Progress(
        TextColumn(text),
        BarColumn(),
        MofNCompleteColumn(),
        *more,
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )
