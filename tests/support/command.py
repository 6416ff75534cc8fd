"""What commands that play for minutes share: a seed to repeat them by, a folder, a verdict."""

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
"""Takes a folder, how many and the seed; gives the result, and whether everything held."""


def command(about: str | None, what: str, count: int, meaning: str, play: Play) -> int:
    """Parse ``--WHAT`` and ``--seed``, play, print the result as JSON; the exit status.

    about: a docstring whose first line describes the command. The folder is kept, and named,
    unless everything held.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument(f"--{what}", dest="count", type=int, default=count, help=meaning)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
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
