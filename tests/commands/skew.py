"""Inject faults into workers, servers and histories, and compare every feature with a training table.

    .venv/bin/python tests/commands/skew.py --faults 20 --seed 7
    .venv/bin/python tests/commands/skew.py --without alignment

The Handbook's stream of card transactions on four partitions, two workers and a third that
comes and goes. The labels of all of them are in the labels topic before the first is scored. Workers are
killed and frozen past their session timeout, the store is flushed, evicts keys and is restarted, the
broker is restarted. The seed determines the faults and their order.

With ``--without`` the workers lack one of the guards that make features exact, and the run has to
find it out: by a mismatch, or as it does not end. ``--without all`` does so for each guard, and first
for workers that lack none. Their calls to the store are slow, so that faults come between two.

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
from tests.support.skew_rig import PARTITIONS, SkewRig
from tests.support.unguarded_worker import GUARDS
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

DATA = Path(os.environ.get("FRAUD_WORKER_DATA") or ROOT.parent / "shared" / "data")
FAULTS, EVENTS = 20, 500_000
GUARD_FAULTS, GUARD_EVENTS = 6, 60_000
HELD = ("mismatches", "lost", "duplicated")
"""Figures of a result that are 0 unless something went wrong."""


def play(events: int, folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run the faults; return the result, and True if all checks passed."""
    result = run(folder, faults, seed, events)
    return result, not _found(result)


def play_without(
    name: str, events: int, folder: Path, faults: int, seed: int
) -> tuple[dict[str, Any], bool]:
    """Run workers that lack a guard; return the result, and True if it was found."""
    guard = GUARDS[name]
    program = ("tests.support.unguarded_worker", "--without", name)
    result = run(folder / name, faults, seed, events, guard.faults or KINDS, program)
    found = _found(result)
    print(f"{name}: {guard.meaning}: {found or 'nothing found'}", file=sys.stderr)
    result = {"without": name, "meaning": guard.meaning, "found": found, **result}
    return result, bool(found) != (name == "none")


def play_all(events: int, folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run workers that lack a guard, for each one; True if each was found."""
    played = [play_without(name, events, folder, faults, seed) for name in GUARDS]
    for result, _ in played:
        print(f"{result['meaning']:70}  {result['found'] or 'nothing found'}", file=sys.stderr)
    missed = [result["without"] for result, held in played if not held]
    return {"guards": [result for result, _ in played], "missed": missed, "seed": seed}, not missed


def run(
    folder: Path,
    faults: int,
    seed: int,
    events: int,
    kinds: tuple[str, ...] = KINDS,
    program: tuple[str, ...] = ("tools", "run"),
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
            failed = {"failed": str(error).splitlines()[0]}
            sequence.say(f"FAILED: {error}")
        sequence.say("compare")
        verdict = rig.compare()
        for case in verdict.pop("shown"):
            sequence.say(case)
    return {
        **verdict,
        "partitions": PARTITIONS,
        "faults": sum(sequence.counts.values()),
        "late_labels": sequence.fleet.late_labels(),
        "filled": sequence.fleet.filled(),
        **sequence.counts,
        **failed,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def _found(result: dict[str, Any]) -> str:
    """Finding of a run; empty if it found nothing."""
    if "failed" in result:
        return str(result["failed"])
    return ", ".join(f"{result[name]:,} {name}" for name in HELD if result[name])


def main() -> int:
    parser = command.parser(__doc__, "faults", 0, "number of faults; 20, or 6 with --without")
    parser.add_argument("--events", type=int, default=0, help="500000, or 60000 with --without")
    parser.add_argument("--without", choices=[*GUARDS, "all"], help="guard that the workers lack")
    arguments = parser.parse_args()
    without = arguments.without
    events = arguments.events or (GUARD_EVENTS if without else EVENTS)
    arguments.count = arguments.count or (GUARD_FAULTS if without else FAULTS)
    chosen = {None: play, "all": play_all}.get(without, partial(play_without, without))
    return command.run(arguments, "faults", partial(chosen, events))


if __name__ == "__main__":
    sys.exit(main())
