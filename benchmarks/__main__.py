"""Run a benchmark suite: ``python -m benchmarks [--suite NAME] [--events N] [--record]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError, DependencyUnavailableError
from benchmarks import report, spine
from benchmarks.features import suite as features
from benchmarks.latency import suite as latency
from benchmarks.models import suite as models
from benchmarks.options import RESULTS, UNRECORDED, Options
from benchmarks.partitions import suite as partitions
from benchmarks.peers import suite as peers
from benchmarks.programs import RunError
from benchmarks.soak import suite as soak

SUITES: dict[str, Callable[[Options], dict[str, Any]]] = {
    "spine": spine.run,
    "features": features.run,
    "models": models.run,
    "latency": latency.run,
    "partitions": partitions.run,
    "soak": soak.run,
    "peers": peers.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a suite.

    Returns:
        Exit status: 0 if everything was measured and nothing was lost, 1 if not, 2 for an unknown
        suite.
    """
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as a line of JSON")
    parser.add_argument("--suite", default="spine", help="suite to run (default: spine)")
    parser.add_argument("--events", type=int, help="number of events to play, for a quick run")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out", type=Path, default=UNRECORDED, help="folder of the result files (%(default)s)"
    )
    where.add_argument(
        "--record",
        dest="out",
        action="store_const",
        const=RESULTS,
        help="write the result files to benchmarks/results, and update "
        "docs/explanation/performance.md",
    )
    given = parser.parse_args(arguments)
    if given.suite not in SUITES:
        print(f"error: no suite {given.suite!r}; there is {', '.join(SUITES)}", file=sys.stderr)
        return 2
    try:
        line = SUITES[given.suite](Options(given.events, given.out))
    except (RunError, ConfigurationError, DependencyUnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.out.resolve() == RESULTS.resolve():
        report.main()
    if given.json:
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
