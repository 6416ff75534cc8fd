"""What a batch writes, read off the bytes: the members that histories gain, and those they lose."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence

from features.history.watermarks import LogState
from features.store.protocol import Writes
from tests.oracles.windows import Event, Place, Rules, watermark
from tests.properties.comparison import DisagreementError, Of
from tests.properties.system import System

_POSITION = struct.Struct("<iq")


class Stored:
    """What the store holds of each history: its members by position."""

    def __init__(self, rules: Rules, system: System, events: Sequence[Event]) -> None:
        self.held: defaultdict[Of, dict[Place, Event]] = defaultdict(dict)
        self._rules = rules
        self._system = system
        self._partitions = system.namespace.partitions
        self._events = {event.place: event for event in events}
        self._sizes: dict[str, int] = {}

    def compare_appends(self, writes: Writes, expected: Mapping[Of, list[Event]]) -> None:
        """Each history gains its members, once, in the order of the log, and no other does."""
        found = {self._system.of_key(key)[1]: data for key, data in writes.appends}
        if found.keys() != expected.keys() or len(found) < len(writes.appends):
            raise DisagreementError(f"appends to {[*found]}, not to {[*expected]}")
        for of, members in expected.items():
            size = self._sizes.setdefault(of[0], len(found[of]) // len(members))
            places = [member.place for member in members]
            if len(found[of]) != size * len(members) or self._places(of, found[of]) != places:
                raise DisagreementError(f"{of} gains {found[of]!r}, not the members {places}")

    def compare_compactions(self, writes: Writes, events: Sequence[Event], log: LogState) -> None:
        """Nothing is dropped that an event may see: of the batch, which may come again, or later.

        log: of before the batch.
        """
        for key, prefix, kept in writes.compactions:
            kind, of = self._system.of_key(key)
            if prefix != self._system.read(key):
                raise DisagreementError(f"compaction of {of}: the prefix is not what was read")
            if kind == "history":
                before, after = set(self._places(of, prefix)), set(self._places(of, kept))
                if not after <= before or len(kept) >= len(prefix):
                    raise DisagreementError(f"compaction of {of} leaves {after} of {before}")
                self._compare_dropped(of, before, before - after, events, log)

    def _compare_dropped(
        self,
        of: Of,
        before: set[Place],
        dropped: set[Place],
        events: Sequence[Event],
        log: LogState,
    ) -> None:
        """Too old for its own partition, or behind more than the cap that do not come again."""
        rules = self._rules
        if of[0] in rules.shared:
            self._compare_dropped_of_all(of, before, dropped, log)
            return
        first: dict[int, int] = {}
        for event in events:
            first.setdefault(event.partition, event.offset)
        settled = sorted(
            (p for p in before if p[1] < first.get(p[0], math.inf)),
            key=lambda p: self._events[p].order,
        )
        hidden = settled[: -rules.cap - 1]
        for place in dropped:
            oldest = watermark(rules, log.highest.get(place[0], ())) - rules.back(of[0])
            if self._events[place].time > oldest and place not in hidden:
                raise DisagreementError(
                    f"compaction of {of} drops {place} of {settled}, with {log} and {events}"
                )

    def _compare_dropped_of_all(
        self, of: Of, before: set[Place], dropped: set[Place], log: LogState
    ) -> None:
        """Too old for every partition, or behind more than twice the cap that are settled."""
        rules = self._rules
        lowest = min(watermark(rules, log.highest.get(p, ())) for p in range(self._partitions))
        settled = sorted(
            (
                p
                for p in before
                if self._events[p].time < lowest - rules.lateness - rules.delay(of[0])
            ),
            key=lambda p: self._events[p].order,
        )
        hidden = settled[: -2 * rules.cap]
        for place in dropped:
            if self._events[place].time > lowest - rules.back(of[0]) and place not in hidden:
                raise DisagreementError(
                    f"compaction of {of} drops {place} of {settled}, with {log}"
                )

    def append(self, writes: Writes, members: Mapping[Of, list[Event]]) -> int:
        """Writes them. How many compactions came too late: the history was another by then."""
        expected, stale = {}, 0
        added = dict(writes.appends)
        for key, prefix, kept in writes.compactions:
            found = self._system.read(key)
            valid = found.startswith(prefix)
            stale += not valid
            expected[key] = (kept + found[len(prefix) :] if valid else found) + added.get(key, b"")
        self._system.append(writes)
        for key in added:
            of = self._system.of_key(key)[1]
            self.held[of] |= {member.place: member for member in members[of]}
        for key, data in expected.items():
            kind, of = self._system.of_key(key)
            if self._system.read(key) != data:
                raise DisagreementError(f"the {kind} of {of} are not what was written")
            if kind == "history":
                held = self.held[of]
                self.held[of] = {place: held[place] for place in self._places(of, data)}
        return stale

    def _places(self, of: Of, data: bytes) -> list[Place]:
        """Of members, which begin with them."""
        return [_POSITION.unpack_from(data, at) for at in range(0, len(data), self._sizes[of[0]])]
