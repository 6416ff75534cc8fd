"""Send hostile records through real Kafka, and check that each has exactly one answer.

    .venv/bin/python tests/commands/hostile.py --seconds 60 --seed 7

Each round has new topics with random limits, a worker with random settings, and records with random
headers, keys, timestamps, sizes, bodies, schema ids and event times. Rounds start until the time is
over, at least one. Each committed record must have exactly one committed answer: a score or a dead
letter. The seed determines records and limits; the number of rounds also depends on the machine.

Progress is printed to stderr, with a table of the records and their answers, and the result to
stdout as a line of JSON. Exit status 0 means that no answer is lost, duplicated or missing, that no
answer names an unknown record, and that the worker neither ended by itself nor logged a traceback.
With ``at_least_once``, second answers are allowed and counted as ``repeated``.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.command import command
from tests.support.hostile_round import Result, Round
from tests.support.servers import QUICK_ABORTS
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

FAULTS = ("lost", "duplicated", "stuck", "stray", "crashes", "tracebacks")
COUNTS = ("records", "scores", "dead_letters", "lost", "duplicated", "stuck")
MORE_COUNTS = ("stray", "crashes", "tracebacks", "repeated", "refused_inputs", "aborted_inputs")


def play(folder: Path, seconds: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run rounds until the time is over; return the result, and True if all checks passed."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", file=sys.stderr, flush=True)

    total = Result()
    with Kafka(folder / "kafka", QUICK_ABORTS) as kafka, Valkey(folder / "valkey") as valkey:
        servers = (kafka.bootstrap, valkey.url)
        while not total.counts["rounds"] or time.monotonic() < started + seconds:
            number = total.counts["rounds"] + 1
            draw = random.Random(f"{seed}/{number}")
            played = Round(folder / f"hostile-{number}", servers, draw, say)
            result = played.play()
            total.add(result)
            faults = {name: result.counts[name] for name in FAULTS if result.counts[name]}
            if not faults:
                played.remove()
            say(f"{result.counts['records']} records; {faults or 'all held'}")
    for line in table(total):
        print(line, file=sys.stderr)
    counts = {name: total.counts[name] for name in (*COUNTS, *MORE_COUNTS, "rounds")}
    took = round(time.monotonic() - started, 1)
    return counts | {"seed": seed, "seconds": took}, not any(counts[name] for name in FAULTS)


def table(total: Result) -> list[str]:
    """Lines with the number of records and of their answers, one for each kind of record."""
    lines = []
    for kind in sorted(total.sent):
        codes = {code: n for (of, code), n in total.answers.items() if of == kind}
        words = [f"{code} {codes[code]}" for code in sorted(codes, key=lambda c: -codes[c])]
        if left := total.sent[kind] - sum(codes.values()):
            words.append(f"UNANSWERED {left}" if left > 0 else f"REPEATED {-left}")
        lines.append(f"{kind:<50}{total.sent[kind]:>7}  {', '.join(words)}")
    return lines


if __name__ == "__main__":
    sys.exit(command(__doc__, "seconds", 60, "start no new round after this time", play))
