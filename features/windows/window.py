"""Windows as features.yaml declares them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from features.history.layout import Kept


class Aggregate(StrEnum):
    """What a window makes of its members."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    DISTINCT = "distinct"
    TIME_SINCE_LAST = "time_since_last"
    FRAUD_SHARE = "fraud_share"


class Across(StrEnum):
    """How a window sees events of other partitions.

    OWN: there are none, the entity is that of the partition key. ALIGNED: exactly, which a topic
    of one partition gives. BEST_EFFORT: those that the store holds.
    """

    OWN = "own"
    ALIGNED = "aligned"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The members with (t - delay - over) < time <= (t - delay), for an event at t.

    over, delay: microseconds. value: what is aggregated; where: which members count; None for all.
    include_current: the event counts itself. default: of an empty window. uses: fields and features
    that its value and filter are made of.
    """

    name: str
    aggregate: Aggregate
    entity: str
    over: int
    delay: int
    value: Kept | None
    where: Kept | None
    include_current: bool
    across: Across
    default: float
    uses: frozenset[str]

    @property
    def reach(self) -> int:
        """How far back it sees, in microseconds."""
        return self.over + self.delay


@dataclass(frozen=True, slots=True)
class HistoryRules:
    """What holds for all windows. allowed_lateness, duplicates, max_ahead: microseconds.

    cap: members. watermark_support: events, of which the one of the lowest time is the watermark.
    max_ahead: how much later than its record's timestamp an event may be; None: any.
    """

    allowed_lateness: int
    duplicates: int
    cap: int
    watermark_support: int
    max_ahead: int | None

    @property
    def largest_value(self) -> int:
        """Bound on a kept value, either way: no sum of all that an event sees leaves 64 bits."""
        return (2**63 - 1) // (self.cap + 1)
