"""Swap models and policies of two workers under full load."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import yaml

from tests.support.changes import FAULTS, Champions, Fault, Policies
from tests.support.load import Load
from tests.support.replica import Replica, ServedState, verifying
from tests.support.rig import Rig, await_that

Step = Callable[[], None]

# Small micro-batches: a swap can fall between many of them, with few events for the oracle.
SETTINGS = {"delivery": {"max_batch_events": 25}}
REPLICAS = ("one", "two")
HANGS = "hangs"
VERIFY_S = 20.0
RELOAD_S = 0.1
AHEAD = 2_000
CHUNK = 200
CHANGE_S = 60.0
DRAIN_S = 60.0
LEFT_OVER_S = 2.0


class Feed:
    """Producer at the workers' speed: some records always wait for them."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._load = Load(rig, seed, rate=0.0)
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1, "feed")
        self._done: Future[None] | None = None

    def start(self) -> None:
        self._done = self._pool.submit(self._run)

    def stop(self) -> None:
        """Stop, and raise the error that ended the feed before."""
        self._stopping.set()
        self._pool.shutdown()
        if self._done is not None:
            self._done.result()

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            if self._load.sent - sum(self._rig.checkpoints().values()) < AHEAD:
                self._load.send(CHUNK)


class Swaps:
    """Sequence of changes of one pipeline, each checked by the metrics of both workers.

    Args:
        rig: Pipeline on real servers.
        champions: Location of the models.
        seed: Seed of all choices.
        say: Prints a line of progress.

    Attributes:
        counts: Number of changes by kind.
        taken: Versions of the models and policies that were served.
        resident: Resident memory of each worker in MiB, after each step.
        threads: Number of threads of each worker, after each step.
    """

    def __init__(
        self,
        rig: Rig,
        champions: Champions,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._rig = rig
        self._champions = champions
        self._draw = random.Random(seed)
        self._policies = Policies(rig.folder, self._draw)
        self._say = say
        self._feed = Feed(rig, seed)
        follow(rig, champions.location)
        self._replicas: list[Replica] = []
        self._champion = champions.good[0]
        self._expected = ServedState(self._champion, self._policies.first)
        names = ("swaps", "refused_models", "rollbacks", "reloads", "refused_policies")
        self.counts = dict.fromkeys(names, 0)
        self.taken = {"models": {self._champion}, "policies": {self._policies.first}}
        self.resident: dict[str, list[int]] = {name: [] for name in REPLICAS}
        self.threads: dict[str, list[int]] = {name: [] for name in REPLICAS}

    def steps(self, swaps: int) -> list[Step]:
        """Plan ``swaps`` promotions of valid bundles, with other changes in proportion, shuffled."""
        some = max(1, swaps // 5)
        kinds = [name for name in self._champions.broken if name != HANGS]
        self._draw.shuffle(kinds)
        broken = [kinds[i % len(kinds)] for i in range(some)]
        if some > len(kinds):  # rare, because it takes as long as the verification timeout
            broken[-1] = HANGS
        reloads = (swaps + 1) // 2
        faults = [FAULTS[i % len(FAULTS)] for i in range(reloads // 3)]
        steps: list[Step] = [
            *[self._promote] * swaps,
            *(partial(self._promote_broken, name) for name in broken),
            *[self._reload] * (reloads - len(faults)),
            *(partial(self._reload_broken, fault) for fault in faults),
        ]
        self._draw.shuffle(steps)
        # Each rollback follows its own promotion, so that there is always one to take back.
        promotions = [place for place, step in enumerate(steps) if step == self._promote]
        for place in sorted(self._draw.sample(promotions, some), reverse=True):
            steps.insert(self._draw.randint(place + 1, len(steps)), self._rollback)
        return steps

    def run(self, steps: Sequence[Step]) -> None:
        """Run the steps, then end the workers.

        Raises:
            TimeoutError: A change is not served in time.
            RuntimeError: A worker ends with an error.
        """
        try:
            self._replicas = [Replica(self._rig, name) for name in REPLICAS]
            for replica in self._replicas:
                replica.await_ready()
            self._feed.start()
            self._await_change()
            for step in steps:
                step()
                for replica in self._replicas:
                    self.resident[replica.replica].append(replica.mebibytes())
                    self.threads[replica.replica].append(replica.threads())
            self._end()
        finally:
            self._feed.stop()
            for replica in self._replicas:
                if replica.status() is None:
                    replica.kill()

    def _promote(self) -> None:
        others = [name for name in self._champions.good if name != self._expected.model]
        fresh = [name for name in others if name not in self.taken["models"]]
        self._named(self._champions.promote(self._draw.choice(fresh or others)))
        self.counts["swaps"] += 1

    def _promote_broken(self, name: str) -> None:
        if name == self._champion:  # would change nothing
            name = next(other for other in self._champions.broken if other != name)
        self._named(self._champions.promote(name))

    def _rollback(self) -> None:
        self._named(self._champions.rollback())
        self.counts["rollbacks"] += 1

    def _reload(self) -> None:
        version = self._policies.write_good()
        self._expected.policy = version
        self._expected.refused["policy"] = False
        self._expected.counts["policy", "taken"] += 1
        self.taken["policies"].add(version)
        self._policy_written(version)

    def _reload_broken(self, fault: Fault) -> None:
        self._policies.write_broken(fault)
        self._expected.refused["policy"] = True
        self._expected.counts["policy", "refused"] += 1
        self.counts["refused_policies"] += 1
        self._policy_written(f"broken {fault}")

    def _policy_written(self, words: str) -> None:
        self.counts["reloads"] += 1
        self._say(f"policy: {words}")
        self._await_change()

    def _named(self, name: str) -> None:
        """Wait until the workers have loaded or refused the new champion, or kept the same model."""
        expected = self._expected
        self._champion = name
        good = name in self._champions.good
        expected.refused["model"] = not good
        if not good:
            expected.counts["model", "refused"] += 1
            self.counts["refused_models"] += 1
        elif name != expected.model:
            expected.counts["model", "taken"] += 1
            expected.model = name
            self.taken["models"].add(name)
        self._say(f"champion: {name}")
        self._await_change()

    def _await_change(self) -> None:
        """Wait until both workers report the expected state, and have scored with it."""
        for each in self._replicas:
            each.await_served(self._expected)
        # One micro-batch may be in flight, and another may still be in the old stages.
        wanted = {each: each.committed() + 3 for each in self._replicas}
        await_that(
            lambda: all(each.committed() >= count for each, count in wanted.items()),
            CHANGE_S,
            "both workers committed micro-batches",
            lambda: {each.replica: each.committed() for each in self._replicas},
        )

    def _end(self) -> None:
        """Wait until all records are answered, then send SIGTERM while a bundle is verified."""
        self._feed.stop()
        self._rig.await_all_answered(DRAIN_S)
        location = copies_of(self._rig, self._champions.location)
        self._champions.promote(HANGS)
        await_that(
            lambda: len(verifying(location)) == len(self._replicas),
            CHANGE_S,
            "a verification beside each worker",
            lambda: verifying(location),
        )
        for replica in self._replicas:
            replica.signal(signal.SIGTERM)
        for replica in self._replicas:
            if status := replica.wait(DRAIN_S):
                raise RuntimeError(f"{replica.replica} ended with {status}; {replica.tail()}")
        await_that(
            lambda: not verifying(location),
            LEFT_OVER_S,
            "no verification is left over",
            lambda: verifying(location),
        )
        self._champions.promote(self._expected.model)
        self._policies.restore(self._expected.policy)


def copies_of(rig: Rig, location: str) -> Path:
    """Folder of the bundles that workers load: the location itself, or the copies of a remote one."""
    return rig.folder / "cache" if ":" in location else Path(location)


def follow(rig: Rig, location: str) -> None:
    """Configure the rig's workers to follow the location and the policy in the rig's folder."""
    file = rig.folder / "worker.yaml"
    settings = yaml.safe_load(file.read_text())
    model = {"location": location, "device": "cpu", "threads": 1, "verify_timeout_s": VERIFY_S}
    if ":" in location:
        model["cache"] = str(rig.folder / "cache")
    settings |= {"model": model, "policy": "policy.yaml", "reload_s": RELOAD_S}
    file.write_text(yaml.safe_dump(settings))
