"""Swap models and policies under full load, and check every score against its model and policy.

    .venv/bin/python tests/commands/swaps.py --swaps 100 --seed 7 --location s3

Two workers under full load follow a location (a folder, or one on a server) and a policy. For N swaps there are N/5 broken bundles,
N/5 rollbacks, and N/2 policies, a third of them broken. After each change the test waits until the
metrics of both workers show exactly the expected state. At the end both workers are stopped while
they verify a bundle that hangs; no process may be left over. The seed determines the models, the
policies and their order.

Progress is printed to stderr, and the result to stdout as a line of JSON. Exit status 0 means that
no output is lost, duplicated or out of order, every score is that of the model and policy that it
names, and scores name every valid model and policy but no broken one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.changes import MODELS, Champions
from tests.support.command import parser, run
from tests.support.exchange import SETTINGS, Swaps
from tests.support.object_servers import KINDS, open_place
from tests.support.rig import Rig, train
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

PARTITIONS = 6
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")


def play(
    rig: Rig, trained: Path, swaps: int, seed: int, url: str | None = None
) -> tuple[dict[str, Any], bool]:
    """Run the swaps; return the result, and True if all checks passed.

    Args:
        rig: Pipeline on real servers.
        trained: Folder that `train` has filled.
        swaps: Number of promotions of valid bundles.
        seed: Seed of all choices.
        url: Remote location of the models; None for a folder.
    """
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", file=sys.stderr, flush=True)

    with Champions(trained, rig.folder / MODELS, url) as champions:
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
        "location": "folder" if url is None else url.partition(":")[0],
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    held = ended and seen == played.taken and not any(verdict[name] for name in FAULTS)
    return result, held


def _some(values: Sequence[int]) -> list[int]:
    """Return the first value, the one after a tenth of them, and the last."""
    return [values[0], values[len(values) // 10], values[-1]] if values else []


def serve_and_play(kind: str, folder: Path, swaps: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run ``play`` on new servers, with a location of the given kind."""
    with (
        Kafka(folder / "kafka") as kafka,
        Valkey(folder / "valkey") as valkey,
        open_place(kind, folder / "location") as make_place,
    ):
        place = make_place()
        os.environ.update(place.environment)
        train(folder)
        servers = (kafka.bootstrap, valkey.url)
        rig = Rig(folder / "swaps", folder, servers, partitions=PARTITIONS, settings=SETTINGS)
        rig.load_lookups()
        return play(rig, folder, swaps, seed, None if kind == "folder" else str(place.where))


if __name__ == "__main__":
    parsed = parser(__doc__, "swaps", 100, "promotions of good bundles")
    parsed.add_argument("--location", choices=KINDS, default="folder")
    arguments = parsed.parse_args()
    sys.exit(run(arguments, "swaps", partial(serve_and_play, arguments.location)))
