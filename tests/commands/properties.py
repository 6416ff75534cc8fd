"""Compare the windows with the oracle on random cases.

Run ``python -m tests.commands.properties --cases 20000`` from the root of the repository. Cases are
generated in portions on all cores, each from its own seed. The program prints the smallest failing
case, if any, and finally a JSON line with the coverage.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.properties.scenarios import Scenario, scenarios
from tests.properties.simulation import Make, check
from tests.properties.system import System

PORTION = 250


def run(
    cases: int,
    seed: int,
    make: Make = System,
    *,
    shrink: bool = True,
    watch: Callable[[Scenario], object] = id,
) -> Counter[str]:
    """Check random scenarios; raise the error of the smallest one that fails.

    Args:
        cases: Number of scenarios.
        seed: Seed of the scenarios.
        make: Creates the system under test.
        shrink: Shrink a failing scenario.
        watch: Called with each scenario; the last one is the one that fails.

    Returns:
        Counts of what the scenarios covered.
    """
    tally: Counter[str] = Counter()
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]

    @hypothesis.seed(seed)
    @settings(
        max_examples=cases,
        phases=phases,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def holds(scenario: Scenario) -> None:
        tally["cases"] += 1
        watch(scenario)
        check(scenario, make, tally)

    # Constants of the modules that happen to be imported would give a seed other cases.
    with (
        mock.patch.object(providers.HypothesisProvider, "_local_constants", Constants()),
        mock.patch.object(providers, "CONSTANTS_CACHE", type(providers.CONSTANTS_CACHE)(1024)),
    ):
        holds()
    return tally


def main() -> int:
    arguments = argparse.ArgumentParser(description="Window features against a brute-force oracle")
    arguments.add_argument("--cases", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=None, help="default: random")
    given_ = arguments.parse_args()
    seed = random.randrange(2**32) if given_.seed is None else given_.seed
    print(f"seed: {seed} (CASES={given_.cases} SEED={seed} repeats it)", flush=True)
    began = time.monotonic()
    sizes = [min(PORTION, given_.cases - done) for done in range(0, given_.cases, PORTION)]
    tally: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        for outcome in pool.map(partial(_portion, seed), range(len(sizes)), sizes):
            if isinstance(outcome, str):
                print(outcome, flush=True)
                pool.shutdown(cancel_futures=True)
                return 1
            tally += outcome
            if sys.stderr.isatty():
                print(f"\r{tally['cases']} cases", end="", file=sys.stderr, flush=True)
    took = round(time.monotonic() - began, 1)
    print(json.dumps({"seed": seed, "seconds": took, **dict(sorted(tally.items()))}))
    return 0


def _portion(seed: int, number: int, cases: int) -> Counter[str] | str:
    """Return the coverage of a portion, or the traceback of its failure."""
    try:
        return run(cases, seed + number)
    except Exception:  # noqa: BLE001 - any exception is a result
        return f"{traceback.format_exc()}\nCASES={cases} SEED={seed + number} repeats it alone"


if __name__ == "__main__":
    sys.exit(main())
