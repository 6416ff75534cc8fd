"""A short run of what `make swaps` does; and the oracle sees a micro-batch that mixes two models."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.swaps import FAULTS, play
from tests.support.changes import Champions, Policies
from tests.support.exchange import SETTINGS, follow
from tests.support.load import Load
from tests.support.object_servers import open_place
from tests.support.replica import Replica, ServedState
from tests.support.rig import Rig

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PROGRAM = ("tests.support.buggy_worker", "--bug", "mixed_batch")
SWAPS = 5
FEW_SWAPS = 2
_DEADLINE_S = 60.0

MakeRig = Callable[[], Rig]


@pytest.fixture
def make_rig(tmp_path: Path, trained: Path, kafka: Any, redis_url: str) -> MakeRig:
    def make() -> Rig:
        folder = tmp_path / f"swaps-{uuid.uuid4().hex[:8]}"
        return Rig(folder, trained, (kafka.bootstrap, redis_url), settings=SETTINGS)

    return make


def test_scores_are_what_the_model_and_policy_named_on_them_give(
    make_rig: MakeRig, trained: Path, seed: int
) -> None:
    result, held = play(make_rig(), trained, SWAPS, seed)
    assert {name: result[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)
    assert held, result
    happened = {name: result[name] for name in ("swaps", "rollbacks", "reloads")}
    assert happened == {"swaps": SWAPS, "rollbacks": 1, "reloads": 3}
    assert min(result[name] for name in ("refused_models", "refused_policies")) >= 1
    assert result["events"] > 5_000


def test_champions_on_an_object_store_are_exchanged_under_load(
    make_rig: MakeRig,
    trained: Path,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_place("s3", tmp_path / "s3") as make_place:
        place = make_place()
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        result, held = play(make_rig(), trained, FEW_SWAPS, seed, str(place.where))
    assert {name: result[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)
    assert held, result
    assert (result["location"], result["swaps"], result["rollbacks"]) == ("s3", FEW_SWAPS, 1)
    assert result["refused_models"] >= 1


def test_a_micro_batch_that_mixes_two_models_is_found(make_rig: MakeRig, trained: Path) -> None:
    rig = make_rig()
    load = Load(rig, seed=3, rate=0.0)
    load.send(100)
    with Champions(trained, rig.folder / "models") as champions:
        first, second, *_ = champions.good
        policy = Policies(rig.folder, random.Random(3)).first
        follow(rig, champions.location)
        worker = Replica(rig, "one", program=PROGRAM)
        rig.await_all_answered(_DEADLINE_S)
        champions.promote(second)
        worker.await_served(ServedState(second, policy, counts=Counter({("model", "taken"): 1})))
        load.send(100)
        rig.await_all_answered(_DEADLINE_S)
        assert worker.drain() == 0, worker.tail()
    verdict = rig.audit()
    assert verdict["models"].keys() == {first, second}
    assert verdict["scores_different"] > 0
    assert (verdict["lost"], verdict["duplicated"], verdict["out_of_order"]) == (0, 0, 0)
    assert "margin is" in verdict["shown"]["scores_different"][0]
