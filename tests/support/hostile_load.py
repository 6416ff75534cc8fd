"""Load generator with hostile records among its transactions."""

from __future__ import annotations

from typing import Any

from tests.support.hostile_bodies import Kinds, Sizes, filler, near
from tests.support.hostile_records import RecordMaker
from tests.support.load import FIRST_TIME_MS, STEP_MS, TERMINALS, Load
from tests.support.raw_produce import RawProducer, RefusedError
from tests.support.rig import Rig

_SHARE = 0.004
# Default limits of topics and of the worker.
_SIZES = Sizes(input=1_048_588, scores=1_048_588, dead_letters=1_048_588, decoded=1_000_000)
_LONGEST_KEY = 1_024
# No future times, because all later events would be late.
_TIMES_MS = (-(2**63), -1, 0, 1, 946_684_799_999, FIRST_TIME_MS - 86_400_000)
_AMOUNTS = (0.0, -0.0, 5e-324, 1e15, -1e300, float("nan"), float("inf"))


class HostileLoad(Load):
    """Transactions at a constant rate, and sometimes a hostile record.

    All events of a customer must be in one partition, whatever the keys of their records are.
    Therefore the hostile events of each partition have their own customers.

    Args:
        rig: Pipeline whose input topic is written to.
        seed: Seed of all choices.
        rate: Ordinary records per second.
        share: Number of hostile records per ordinary record.

    Attributes:
        hostile: Number of hostile records that the broker acknowledged.
    """

    def __init__(self, rig: Rig, seed: int, rate: float, share: float = _SHARE) -> None:
        super().__init__(rig, seed, rate)
        self.hostile = 0
        self._share = share
        self._bootstrap, self._partitions = rig.bootstrap, rig.partitions
        self._raw: RawProducer | None = None
        self._partition = self._made = 0
        self._make = RecordMaker(self._random, self, _SIZES, self._topic, kinds=1.0)

    def stop(self) -> None:
        super().stop()
        self._disconnect()

    def good(self, **changes: Any) -> bytes:
        """Valid event of the current partition."""
        return self._framed(self._hostile_event() | changes)

    def kinds(self) -> Kinds:
        """Generator of each kind of hostile value."""
        draw = self._random
        return {
            "broken": lambda: self._broken(self._hostile_event()),
            "unknown schema id": self._unknown_schema,
            "near the largest score": lambda: self.good(transaction_id=self._near(_SIZES.scores)),
            "near the largest value": lambda: self.good(merchant_id=self._near(_SIZES.decoded)),
            "near the largest input": lambda: self.good(merchant_id=self._near(_SIZES.input)),
            "customer of any size": lambda: self.good(
                customer_id=f"h-{self._partition}-" + "x" * draw.randrange(_LONGEST_KEY + 2)
            ),
            "terminal of any size": lambda: self.good(
                terminal_id="x" * draw.randrange(_LONGEST_KEY + 2)
            ),
            "time at a bound": lambda: self.good(tx_time=draw.choice(_TIMES_MS)),
            "amount at a bound": lambda: self.good(amount=draw.choice(_AMOUNTS)),
        }

    def _send_one(self) -> None:
        super()._send_one()
        if self._random.random() < self._share:
            self._send_hostile()

    def _send_hostile(self) -> None:
        """Write a hostile record, unless the broker is away or refuses it."""
        self._partition = self._random.randrange(self._partitions)
        record = self._make().record
        try:
            self._raw = self._raw or RawProducer(self._bootstrap)
            self._raw.produce(self._topic, self._partition, [record])
        except RefusedError:
            return
        except OSError:
            self._disconnect()
            return
        self.hostile += 1

    def _disconnect(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def _hostile_event(self) -> dict[str, Any]:
        self._made += 1
        return {
            "transaction_id": f"h-{self._made}",
            "tx_time": FIRST_TIME_MS + STEP_MS * self.sent,
            "customer_id": f"h-{self._partition}",
            "terminal_id": str(self._random.randrange(TERMINALS)),
            "amount": round(self._random.lognormvariate(3.5, 1.0), 2),
        }

    def _unknown_schema(self) -> bytes:
        number = self._random.randrange(2**30, 2**32)
        return b"\x00" + number.to_bytes(4, "big") + self.good()[5:]

    def _near(self, limit: int) -> str:
        return filler(self._random, near(self._random, limit)).decode()
