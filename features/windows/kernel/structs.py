"""Arrays that the compiled loops over histories read and write, and the meaning of their rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from base.arrays import Bytes, Floats, Longs, Mask

MISSING = np.iinfo(np.int64).min
"""Sentinel for a missing value of an event."""
UNREACHED = np.iinfo(np.int64).min
"""Time before all times."""
NOWHERE = -1
"""Index that refers to nothing."""
NO_PARTITION = np.iinfo(np.int64).min
"""Partition of no member; that of files is -1."""


class CompiledWindows(NamedTuple):
    """W windows of one entity; their Q distinct pairs of value and filters; K kept columns.

    Attributes:
        windows: int64[5, W]: the aggregate; microseconds from the event back to the start and to
            the end of the window; 1 if the event counts itself; index of the pair.
        numbers: float64[3, W]: value of an empty window; divisor that converts kept whole numbers
            to the value's unit; half-life in microseconds or percent, of aggregates that have one.
        pairs: int64[5, Q], rows of ``History.members``, or NOWHERE: the value; the filter, which in
            a shared history leaves repeats out; the filter that members store; the value that must
            be the event's own; the filter by all of these.
        columns: int64[2, K]: byte position in a stored member; 1 for a condition of one byte.
        height: Rows of ``History.members``.
        size: Bytes of a stored member.
        horizon: Microseconds back from an event that windows and the search for duplicates use.
        duplicates: Microseconds back from an event in which its id is searched for.
        cap: Maximum number of members that an event sees.
        worth: Minimum number of members that a compaction removes.
        shared: True for histories whose members may be of several partitions.
        delay: Longest delay of a window, in microseconds.
    """

    windows: Longs
    numbers: Floats
    pairs: Longs
    columns: Longs
    height: int
    size: int
    horizon: int
    duplicates: int
    cap: int
    worth: int
    shared: bool
    delay: int


class Stored(NamedTuple):
    """Stored values of U histories.

    Attributes:
        data: uint8[B].
        begins: int64[U], place of each value in ``data``.
        lengths: int64[U], bytes of each value.
        oldest: Times that no later event reaches back to: int64[P] by partition for members,
            int64[U] by history for labels. For members of shared histories int64[2]: the time that
            no later event reaches back to, and the newest time at or before which no event joins
            and no window's cap counts from.
    """

    data: Bytes
    begins: Longs
    lengths: Longs
    oldest: Longs


class Events(NamedTuple):
    """N events of a micro-batch.

    Attributes:
        order: int64[N], rows of the events by history, in a history in the order of the log.
        ends: int64[U + 1], events before those of each history, and those before the end.
        members: int64[KEPT + K, N], the events as members, in ``order``; LABEL and SOURCE are not
            read.
        base: int64[N], the event time, or for a late event the earliest time that would not have
            been late; in ``order``.
        outside: bool[N], events that join no history: they are late, or arrived too late for a
            shared one; in ``order``.
        first: int64[P], the batch's first offset by partition; the highest number where it has no
            event. Stored members from there on are ahead of the batch: of an attempt that was not
            committed, or applied before they are scored.
    """

    order: Longs
    ends: Longs
    members: Longs
    base: Longs
    outside: Mask
    first: Longs


class Results(NamedTuple):
    """Results for N events and U histories.

    Members to append begin where those of the events begin, if all were appended: histories do not
    depend on each other.

    Attributes:
        values: float64[W, N].
        duplicate: bool[N], True for an event whose id is already in its history, of a shared one
            among the members of its own partition.
        capped: bool[N], True where the cap hides a member within the horizon.
        added: uint8[N * size], members to append.
        compacted: uint8[S], members that replace the stored ones, of one history after the other; S
            is the number of bytes of all stored members.
        labels: uint8[L], labels that replace the stored ones, likewise.
        begins: int64[3, U], place of a history's bytes in each of the three.
        lengths: int64[3, U], their number; NOWHERE for a history or labels that stay as they
            are.
    """

    values: Floats
    duplicate: Mask
    capped: Mask
    added: Bytes
    compacted: Bytes
    labels: Bytes
    begins: Longs
    lengths: Longs


class Trace(NamedTuple):
    """Request for the members that one window counts for one event.

    Attributes:
        event: Row of the event in the batch, or NOWHERE.
        window: Index of the window.
        members: int64[6, C], partition, offset, time, value, fraud and current of each member.
        number: int64[1], the number of members.
    """

    event: int
    window: int
    members: Longs
    number: Longs


class History(NamedTuple):
    """Scratch space for one history at a time, of at most C members.

    Attributes:
        members: int64[KEPT + K, C + 1], the members that an event sees, sorted by MEMBER_KEYS;
            LABEL is the index of the member's first label or NOWHERE, SOURCE the index among the
            stored members. The last column is the event itself. Behind these rows, shared histories
            have the place of the member before with the same event id, or NOWHERE, and filters;
            then come the filters by an event's own value.
        all: int64[the same], members of a shared history with those ahead of the batch, which some
            events see; int64[R, 1] for others.
        counts: int64[Q, C + 1], members before each place that count.
        sums: int64[Q, C + 1], sums of their values.
        chosen: int64[C + 1], columns of the members that a window counts.
        scratch: int64[C + 1], their values, or the frequencies of these.
        table: int64[3, T], hash table of distinct values and their numbers: a slot is taken if its
            second row holds the ticket of the present search. A search for repeats takes the first
            row alone.
        ends: int64[2], places of the first member within a window's time, and of the first behind
            it.
    """

    members: Longs
    all: Longs
    counts: Longs
    sums: Longs
    chosen: Longs
    scratch: Longs
    table: Longs
    ends: Longs
