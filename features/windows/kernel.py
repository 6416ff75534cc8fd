"""Compiled loop over the histories of one entity: every window of every event of a micro-batch.

The stored members of a history are read and sorted once. Then its events are taken in the order of
the log: an event sees the members that were inserted before it, and is inserted itself unless it is
late or a duplicate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.compiled import compiled, load32, load64, store32, store64

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MISSING = np.iinfo(np.int64).min
"""Sentinel for a missing value of an event."""
NOWHERE = -1
"""Index that refers to nothing."""

COUNT, SUM, MEAN, STD, MIN, MAX, LAST, DISTINCT, TIME_SINCE_LAST, FRAUD_SHARE = range(10)

AT_OFFSET, AT_TIME, AT_EVENT_ID, AT_KEPT = 4, 12, 20, 28
"""Byte positions in a member; the partition is at 0, the kept columns begin at AT_KEPT."""
AT_LABEL_TIME, AT_FRAUD, LABEL_SIZE = 28, 36, 37
"""Byte positions in a label, whose first fields are those of a member."""

TIME, PARTITION, OFFSET, EVENT_ID, LABEL, SOURCE, KEPT = range(7)
"""Rows of ``History.rows``; the kept columns begin at KEPT."""

SECOND = 1e6


class Plan(NamedTuple):
    """Windows of one entity, [W]; their distinct pairs of value and filter, [Q]; kept columns, [K].

    Attributes:
        aggregate: int64[W], one of the constants above.
        reach: int64[W], microseconds from the event back to the start of the window.
        delay: int64[W], microseconds from the event back to the end of the window.
        current: bool[W], True if the event counts itself.
        default: float64[W], value of an empty window.
        unit: float64[W], divisor that converts kept whole numbers to the value's unit.
        pair: int64[W], index of the window's pair of value and filter.
        value: int64[Q], row of a kept column in ``History.rows``, or NOWHERE.
        where: int64[Q], row of a kept column in ``History.rows``, or NOWHERE.
        at: int64[K], byte position in a member.
        condition: bool[K], True for a column of one byte.
        size: Bytes of a member.
        horizon: Microseconds back from an event that windows and the search for duplicates use.
        duplicates: Microseconds back from an event in which its id is searched for.
        cap: Maximum number of members that an event sees.
        worth: Minimum number of members to remove from a history.
    """

    aggregate: Ints
    reach: Ints
    delay: Ints
    current: Bools
    default: Floats
    unit: Floats
    pair: Ints
    value: Ints
    where: Ints
    at: Ints
    condition: Bools
    size: int
    horizon: int
    duplicates: int
    cap: int
    worth: int


class Stored(NamedTuple):
    """Stored values of U histories, concatenated.

    Attributes:
        data: uint8[S].
        ends: int64[U + 1], bytes before each history, and S.
        oldest: Times that no later event reaches back to: int64[P] by partition for members,
            int64[U] by history for labels.
    """

    data: Bytes
    ends: Ints
    oldest: Ints


class Events(NamedTuple):
    """N events of a micro-batch.

    Attributes:
        order: int64[N], columns of ``rows`` by history, in a history in the order of the log.
        ends: int64[U + 1], events of the histories before each one, and N.
        rows: int64[KEPT + K, N], as in ``History``.
        base: int64[N], the event time, or for a late event the earliest time that would not have
            been late.
        late: bool[N].
        first: int64[P], the batch's first offset by partition; the highest number where it has no
            event. Members from there on come again: they are of an attempt that was not committed,
            or later in the log.
    """

    order: Ints
    ends: Ints
    rows: Ints
    base: Ints
    late: Bools
    first: Ints


class Results(NamedTuple):
    """Results for N events and U histories.

    The bytes of a history begin where its events, or its stored bytes, begin: histories do not
    depend on each other.

    Attributes:
        values: float64[W, N].
        duplicate: bool[N], True for an event whose id is already in its history.
        capped: bool[N], True where the cap hides a member within the horizon.
        added: uint8[N * size], members to append.
        added_bytes: int64[U].
        compacted: uint8[S], members that replace the stored ones.
        compacted_bytes: int64[U], NOWHERE for a history that stays.
        labels: uint8[L], labels that replace the stored ones.
        labels_bytes: int64[U], NOWHERE for labels that stay.
    """

    values: Floats
    duplicate: Bools
    capped: Bools
    added: Bytes
    added_bytes: Ints
    compacted: Bytes
    compacted_bytes: Ints
    labels: Bytes
    labels_bytes: Ints


class Trace(NamedTuple):
    """Request for the members that one window counts for one event.

    Attributes:
        event: Column of the event in ``Events.rows``, or NOWHERE.
        window: Index of the window.
        members: int64[6, C], partition, offset, time, value, fraud and current of each member.
        count: int64[1], the number of members.
    """

    event: int
    window: int
    members: Ints
    count: Ints


class History(NamedTuple):
    """Members of one history that an event sees, sorted by time, partition and offset.

    Attributes:
        rows: int64[KEPT + K, C]; LABEL is the index of the member's first label or NOWHERE, SOURCE
            the index among the stored members.
        counts: int64[Q, C + 1], members before each place that count.
        sums: int64[Q, C + 1], sums of their values.
        table: int64[2, T], hash table of distinct values: a slot is taken where its ticket, in the
            second row, is the current one.
        ticket: int64[1].
    """

    rows: Ints
    counts: Ints
    sums: Ints
    table: Ints
    ticket: Ints


@compiled
def compute(
    plan: Plan,
    stored: Stored,
    labels: Stored,
    events: Events,
    results: Results,
    trace: Trace,
) -> None:
    """Compute the windows of the events of all histories."""
    history = _scratch(plan, stored, events)
    members, counts, sums = history.rows, history.counts, history.sums
    rows, size = events.rows, plan.size
    begin = events.ends[0]
    for of in range(len(events.ends) - 1):
        count = _read(
            stored.data,
            stored.ends[of],
            stored.ends[of + 1],
            size,
            plan.at,
            plan.condition,
            events.first,
            members,
        )
        results.compacted_bytes[of] = _compact(stored, of, plan, members, count, results.compacted)
        known = _read_labels(labels.data, labels.ends[of], labels.ends[of + 1])
        results.labels_bytes[of] = _compact_labels(labels, of, plan.worth, results.labels)
        _sum(members, counts, sums, plan.value, plan.where, 0, count)
        _find_labels(known, members, count)
        added = (events.ends[of] - begin) * size
        for index in range(events.ends[of], events.ends[of + 1]):
            event = events.order[index]
            rows[LABEL, event] = _first_label(known, rows[EVENT_ID, event])
            place = _place(members, count, rows, event)
            _compute_event(plan, history, count, place, known, events, event, results)
            if event == trace.event:
                _trace(plan, members, count, place, known, events, event, results, trace)
            if not (events.late[event] or results.duplicate[event]):
                _insert(members, count, place, rows, event)
                count += 1
                _sum(members, counts, sums, plan.value, plan.where, place, count)
                _write(rows, event, plan.at, plan.condition, results.added, added)
                added += size
        results.added_bytes[of] = added - (events.ends[of] - begin) * size


@compiled
def _scratch(plan: Plan, stored: Stored, events: Events) -> History:
    most = 1
    for of in range(len(events.ends) - 1):
        members = (stored.ends[of + 1] - stored.ends[of]) // plan.size
        most = max(most, members + events.ends[of + 1] - events.ends[of])
    slots = 2
    while slots < 2 * most:
        slots *= 2
    return History(
        np.empty((events.rows.shape[0], most), np.int64),
        np.zeros((len(plan.value), most + 1), np.int64),
        np.zeros((len(plan.value), most + 1), np.int64),
        np.zeros((2, slots), np.int64),
        np.zeros(1, np.int64),
    )


@compiled
def _order(keys: Ints, count: int) -> Ints:
    """Stable order of the first ``count`` columns of ``keys``, compared row by row."""
    order, other = np.arange(count), np.empty(count, np.int64)
    width = 1
    while width < count:
        for low in range(0, count, 2 * width):
            middle, high = min(low + width, count), min(low + 2 * width, count)
            left, right = low, middle
            for place in range(low, high):
                if left < middle and (
                    right >= high or not _before(keys, order[right], order[left])
                ):
                    other[place] = order[left]
                    left += 1
                else:
                    other[place] = order[right]
                    right += 1
        order, other = other, order
        width *= 2
    return order


@compiled
def _before(keys: Ints, one: int, other: int) -> bool:
    for row in range(keys.shape[0]):
        if keys[row, one] != keys[row, other]:
            return keys[row, one] < keys[row, other]
    return False


@compiled
def _compare(rows: Ints, place: int, others: Ints, other: int) -> int:
    """Order of two members: negative, 0 for the same position, positive."""
    for row in (TIME, PARTITION, OFFSET):
        if rows[row, place] != others[row, other]:
            return -1 if rows[row, place] < others[row, other] else 1
    return 0


@compiled
def _read(
    data: Bytes,
    begin: int,
    end: int,
    size: int,
    at_kept: Ints,
    condition: Bools,
    first: Ints,
    rows: Ints,
) -> int:
    """Read the members from before the batch, each once, in order; return their number."""
    count, in_order = 0, True
    for index in range((end - begin) // size):
        at = begin + index * size
        partition, offset = load32(data, at), load64(data, at + AT_OFFSET)
        if 0 <= partition < len(first) and offset >= first[partition]:
            continue
        rows[PARTITION, count] = partition
        rows[OFFSET, count] = offset
        rows[TIME, count] = load64(data, at + AT_TIME)
        rows[EVENT_ID, count] = load64(data, at + AT_EVENT_ID)
        rows[SOURCE, count] = index
        for column in range(len(at_kept)):
            position = at + at_kept[column]
            kept = np.int64(data[position]) if condition[column] else load64(data, position)
            rows[KEPT + column, count] = kept
        if count and _compare(rows, count - 1, rows, count) >= 0:
            in_order = False
        count += 1
    return count if in_order else _sort(rows, count)


@compiled
def _sort(rows: Ints, count: int) -> int:
    """Sort members, and drop repeated ones; return the number that is left."""
    order, unsorted = _order(rows[: OFFSET + 1], count), rows[:, :count].copy()
    left = 0
    for place in range(count):
        if left and _compare(rows, left - 1, unsorted, order[place]) == 0:
            continue
        for row in range(rows.shape[0]):
            rows[row, left] = unsorted[row, order[place]]
        left += 1
    return left


@compiled
def _sum(
    rows: Ints, counts: Ints, sums: Ints, value: Ints, where: Ints, begin: int, end: int
) -> None:
    """Renew the running counts and sums behind the places [begin, end)."""
    for pair in range(len(value)):
        of, filter_ = value[pair], where[pair]
        count, total = counts[pair, begin], sums[pair, begin]
        for place in range(begin, end):
            if _counts(rows, of, filter_, place):
                count += 1
                if of >= 0:
                    total += rows[of, place]
            counts[pair, place + 1] = count
            sums[pair, place + 1] = total


@compiled
def _counts(rows: Ints, value: int, where: int, place: int) -> bool:
    """True for a member that passes the filter and has the value."""
    if where >= 0 and rows[where, place] == 0:
        return False
    return value < 0 or rows[value, place] != MISSING


@compiled
def _place(members: Ints, count: int, rows: Ints, event: int) -> int:
    """Place of an event among the members."""
    place = count
    while place and _compare(members, place - 1, rows, event) > 0:
        place -= 1
    return place


@compiled
def _behind(rows: Ints, row: int, count: int, value: int) -> int:
    """Place behind the last of ``count`` ascending values of a row that is at most ``value``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if rows[row, middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _insert(members: Ints, count: int, place: int, rows: Ints, event: int) -> None:
    """Insert an event at ``place`` of ``count`` members."""
    for row in range(rows.shape[0]):
        for behind in range(count, place, -1):
            members[row, behind] = members[row, behind - 1]
        members[row, place] = rows[row, event]


@compiled
def _write(rows: Ints, event: int, at_kept: Ints, condition: Bools, data: Bytes, at: int) -> None:
    """Write an event as a member."""
    store32(data, at, rows[PARTITION, event])
    store64(data, at + AT_OFFSET, rows[OFFSET, event])
    store64(data, at + AT_TIME, rows[TIME, event])
    store64(data, at + AT_EVENT_ID, rows[EVENT_ID, event])
    for column in range(len(at_kept)):
        position, value = at + at_kept[column], rows[KEPT + column, event]
        if condition[column]:
            data[position] = 1 if value else 0
        else:
            store64(data, position, value)


@compiled
def _compute_event(
    plan: Plan,
    history: History,
    count: int,
    place: int,
    known: Ints,
    events: Events,
    event: int,
    results: Results,
) -> None:
    """Find out whether an event is a duplicate, and compute its windows."""
    members, rows, base = history.rows, events.rows, events.base[event]
    floor = max(0, count - plan.cap)
    results.capped[event] = floor > 0 and members[TIME, floor - 1] > base - plan.horizon
    oldest = max(floor, _behind(members, TIME, count, base - plan.duplicates))
    duplicate = _has(members, oldest, count, rows[EVENT_ID, event])
    results.duplicate[event] = duplicate
    for window in range(len(plan.pair)):
        pair = plan.pair[window]
        after = base - plan.reach[window]
        first = max(floor, _behind(members, TIME, count, after))
        end = max(first, _behind(members, TIME, count, rows[TIME, event] - plan.delay[window]))
        value, where = plan.value[pair], plan.where[pair]
        itself = plan.current[window] and not duplicate and _counts(rows, value, where, event)
        counted = history.counts[pair, end] - history.counts[pair, first] + (1 if itself else 0)
        aggregate = plan.aggregate[window]
        if counted == 0 or (aggregate == STD and counted == 1):
            result = plan.default[window]
        elif aggregate == COUNT:
            result = np.float64(counted)
        elif aggregate == SUM or aggregate == MEAN or aggregate == STD:
            total = history.sums[pair, end] - history.sums[pair, first]
            if itself:
                total += rows[value, event]
            if aggregate == SUM:
                result = np.float64(total) / plan.unit[window]
            elif aggregate == MEAN:
                result = total / (counted * plan.unit[window])
            else:
                own = min(max(place, first), end) if itself else NOWHERE
                result = (
                    _std(members, first, end, value, where, own, rows, event, total, counted)
                    / plan.unit[window]
                )
        elif aggregate == FRAUD_SHARE:
            frauds = _frauds(members, first, end, value, where, itself, known, rows, event, after)
            result = frauds / np.float64(counted)
        elif aggregate == DISTINCT:
            result = (
                _distinct(
                    members,
                    first,
                    end,
                    value,
                    where,
                    itself,
                    rows,
                    event,
                    history.table,
                    history.ticket,
                )
                / plan.unit[window]
            )
        elif aggregate == MIN or aggregate == MAX:
            result = (
                _extreme(members, first, end, value, where, itself, rows, event, aggregate == MIN)
                / plan.unit[window]
            )
        else:
            latest = _latest(members, first, end, value, where)
            own_time = itself and latest < place
            if aggregate == TIME_SINCE_LAST:
                time = rows[TIME, event] if own_time else members[TIME, latest]
                result = (rows[TIME, event] - time) / SECOND
            else:
                kept = rows[value, event] if own_time else members[value, latest]
                result = kept / plan.unit[window]
        results.values[window, event] = result


@compiled
def _has(rows: Ints, first: int, end: int, ident: int) -> bool:
    """True if a member in [first, end) has the id."""
    hits = 0
    for place in range(first, end):
        hits += 1 if rows[EVENT_ID, place] == ident else 0
    return hits > 0


@compiled
def _latest(rows: Ints, first: int, end: int, value: int, where: int) -> int:
    """Place of the last member in [first, end) that counts, or NOWHERE."""
    for place in range(end - 1, first - 1, -1):
        if _counts(rows, value, where, place):
            return place
    return NOWHERE


@compiled
def _std(
    members: Ints,
    first: int,
    end: int,
    value: int,
    where: int,
    own: int,
    rows: Ints,
    event: int,
    total: int,
    counted: int,
) -> float:
    """Sample standard deviation (n - 1): squares are added in member order, the event at ``own``."""
    mean, squares = np.float64(total) / np.float64(counted), 0.0
    for place in range(first, end + 1):
        if place == own:
            apart = np.float64(rows[value, event]) - mean
            squares += apart * apart
        if place < end and _counts(members, value, where, place):
            apart = np.float64(members[value, place]) - mean
            squares += apart * apart
    return np.sqrt(squares / np.float64(counted - 1))


@compiled
def _extreme(
    members: Ints,
    first: int,
    end: int,
    value: int,
    where: int,
    itself: bool,
    rows: Ints,
    event: int,
    least: bool,
) -> int:
    """The smallest or the largest value of the members in [first, end) and of the event itself."""
    extreme, some = rows[value, event], itself
    for place in range(first, end):
        if _counts(members, value, where, place):
            other = members[value, place]
            if not some or (other < extreme if least else other > extreme):
                extreme, some = other, True
    return extreme


@compiled
def _distinct(
    members: Ints,
    first: int,
    end: int,
    value: int,
    where: int,
    itself: bool,
    rows: Ints,
    event: int,
    table: Ints,
    ticket: Ints,
) -> int:
    """Number of distinct values of the members in [first, end) and of the event itself."""
    ticket[0] += 1
    distinct = 0
    for place in range(first, end):
        if _counts(members, value, where, place):
            distinct += _enter(table, ticket[0], members[value, place])
    if itself:
        distinct += _enter(table, ticket[0], rows[value, event])
    return distinct


@compiled
def _enter(table: Ints, ticket: int, value: int) -> int:
    """Put a value into the hash table; return 1 if it is new there."""
    mask = table.shape[1] - 1
    slot = (value ^ (value >> 9) ^ (value >> 21) ^ (value >> 42)) & mask
    while table[1, slot] == ticket:
        if table[0, slot] == value:
            return 0
        slot = (slot + 1) & mask
    table[0, slot] = value
    table[1, slot] = ticket
    return 1


@compiled
def _frauds(
    members: Ints,
    first: int,
    end: int,
    value: int,
    where: int,
    itself: bool,
    known: Ints,
    rows: Ints,
    event: int,
    after: int,
) -> int:
    """Number of members in [first, end), and the event itself, that count and are known frauds."""
    if known.shape[1] == 0:
        return 0
    time, frauds = rows[TIME, event], 0
    for place in range(first, end):
        label = members[LABEL, place]
        if label >= 0 and _counts(members, value, where, place):
            frauds += _is_fraud(known, label, time, after)
    if itself and rows[LABEL, event] >= 0:
        frauds += _is_fraud(known, rows[LABEL, event], time, after)
    return frauds


@compiled
def _is_fraud(known: Ints, label: int, time: int, after: int) -> int:
    """1 if the latest label known at ``time`` says fraud; of events behind ``after`` only.

    The result must not depend on older labels that the store may still hold.
    """
    fraud, ident = 0, known[0, label]
    while label < known.shape[1] and known[0, label] == ident:
        if known[1, label] <= time and known[5, label] > after:
            fraud = known[4, label]
        label += 1
    return fraud


@compiled
def _read_labels(data: Bytes, begin: int, end: int) -> Ints:
    """Labels of a history whose events have a fraud label, sorted.

    Returns:
        int64[6, L]: event id, label time, partition, offset, fraud, event time.
    """
    size = (end - begin) // LABEL_SIZE
    frauds = np.empty((1, size), np.int64)
    count = 0
    for index in range(size):
        at = begin + index * LABEL_SIZE
        if data[at + AT_FRAUD]:
            frauds[0, count] = load64(data, at + AT_EVENT_ID)
            count += 1
    known = np.empty((6, size if count else 0), np.int64)
    if not count:
        return known
    frauds = _ordered(frauds, 1, count)
    count = 0
    for index in range(size):
        at = begin + index * LABEL_SIZE
        ident = load64(data, at + AT_EVENT_ID)
        nearest = _behind(frauds, 0, frauds.shape[1], ident)
        if nearest and frauds[0, nearest - 1] == ident:
            known[0, count] = ident
            known[1, count] = load64(data, at + AT_LABEL_TIME)
            known[2, count] = load32(data, at)
            known[3, count] = load64(data, at + AT_OFFSET)
            known[4, count] = 1 if data[at + AT_FRAUD] else 0
            known[5, count] = load64(data, at + AT_TIME)
            count += 1
    return _ordered(known, 5, count)


@compiled
def _ordered(columns: Ints, keys: int, count: int) -> Ints:
    """The first ``count`` columns in the order of the first ``keys`` rows."""
    order = _order(columns[:keys], count)
    ordered = np.empty((columns.shape[0], count), np.int64)
    for place in range(count):
        for row in range(columns.shape[0]):
            ordered[row, place] = columns[row, order[place]]
    return ordered


@compiled
def _find_labels(known: Ints, rows: Ints, count: int) -> None:
    """Note the first label of each of ``count`` members."""
    if known.shape[1] == 0:
        for place in range(count):
            rows[LABEL, place] = NOWHERE
    else:
        for place in range(count):
            rows[LABEL, place] = _first_label(known, rows[EVENT_ID, place])


@compiled
def _first_label(known: Ints, ident: int) -> int:
    """Index of the first label of an event, or NOWHERE."""
    low, high = 0, known.shape[1]
    while low < high:
        middle = (low + high) >> 1
        if known[0, middle] < ident:
            low = middle + 1
        else:
            high = middle
    return low if low < known.shape[1] and known[0, low] == ident else NOWHERE


@compiled
def _compact(stored: Stored, of: int, plan: Plan, rows: Ints, count: int, out: Bytes) -> int:
    """Write the stored members that a later event may reach, where enough of them go.

    Members that may come again stay, whatever their time. Of more members than twice the cap the
    newest stay, and one more, to know that there are others.

    Args:
        stored: Stored members of all histories.
        of: The history.
        plan: Windows.
        rows: Its members from before the batch.
        count: Number of these.
        out: The value is written from the history's first byte on.

    Returns:
        Bytes written, NOWHERE if the history stays as it is.
    """
    begin, oldest = stored.ends[of], stored.oldest
    size = (stored.ends[of + 1] - begin) // plan.size
    if size < plan.worth:
        return NOWHERE
    needed = 0
    for place in range(count):
        needed += _needed(oldest, rows[PARTITION, place], rows[TIME, place])
    kept = min(needed, plan.cap + 1) if needed > 2 * plan.cap else needed
    # Members that come again, and repeated ones, are not among ``count``; most histories have none.
    other = size - count
    if size - kept - other < max(kept + other, plan.worth):
        return NOWHERE
    keep = np.ones(size, np.uint8)
    excess = needed - kept
    for place in range(count):
        stays = _needed(oldest, rows[PARTITION, place], rows[TIME, place])
        if stays and excess:
            stays, excess = 0, excess - 1
        keep[rows[SOURCE, place]] = stays
    return _copy(stored.data, begin, plan.size, keep, out)


@compiled
def _needed(oldest: Ints, partition: int, time: int) -> int:
    """1 for a member that a later event may reach."""
    within = 0 <= partition < len(oldest)
    return 1 if not within or time > oldest[partition] else 0


@compiled
def _compact_labels(labels: Stored, of: int, worth: int, out: Bytes) -> int:
    """Write the stored labels that a later event may reach, where enough of them go.

    Returns:
        Bytes written, NOWHERE if the labels stay as they are.
    """
    begin = labels.ends[of]
    size = (labels.ends[of + 1] - begin) // LABEL_SIZE
    if size < worth:
        return NOWHERE
    keep = np.zeros(size, np.uint8)
    kept = 0
    for index in range(size):
        if load64(labels.data, begin + index * LABEL_SIZE + AT_TIME) > labels.oldest[of]:
            keep[index] = 1
            kept += 1
    if size - kept < max(kept, worth):
        return NOWHERE
    return _copy(labels.data, begin, LABEL_SIZE, keep, out)


@compiled
def _copy(data: Bytes, begin: int, size: int, keep: Bytes, out: Bytes) -> int:
    """Copy the items to keep to the same place of ``out``; return their number of bytes."""
    at = begin
    for index in range(len(keep)):
        if keep[index]:
            item = begin + index * size
            out[at : at + size] = data[item : item + size]
            at += size
    return at - begin


@compiled
def _trace(
    plan: Plan,
    members: Ints,
    count: int,
    place: int,
    known: Ints,
    events: Events,
    event: int,
    results: Results,
    trace: Trace,
) -> None:
    """List the members that the traced window counts for the traced event, in member order."""
    window, rows = trace.window, events.rows
    pair = plan.pair[window]
    value, where = plan.value[pair], plan.where[pair]
    time, after = rows[TIME, event], events.base[event] - plan.reach[window]
    first = max(max(0, count - plan.cap), _behind(members, TIME, count, after))
    end = max(first, _behind(members, TIME, count, time - plan.delay[window]))
    itself = plan.current[window] and not results.duplicate[event]
    own = min(max(place, first), end) if itself else NOWHERE
    for other in range(first, end + 1):
        if other == own and _counts(rows, value, where, event):
            _note(rows, value, event, known, time, after, 1, trace)
        if other < end and _counts(members, value, where, other):
            _note(members, value, other, known, time, after, 0, trace)


@compiled
def _note(
    rows: Ints,
    value: int,
    place: int,
    known: Ints,
    time: int,
    after: int,
    current: int,
    trace: Trace,
) -> None:
    """Add a member to the trace."""
    label, at = rows[LABEL, place], trace.count[0]
    trace.members[0, at] = rows[PARTITION, place]
    trace.members[1, at] = rows[OFFSET, place]
    trace.members[2, at] = rows[TIME, place]
    trace.members[3, at] = rows[value, place] if value >= 0 else MISSING
    trace.members[4, at] = _is_fraud(known, label, time, after) if label >= 0 else 0
    trace.members[5, at] = current
    trace.count[0] += 1
