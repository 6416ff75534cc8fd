"""Exchanges models and policies under full load, then holds every score against what it names.

    .venv/bin/python tests/commands/swaps.py --swaps 100 --seed 7

Two workers with more records than they can take follow a location and a policy. To so many swaps
come a fifth as many broken bundles, a fifth as many rollbacks, and half as many policies, a third of
them broken. Each change is awaited in the metrics of both workers, which have to say exactly what
is expected of it. At last both are ended while they verify a bundle that hangs, which has to leave
no process behind. Models, policies and their order follow the seed.

Progress goes to stderr, one line of JSON to stdout. Exit status 0: nothing lost, nothing twice, all
in order, every score what the model and policy named on it give, every good one seen on scores, and
no broken one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.changes import Champions
from tests.support.command import command
from tests.support.exchange import SETTINGS, Swaps
from tests.support.rig import Rig, train
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

PARTITIONS = 6
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")


def play(rig: Rig, trained: Path, swaps: int, seed: int) -> tuple[dict[str, Any], bool]:
    """The result, and whether everything held."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", file=sys.stderr, flush=True)

    with Champions(trained, rig.folder / "models") as champions:
        played = Swaps(rig, champions, seed, say)
        ended = True
        try:
            played.run(played.steps(swaps))
        except (TimeoutError, RuntimeError) as error:
            ended = False
            say(f"FAILED: {error}")
    took = time.monotonic() - started
    say("the oracle reads")
    verdict = rig.audit()
    for name in FAULTS:
        for case in verdict["shown"][name]:
            say(f"{name}: {case}")
    seen = {what: set(verdict[what]) for what in played.taken}
    for what, taken in played.taken.items():
        if seen[what] != taken:
            say(f"{what} taken: {sorted(taken)}; on scores: {sorted(seen[what])}")
    result = {
        **played.counts,
        "events": verdict["events"],
        **{name: verdict[name] for name in FAULTS},
        "dead_letters": verdict["dead_letters"],
        "models": len(seen["models"]),
        "policies": len(seen["policies"]),
        "events_per_s": round(verdict["events"] / took),
        "resident_mib": {name: _some(values) for name, values in played.resident.items()},
        "threads": {name: _some(values) for name, values in played.threads.items()},
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    held = ended and seen == played.taken and not any(verdict[name] for name in FAULTS)
    return result, held


def _some(values: Sequence[int]) -> list[int]:
    """The first, the one after a tenth of them, the last."""
    return [values[0], values[len(values) // 10], values[-1]] if values else []


def serve_and_play(folder: Path, swaps: int, seed: int) -> tuple[dict[str, Any], bool]:
    """As `play`, on servers of its own."""
    with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as valkey:
        train(folder)
        servers = (kafka.bootstrap, valkey.url)
        rig = Rig(folder / "swaps", folder, servers, partitions=PARTITIONS, settings=SETTINGS)
        rig.load_lookups()
        return play(rig, folder, swaps, seed)


if __name__ == "__main__":
    sys.exit(command(__doc__, "swaps", 100, "promotions of good bundles", serve_and_play))
