"""Progress of downloads and slow starts on stderr: a bar on a terminal, one line in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def fetching(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a download of ``total`` bytes; yield a function that takes the bytes received."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"Fetching {title}: {total / 1e6:.0f} MB", soft_wrap=True, highlight=False)
        yield lambda _: None
        return
    columns = (TextColumn("Fetching {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda received: progress.advance(task, received)


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
