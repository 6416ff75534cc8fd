"""Compiled loop over the histories of one entity: every window of every event of a micro-batch.

The stored members of a history are read and sorted once. Then its events are taken in the order of
the log: an event sees the members that were inserted before it, and is inserted itself unless it is
late, or a duplicate in a history of one partition. Where stored members of a shared history are
ahead of the batch, each event sees a copy of the members, without those of its own partition that
do not stand before it. Members of a file are hidden as `copies` says.
"""

from __future__ import annotations

import numpy as np

from base.arrays import Floats, Longs
from base.compiled import compiled, inner, leaf
from features.windows.kernel import rows
from features.windows.kernel.aggregates import compute_windows
from features.windows.kernel.columns import behind
from features.windows.kernel.compaction import compact_labels, compact_members, compact_shared
from features.windows.kernel.copies import (
    has_id_of_log,
    hide_copies,
    is_any_of_file,
    leave_copies_out,
    show_copies,
)
from features.windows.kernel.fraud_labels import find_labels, is_fraud, read_labels
from features.windows.kernel.members import (
    add_up,
    copy,
    has_id,
    insert,
    keep_same,
    place_of,
    read,
    write,
)
from features.windows.kernel.shared import (
    behind_delay,
    copy_visible,
    find_id,
    find_repeats,
    hides,
    insert_new,
    is_any_ahead,
    mark_behind,
)
from features.windows.kernel.spans import choose, first_shown, span
from features.windows.kernel.structs import (
    MISSING,
    NO_PARTITION,
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
    first: int,
    last: int,
) -> None:
    """Compute the windows of the events of the histories [first, last), and the writes to these."""
    history = _scratch(plan, stored, events, first, last)
    number = events.ends[last] - events.ends[first]
    values = np.empty((plan.windows.shape[1], number), np.float64)
    # Shared histories have all members, as some events see those ahead of the batch.
    hidden = events.first[:0] if plan.shared else events.first
    members_at, labels_at = 0, 0
    for of in range(first, last):
        begin = stored.begins[of]
        end = begin + stored.lengths[of]
        count = read(stored.data, begin, end, plan.size, plan.columns, hidden, history.members)
        has_copies = is_any_of_file(history.members, count)
        if has_copies and not plan.shared:
            count = leave_copies_out(history.members, count, plan.duplicates, history.table)
        if plan.shared:
            length = compact_shared(
                stored.data,
                begin,
                end,
                plan.size,
                stored.oldest,
                plan.cap,
                plan.worth,
                history.members,
                count,
                results.compacted,
                members_at,
            )
        else:
            length = compact_members(
                stored.data,
                begin,
                end,
                plan.size,
                events.first,
                events.members[rows.PARTITION, events.ends[of]],
                stored.oldest,
                plan.cap,
                plan.worth,
                history.members,
                count,
                results.compacted,
                members_at,
            )
        results.begins[rows.COMPACTED, of], results.lengths[rows.COMPACTED, of] = members_at, length
        members_at += max(length, 0)
        begin = stored_labels.begins[of]
        end = begin + stored_labels.lengths[of]
        labels = read_labels(stored_labels.data, begin, end)
        length = compact_labels(
            stored_labels.data,
            begin,
            end,
            stored_labels.oldest[of],
            plan.worth,
            results.labels,
            labels_at,
        )
        results.begins[rows.LABELS, of], results.lengths[rows.LABELS, of] = labels_at, length
        labels_at += max(length, 0)
        _compute_events(
            plan, events, results, trace, history, labels, of, count, has_copies, values, first
        )
    _give(values, events.order, events.ends[first], results.values)


