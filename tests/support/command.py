"""Command line of the long-running tests: seed, scratch folder and exit status."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Play = Callable[[Path, int, int], tuple[dict[str, Any], bool]]
"""Called with a folder, a count and a seed; returns the result, and True if all checks passed."""


def command(about: str | None, what: str, count: int, meaning: str, play: Play) -> int:
    """Parse the command line, play, and print the result as JSON.

    The folder is kept and printed unless all checks passed.

    Args:
        about: Docstring whose first line describes the command.
        what: Name of the option for the count.
        count: Default of the count.
        meaning: Help text of the count.
        play: Function that runs the test.

    Returns:
        Exit status: 0 if all checks passed, else 1.
    """
    return run(parser(about, what, count, meaning).parse_args(), what, play)


def parser(about: str | None, what: str, count: int, meaning: str) -> argparse.ArgumentParser:
    """Make the parser of a command line with a count and a seed; arguments as of `command`."""
    made = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    made.add_argument(f"--{what}", dest="count", type=int, default=count, help=meaning)
    made.add_argument("--seed", type=int, default=random.randrange(2**32))
    return made


def run(arguments: argparse.Namespace, what: str, play: Play) -> int:
    """Play with the parsed count and seed, and print the result as JSON; else as `command`."""
    print(f"seed {arguments.seed}: --seed {arguments.seed} repeats it", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix=f"fraud-worker-{what}."))
    held = False
    try:
        result, held = play(folder, arguments.count, arguments.seed)
    finally:
        if held:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs and data are kept in {folder}", file=sys.stderr)
    print(json.dumps(result))
    return 0 if held else 1
