"""Compiled loop over the histories of one entity: every window of every event of a micro-batch.

The stored members of a history are read and sorted once. Then its events are taken in the order of
the log: an event sees the members that were inserted before it, and is inserted itself unless it is
late, or a duplicate in a history of one partition. Where stored members of a shared history are
ahead of the batch, each event sees a copy of the members, without those of its own partition that
do not stand before it.
"""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import compiled, inner, leaf
from features.windows.kernel import rows
from features.windows.kernel.aggregates import choose, compute_windows, first_shown, span
from features.windows.kernel.columns import before, behind
from features.windows.kernel.compaction import compact_labels, compact_members, compact_shared
from features.windows.kernel.fraud_labels import find_labels, is_fraud, read_labels
from features.windows.kernel.members import (
    add_up,
    copy,
    has_id,
    insert,
    place_of,
    read,
    write,
)
from features.windows.kernel.shared import (
    copy_visible,
    find_id,
    find_repeats,
    hides,
    is_any_ahead,
    mark_behind,
)
from features.windows.kernel.structs import (
    MISSING,
    NOWHERE,
    CompiledWindows,
    Events,
    History,
    Results,
    Stored,
    Trace,
)


@compiled
def compute(
    plan: CompiledWindows,
    stored: Stored,
    stored_labels: Stored,
    events: Events,
    results: Results,
    trace: Trace,
) -> None:
    """Compute the windows of the events of all histories, and the writes to the histories."""
    history = _scratch(plan, stored, events)
    # Shared histories have all members, as some events see those ahead of the batch.
    first = events.first[:0] if plan.shared else events.first
    for of in range(len(events.ends) - 1):
        begin = stored.begins[of]
        end = begin + stored.lengths[of]
        count = read(stored.data, begin, end, plan.size, plan.columns, first, history.members)
        results.lengths[rows.COMPACTED, of] = _compact(
            plan, stored, events.first, history.members, count, of, results.compacted
        )
        begin = stored_labels.begins[of]
        end = begin + stored_labels.lengths[of]
        labels = read_labels(stored_labels.data, begin, end)
        results.lengths[rows.LABELS, of] = compact_labels(
            stored_labels.data,
            begin,
            end,
            stored_labels.oldest[of],
            plan.worth,
            results.labels,
            begin - stored_labels.begins[0],
        )
        find_labels(labels, history.members, 0, count)
        if plan.shared:
            _compute_shared(plan, events, results, trace, history, labels, of, count)
        else:
            add_up(history.members, history.counts, history.sums, plan.pairs, 0, count)
            _compute_own(plan, events, results, trace, history, labels, of, count)


@inner
def _compact(
    plan: CompiledWindows,
    stored: Stored,
    first: Longs,
    members: Longs,
    count: int,
    of: int,
    out: Bytes,
) -> int:
    """Write the stored members of one history that stay; return their number of bytes."""
    begin = stored.begins[of]
    out_at, all_ = begin - stored.begins[0], stored.lengths[of] // plan.size
    if plan.shared:
        return compact_shared(
            stored.data,
            begin,
            all_,
            plan.size,
            stored.oldest,
            plan.cap,
            plan.worth,
            members,
            count,
            out,
            out_at,
        )
    return compact_members(
        stored.data,
        begin,
        begin + all_ * plan.size,
        plan.size,
        first,
        stored.oldest,
        plan.cap,
        plan.worth,
        members,
        count,
        out,
        out_at,
    )


@leaf
def _compute_own(
    plan: CompiledWindows,
    events: Events,
    results: Results,
    trace: Trace,
    history: History,
    labels: Longs,
    of: int,
    count: int,
) -> None:
    """Compute the windows of the events of a history of one partition, and insert them."""
    members = history.members
    event, at = members.shape[1] - 1, (events.ends[of] - events.ends[0]) * plan.size
    begin = at
    for index in range(events.ends[of], events.ends[of + 1]):
        column = events.order[index]
        copy(events.members, index, members, event)
        find_labels(labels, members, event, event + 1)
        base, place = events.base[column], place_of(members, count, event)
        history.ends[2] = floor = max(0, count - plan.cap)
        oldest = max(floor, behind(members, rows.TIME, count, base - plan.duplicates))
        duplicate = has_id(members, oldest, count, event)
        results.duplicate[column] = duplicate
        results.capped[column] = floor > 0 and members[rows.TIME, floor - 1] > base - plan.horizon
        compute_windows(
            plan.windows,
            plan.numbers,
            plan.pairs,
            members,
            history.counts,
            history.sums,
            history.chosen,
            history.table,
            history.ends,
            labels,
            NOWHERE,
            count,
            place,
            base,
            duplicate,
            results.values,
            column,
        )
        if column == trace.event:
            _trace(plan, history, labels, NOWHERE, count, place, base, duplicate, trace)
        if not (events.late[column] or duplicate):
            insert(members, count, place, event)
            count += 1
            add_up(members, history.counts, history.sums, plan.pairs, place, count)
            write(members, place, plan.columns, results.added, at)
            at += plan.size
    results.lengths[rows.ADDED, of] = at - begin


