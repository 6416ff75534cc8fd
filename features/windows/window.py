"""Windows as declared in features.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from features.history.layout import StoredColumn, StoredKind


class Aggregate(StrEnum):
    """Aggregates of a window's members."""

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
    FIRST = "first"
    TIME_SINCE_FIRST = "time_since_first"
    MODE_SHARE = "mode_share"
    ENTROPY = "entropy"
    MEDIAN = "median"
    PERCENTILE = "percentile"


class Across(StrEnum):
    """Treatment of events of other partitions by a window.

    OWN: there are none, as the entity is that of the partition key. ALIGNED: exact, as for a topic
    of one partition. BEST_EFFORT: the events that the store holds.
    """

    OWN = "own"
    ALIGNED = "aligned"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Window over the members with (t - delay - over) < time <= (t - delay), for an event at t.

    Attributes:
        name: Name of the feature.
        aggregate: Aggregate of the members.
        entity: Entity whose history it reads.
        over: Microseconds.
        delay: Microseconds.
        value: Column that is aggregated; None for an aggregate of events.
        where: Condition on the members that count; None for all.
        include_current: True if the event counts itself.
        across: Treatment of events of other partitions.
        default: Value of an empty window.
        uses: Fields and features in its value and filters.
        same: Column of which members that count have the event's own value; None for all.
        half_life: Time in which the weight of a member halves, in microseconds; None for equal
            weights.
        percent: Percent of a percentile; None for other aggregates.
    """

    name: str
    aggregate: Aggregate
    entity: str
    over: int
    delay: int
    value: StoredColumn | None
    where: StoredColumn | None
    include_current: bool
    across: Across
    default: float
    uses: frozenset[str]
    same: StoredColumn | None = None
    half_life: int | None = None
    percent: float | None = None

    @property
    def reach(self) -> int:
        """The time from the event back to the start of the window, in microseconds."""
        return self.over + self.delay

    @property
    def parameter(self) -> float:
        """The half-life in microseconds, or the percent of a percentile; 0 without either."""
        if self.aggregate is Aggregate.MEDIAN:
            return 50.0
        return float(self.half_life or self.percent or 0.0)

    @property
    def unit(self) -> float:
        """The divisor that converts kept whole numbers to the value's unit."""
        if self.value is None or self.value.kind is not StoredKind.VALUE:
            return 1.0
        return float(10**self.value.scale)


@dataclass(frozen=True, slots=True)
class HistoryRules:
    """Rules for all windows.

    Attributes:
        allowed_lateness: Microseconds.
        duplicates: Microseconds.
        cap: Maximum number of members that an event sees.
        watermark_support: Number of highest event times; the lowest of them is the watermark.
        max_ahead: Maximum time in microseconds that an event may be later than its record's
            timestamp; None for no maximum.
        arrival: True if record timestamps are the times at which events arrived.
    """

    allowed_lateness: int
    duplicates: int
    cap: int
    watermark_support: int
    max_ahead: int | None
    arrival: bool = False

    @property
    def of_members(self) -> tuple[int | bool | None, ...]:
        """The rules that decide which events become members."""
        return (
            self.allowed_lateness,
            self.duplicates,
            self.watermark_support,
            self.max_ahead,
            self.arrival,
        )

    @property
    def largest_value(self) -> int:
        """The bound on the size of a kept number: no sum over visible members exceeds 64 bits."""
        return (2**63 - 1) // (self.cap + 1)
