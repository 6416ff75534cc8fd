"""Search interleavings and faults for one that gives wrong output.

Run ``python -m tests.commands.search --seconds 60`` from the root of the repository. Schedule i has
the seed ``--seed`` + i. The program prints the seed and the error of each schedule that fails, and
finally a JSON line; ``next_seed`` continues the search. ``--one`` runs one schedule and prints its
journal; ``--bugs`` looks for every seeded bug; each rare one takes minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
import traceback

from tests.search.bugs import BUGS, MOST
from tests.search.run import first_failure, run_schedule

_MOST_FAILURES = 5


def main() -> int:
    parser = argparse.ArgumentParser(description="Workers of one group under every order and fault")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="default: random")
    parser.add_argument("--one", action="store_true", help="run this seed alone, with a journal")
    parser.add_argument("--bugs", action="store_true", help="find each seeded bug of the worker")
    given = parser.parse_args()
    if given.bugs:
        return _find_bugs()
    seed = random.randrange(10**9) if given.seed is None else given.seed
    if given.one:
        return _one(seed)
    print(f"seed: {seed} (SEED={seed} repeats it)", flush=True)
    return _search(seed, given.seconds)


def _search(first: int, seconds: float) -> int:
    gc.freeze()
    failures: list[int] = []
    seed, began = first, time.monotonic()
    while time.monotonic() - began < seconds and len(failures) < _MOST_FAILURES:
        failure = first_failure([seed])
        if failure is not None:
            failures.append(seed)
            again = f"make search SEED={seed} ONE=1"
            print(f"seed {seed} fails: {failure[1]!r:.500}\n{again} shows how", flush=True)
        seed += 1
        if sys.stderr.isatty() and seed % 50 == 0:
            print(f"\r{seed - first} schedules", end="", file=sys.stderr, flush=True)
    took = time.monotonic() - began
    result = {
        "seed": first,
        "next_seed": seed,
        "seconds": round(took, 1),
        "schedules": seed - first,
        "per_second": round((seed - first) / took, 1),
        "failures": failures,
    }
    print(json.dumps(result))
    return 1 if failures else 0


def _find_bugs() -> int:
    """Look for each seeded bug; the last line is JSON, with the schedules that each one took."""
    took: dict[str, int | None] = {}
    for name, patch in BUGS.items():
        with patch():
            failure = first_failure(range(MOST))
        took[name] = None if failure is None else failure[0] + 1
        print(f"{name}: {took[name] or 'not found'}", flush=True)
    missed = [name for name, schedules in took.items() if schedules is None]
    print(json.dumps({"most": MOST, "schedules": took, "not_found": missed}))
    return 1 if missed else 0


def _one(seed: int) -> int:
    try:
        run_schedule(seed, note=print)
    except Exception:  # noqa: BLE001 - any exception is a result
        print(traceback.format_exc())
    else:
        print("the output is that of a serial run")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