@leaf
def _compute_shared(
    plan: CompiledWindows,
    events: Events,
    results: Results,
    trace: Trace,
    history: History,
    labels: Longs,
    of: int,
    count: int,
) -> None:
    """Compute the windows of the events of a shared history, and insert them."""
    members, cap, all_ = history.members, plan.cap, NOWHERE
    event, at = members.shape[1] - 1, (events.ends[of] - events.ends[0]) * plan.size
    begin = at
    if is_any_ahead(members, count, events.first):
        all_ = count
        for place in range(count):
            copy(members, place, history.all, place)
    else:
        find_repeats(members, count, plan.filters, plan.duplicates, cap, history.slots)
        add_up(members, history.counts, history.sums, plan.pairs, 0, count)
    for index in range(events.ends[of], events.ends[of + 1]):
        column = events.order[index]
        copy(events.members, index, members, event)
        find_labels(labels, members, event, event + 1)
        if all_ != NOWHERE:
            count = copy_visible(history.all, all_, event, members)
            find_repeats(members, count, plan.filters, plan.duplicates, cap, history.slots)
            add_up(members, history.counts, history.sums, plan.pairs, 0, count)
        base, place = events.base[column], place_of(members, count, event)
        oldest = max(
            first_shown(members, count, base - plan.delay, cap),
            behind(members, rows.TIME, count, base - plan.duplicates),
        )
        results.duplicate[column] = find_id(
            members, oldest, count, place, event, plan.filters, cap
        )
        results.capped[column] = hides(plan.windows, members, count, base, cap)
        # A repeat is marked: its filters leave it out.
        compute_windows(
            plan.windows,
            plan.numbers,
            plan.pairs,
            members,
            history.counts,
            history.sums,
            history.chosen,
            history.table,
            history.ends,
            labels,
            cap,
            count,
            place,
            base,
            False,
            results.values,
            column,
        )
        if column == trace.event:
            _trace(plan, history, labels, cap, count, place, base, False, trace)
        if events.late[column]:
            continue
        if all_ == NOWHERE:
            insert(members, count, place, event)
            count += 1
            mark_behind(members, count, place, plan.filters, plan.duplicates, cap)
            add_up(members, history.counts, history.sums, plan.pairs, place, count)
        else:
            copy(members, event, history.all, event)
            place = place_of(history.all, all_, event)
            if place and not before(history.all, rows.MEMBER_KEYS, place - 1, event):
                continue  # It is stored.
            insert(history.all, all_, place, event)
            all_ += 1
        write(members, event, plan.columns, results.added, at)
        at += plan.size
    results.lengths[rows.ADDED, of] = at - begin


@inner
def _scratch(plan: CompiledWindows, stored: Stored, events: Events) -> History:
    """Scratch space for the longest history."""
    most = 1
    for of in range(len(events.ends) - 1):
        members = stored.lengths[of] // plan.size
        most = max(most, members + events.ends[of + 1] - events.ends[of])
    slots = 2
    while slots < 2 * most:
        slots *= 2
    pairs, height = plan.pairs.shape[1], events.members.shape[0]
    if plan.shared:
        height += 1 + len(plan.filters)
    return History(
        np.empty((height, most + 1), np.int64),
        np.empty((height, most + 1 if plan.shared else 1), np.int64),
        np.empty(slots if plan.shared else 1, np.int64),
        np.zeros((pairs, most + 1), np.int64),
        np.zeros((pairs, most + 1), np.int64),
        np.empty(most + 1, np.int64),
        np.zeros((2, slots), np.int64),
        np.zeros(3, np.int64),
    )


@leaf
def _trace(
    plan: CompiledWindows,
    history: History,
    labels: Longs,
    cap: int,
    count: int,
    place: int,
    base: int,
    duplicate: bool,
    trace: Trace,
) -> None:
    """List the members that the traced window counts for the traced event, in member order."""
    window, members, ends = trace.window, history.members, history.ends
    event = members.shape[1] - 1
    time, after = members[rows.TIME, event], base - plan.windows[rows.REACH, window]
    pair = plan.windows[rows.PAIR, window]
    value, where = plan.pairs[rows.VALUE, pair], plan.pairs[rows.WHERE, pair]
    delay = plan.windows[rows.DELAY, window]
    ends[0] = behind(members, rows.TIME, count, after)
    ends[1] = behind(members, rows.TIME, count, time - delay)
    if cap != NOWHERE:
        ends[2] = first_shown(members, count, base - delay, cap)
    first, end, own = span(
        plan.windows, window, members, ends, cap, count, place, base, duplicate, value, where
    )
    number = choose(members, first, end, own, value, where, history.chosen)
    for index in range(number):
        chosen = history.chosen[index]
        trace.members[0, index] = members[rows.PARTITION, chosen]
        trace.members[1, index] = members[rows.OFFSET, chosen]
        trace.members[2, index] = members[rows.TIME, chosen]
        trace.members[3, index] = members[value, chosen] if value != NOWHERE else MISSING
        trace.members[4, index] = is_fraud(labels, members[rows.LABEL, chosen], time, after)
        trace.members[5, index] = 1 if chosen == event else 0
    trace.number[0] = number
