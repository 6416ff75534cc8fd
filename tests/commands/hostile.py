"""Sends hostile records through real Kafka, and holds each against its one answer.

    .venv/bin/python tests/commands/hostile.py --seconds 60 --seed 7

In rounds, one at least, until the time has passed: new topics with random limits, a worker with random settings,
and records with random headers, keys, timestamps, sizes, bodies, schema ids and event times. Each
committed record has to have exactly one committed answer: a score, or a dead letter. Records and
limits follow the seed; how many rounds there are depends on the machine.

Progress goes to stderr, with a table of what was sent and how it was answered; one line of JSON goes
to stdout. Exit status 0: nothing lost, nothing twice, nothing stuck, no answer to no record, and
the worker never ended by itself nor logged a traceback. Under ``at_least_once`` second answers are
allowed and counted as ``repeated``.
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
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

FAULTS = ("lost", "duplicated", "stuck", "stray", "crashes", "tracebacks")
COUNTS = ("records", "scores", "dead_letters", "lost", "duplicated", "stuck")
MORE_COUNTS = ("stray", "crashes", "tracebacks", "repeated", "refused_inputs", "aborted_inputs")


def play(folder: Path, seconds: int, seed: int) -> tuple[dict[str, Any], bool]:
    """The result, and whether everything held."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", file=sys.stderr, flush=True)

    total = Result()
    with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as valkey:
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
    """A line for each kind of record: how many there were, and how many got which answer."""
    lines = []
    for kind in sorted(total.sent):
        codes = {code: n for (of, code), n in total.answers.items() if of == kind}
        words = [f"{code} {codes[code]}" for code in sorted(codes, key=lambda c: -codes[c])]
        if left := total.sent[kind] - sum(codes.values()):
            words.append(f"UNANSWERED {left}" if left > 0 else f"REPEATED {-left}")
        lines.append(f"{kind:<50}{total.sent[kind]:>7}  {', '.join(words)}")
    return lines


if __name__ == "__main__":
    sys.exit(command(__doc__, "seconds", 60, "start no round after so many seconds", play))
