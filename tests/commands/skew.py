"""Inject faults into workers, servers and histories, and compare every feature with a training table.

    .venv/bin/python tests/commands/skew.py --faults 20 --seed 7
    .venv/bin/python tests/commands/skew.py --without alignment

The Handbook's stream of card transactions on four partitions, two workers and a third that comes
and goes. Workers are killed and frozen past their session timeout, the store is flushed, evicts
keys and is restarted, the broker is restarted. The seed determines the faults and their order.

With ``--without`` the workers lack one of the guards that make features exact, and the run has to
find it out: by a mismatch, or as it does not end. ``--without all`` does so for each guard, and first
for workers that lack none. EVENTS in the environment is the number of events.

Progress is printed to stderr, and the result to stdout as a line of JSON. Exit status 0 means that
every event has one score, with the features and flags of `fraud-worker features build`; with
``--without``, that the lack was found.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support import command
from tests.support.rig import ROOT
from tests.support.servers import QUICK_ABORTS
from tests.support.skew_faults import KINDS, Faults
from tests.support.unguarded_worker import GUARDS, Guard
from tests.support.skew_rig import PARTITIONS, SkewRig
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

DATA = Path(os.environ.get("FRAUD_WORKER_DATA") or ROOT.parent / "shared" / "data")
FAULTS, EVENTS = 20, 500_000
GUARD_FAULTS, GUARD_EVENTS = 6, 60_000
HELD = ("mismatches", "lost", "duplicated")
"""Figures of a result that are 0 unless something went wrong."""


def play(folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run the faults; return the result, and True if all checks passed."""
    result = run(folder, faults, seed, _events(EVENTS))
    return result, "failed" not in result and not any(result[name] for name in HELD)


def play_without(name: str, folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run workers that lack a guard; return the result, and True if it was found."""
    guard = GUARDS[name]
    program = ("-m", "tests.support.unguarded_worker", "--without", name)
    result = run(folder / name, faults, seed, _events(GUARD_EVENTS), guard.faults or KINDS, program)
    found = _found(result)
    print(f"without {name}: {found or 'nothing found'}", file=sys.stderr)
    return {"without": name, "found": found, **result}, bool(found) != (name == "none")


def play_all(folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run workers that lack a guard, for each one; True if each was found."""
    results, held = [], True
    for name in GUARDS:
        result, as_expected = play_without(name, folder, faults, seed)
        results.append(result)
        held &= as_expected
    for result in results:
        print(_line(GUARDS[result["without"]], result), file=sys.stderr)
    return {"guards": results, "held": held, "seed": seed}, held


def run(
    folder: Path,
    faults: int,
    seed: int,
    events: int,
    kinds: tuple[str, ...] = KINDS,
    program: tuple[str, ...] = ("-m", "tools", "run"),
) -> dict[str, Any]:
    """Run the faults, and compare; "failed" of the result says why it did not end."""
    started = time.monotonic()
    source = DATA / "handbook_raw.parquet"
    if not source.exists():
        raise SystemExit(f"{source} is absent; FRAUD_WORKER_DATA names the folder of the data")
    failed = {}
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka(folder / "kafka", QUICK_ABORTS))
        valkey = stack.enter_context(Valkey(folder / "valkey"))
        rig = SkewRig(folder / "skew", source, events, (kafka.bootstrap, valkey.url), seed)
        sequence = Faults(rig, (kafka, valkey), kinds, faults, seed, program)
        try:
            sequence.run()
        except (TimeoutError, RuntimeError) as error:
            failed = {"failed": str(error)}
            sequence.say(f"FAILED: {error}")
        sequence.say("compare")
        verdict = rig.compare()
        for case in verdict.pop("shown"):
            sequence.say(case)
    return {
        **verdict,
        "partitions": PARTITIONS,
        "faults": sum(sequence.counts.values()),
        "filled": sequence.fleet.filled(),
        **sequence.counts,
        **failed,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def _events(count: int) -> int:
    return int(os.environ.get("EVENTS") or count)


def _found(result: dict[str, Any]) -> str:
    """Finding of a run; empty if it found nothing."""
    figures = [f"{result[name]:,} {name}" for name in HELD if result[name]]
    if "failed" in result:
        return result["failed"].splitlines()[0]
    return ", ".join(figures)


def _line(guard: Guard, result: dict[str, Any]) -> str:
    return f"{guard.meaning:90}  {result['found'] or 'nothing found'}"


def main() -> int:
    parser = command.parser(
        __doc__, "faults", 0, "number of faults; default 20, or 6 without a guard"
    )
    parser.add_argument("--without", choices=[*GUARDS, "all"], help="guard that the workers lack")
    arguments = parser.parse_args()
    arguments.count = arguments.count or (GUARD_FAULTS if arguments.without else FAULTS)
    if arguments.without is None:
        return command.run(arguments, "faults", play)
    if arguments.without == "all":
        return command.run(arguments, "faults", play_all)
    return command.run(arguments, "faults", partial(play_without, arguments.without))


if __name__ == "__main__":
    sys.exit(main())
