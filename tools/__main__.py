"""Command line of ``fraud-worker``."""

from __future__ import annotations

import sys

from worker.process.exits import end_at_once


def main() -> None:
    """Run the command line."""
    end_at_once(sys.argv[1:])
    from tools.cli import commands  # noqa: PLC0415 - it takes long, and signals come at any time

    commands.main()


if __name__ == "__main__":
    main()