@leaf
def _compute_events(  # noqa: PLR0915 - split, histories of few members took a fifth longer
    plan: CompiledWindows,
    events: Events,
    results: Results,
    trace: Trace,
    history: History,
    labels: Longs,
    of: int,
    count: int,
    has_copies: bool,
    values: Floats,
    first: int,
) -> None:
    """Compute the windows of the events of one history, and insert them into its members.

    Args:
        plan: The windows.
        events: As in `compute`, like ``results`` and ``trace``.
        results: Likewise.
        trace: Likewise.
        history: Scratch space with the stored members.
        labels: Labels of the history.
        of: The history.
        count: Number of stored members.
        has_copies: True if some of these are of a file.
        values: Values of the windows to fill, in the order of the histories.
        first: History whose events are the first in ``values``.
    """
    members, all_ = history.members, NOWHERE
    event, at = members.shape[1] - 1, events.ends[of] * plan.size
    begin, earlier = at, rows.KEPT + plan.columns.shape[1]
    find_labels(labels, members, 0, count)
    if plan.shared and is_any_ahead(members, count, events.first):
        all_ = copy_visible(members, count, NO_PARTITION, 0, history.all)
    elif plan.shared:
        find_repeats(members, count, plan.pairs, earlier, plan.duplicates, plan.cap, history.table)
    add_up(members, history.counts, history.sums, plan.pairs, 0, count)
    for index in range(events.ends[of], events.ends[of + 1]):
        column = events.order[index]
        copy(events.members, index, members, event)
        find_labels(labels, members, event, event + 1)
        if all_ != NOWHERE:
            partition, offset = members[rows.PARTITION, event], members[rows.OFFSET, event]
            count = copy_visible(history.all, all_, partition, offset, members)
            find_repeats(
                members, count, plan.pairs, earlier, plan.duplicates, plan.cap, history.table
            )
            add_up(members, history.counts, history.sums, plan.pairs, 0, count)
        total = count
        if has_copies:
            count = hide_copies(members, count, event, plan.duplicates)
        if count < total:
            if plan.shared:
                find_repeats(
                    members, count, plan.pairs, earlier, plan.duplicates, plan.cap, history.table
                )
            add_up(members, history.counts, history.sums, plan.pairs, 0, count)
        base, place = events.base[index], place_of(members, count, event)
        if plan.shared:
            # It joins in any case: if it is a repeat, its filters leave it out.
            floor, duplicate = 0, False
            results.duplicate[column] = find_id(
                members,
                count,
                place,
                base,
                plan.delay,
                plan.duplicates,
                plan.cap,
                plan.pairs,
                earlier,
            )
            results.capped[column] = hides(plan.windows, members, count, base, plan.cap)
        else:
            floor = max(0, count - plan.cap)
            oldest = max(floor, behind(members, rows.TIME, count, base - plan.duplicates))
            duplicate = has_id(members, oldest, count, event)
            if duplicate and has_copies:
                duplicate = has_id_of_log(members, oldest, count, event)
            results.duplicate[column] = duplicate
            results.capped[column] = (
                floor > 0 and members[rows.TIME, floor - 1] > base - plan.horizon
            )
        keep_same(members, history.counts, history.sums, plan.pairs, count, event)
        done, of_windows = 0, plan.windows.shape[1]
        while done < of_windows:
            window, done = done, of_windows
            if plan.shared and count > plan.cap:
                done = behind_delay(plan.windows, window)
                until = base - plan.windows[rows.DELAY, window]
                floor = first_shown(members, count, until, plan.cap)
            compute_windows(
                plan.windows,
                plan.numbers,
                plan.pairs,
                members,
                history.counts,
                history.sums,
                history.chosen,
                history.scratch,
                history.table,
                history.ends,
                labels,
                floor,
                count,
                place,
                base,
                duplicate,
                values,
                index - events.ends[first],
                window,
                done,
            )
            if column == trace.event and window <= trace.window < done:
                _trace(plan, history, labels, floor, count, place, base, duplicate, trace)
        if count < total and (plan.shared or events.outside[index] or duplicate):
            # Others see the copies, and the event joins as a repeat.
            show_copies(members, count, total)
            count = total
            if plan.shared:
                find_repeats(
                    members, count, plan.pairs, earlier, plan.duplicates, plan.cap, history.table
                )
                place = place_of(members, count, event)
                find_id(
                    members,
                    count,
                    place,
                    base,
                    plan.delay,
                    plan.duplicates,
                    plan.cap,
                    plan.pairs,
                    earlier,
                )
            add_up(members, history.counts, history.sums, plan.pairs, 0, count)
        if events.outside[index] or duplicate:
            continue
        if all_ == NOWHERE:
            insert(members, count, place, event)
            count += 1
            if plan.shared:
                mark_behind(members, count, place, plan.pairs, earlier, plan.duplicates, plan.cap)
            add_up(members, history.counts, history.sums, plan.pairs, place, count)
        elif not insert_new(history.all, all_, members, event):
            continue
        else:
            all_ += 1
        write(members, event, plan.columns, results.added, at)
        at += plan.size
    results.begins[rows.ADDED, of] = begin
    results.lengths[rows.ADDED, of] = at - begin if at > begin else NOWHERE


@leaf
def _give(values: Floats, order: Longs, first: int, results: Floats) -> None:
    """Copy the values of the events ``order[first]`` and later to their rows of the batch.

    One window after the other: to write all windows of each event, places far apart, took half as
    long again as to compute them.
    """
    for window in range(values.shape[0]):
        for index in range(values.shape[1]):
            results[window, order[first + index]] = values[window, index]


@inner
def _scratch(
    plan: CompiledWindows, stored: Stored, events: Events, first: int, last: int
) -> History:
    """Scratch space for the longest history."""
    most = 1
    for of in range(first, last):
        members = stored.lengths[of] // plan.size
        most = max(most, members + events.ends[of + 1] - events.ends[of])
    slots = 2
    while slots < 2 * most:
        slots *= 2
    pairs = plan.pairs.shape[1]
    return History(
        np.empty((plan.height, most + 1), np.int64),
        np.empty((plan.height, most + 1 if plan.shared else 1), np.int64),
        np.zeros((pairs, most + 1), np.int64),
        np.zeros((pairs, most + 1), np.int64),
        np.empty(most + 1, np.int64),
        np.empty(most + 1, np.int64),
        np.zeros((3, slots), np.int64),
        np.zeros(2, np.int64),
    )


@leaf
def _trace(
    plan: CompiledWindows,
    history: History,
    labels: Longs,
    floor: int,
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
    value, where = plan.pairs[rows.VALUE, pair], plan.pairs[rows.FILTER, pair]
    ends[0] = behind(members, rows.TIME, count, after)
    ends[1] = behind(members, rows.TIME, count, time - plan.windows[rows.DELAY, window])
    first, end, own = span(
        plan.windows, window, members, ends, floor, count, place, base, duplicate, value, where
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
