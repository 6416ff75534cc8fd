"""Fraud labels of one history."""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import inner, leaf, load32, load64
from features.windows.kernel import rows
from features.windows.kernel.columns import first_of, sort
from features.windows.kernel.structs import NOWHERE


@inner
def read_labels(data: Bytes, begin: int, end: int) -> Longs:
    """Read the labels of events that have a fraud label, sorted by LABEL_KEYS.

    Returns:
        int64[6, L]; most histories have none.
    """
    count, frauds = (end - begin) // rows.LABEL_SIZE, 0
    for index in range(count):
        frauds += data[begin + index * rows.LABEL_SIZE + rows.AT_FRAUD] != 0
    if not frauds:
        return np.empty((6, 0), np.int64)
    ids, number = np.empty((1, frauds), np.int64), 0
    for index in range(count):
        at = begin + index * rows.LABEL_SIZE
        if data[at + rows.AT_FRAUD]:
            ids[0, number] = load64(data, at + rows.AT_EVENT_ID)
            number += 1
    sort(ids, 1, frauds)
    keep, number = np.empty(count, np.bool_), 0
    for index in range(count):
        ident = load64(data, begin + index * rows.LABEL_SIZE + rows.AT_EVENT_ID)
        keep[index] = first_of(ids, 0, frauds, ident) != NOWHERE
        number += keep[index]
    labels, place = np.empty((6, number), np.int64), 0
    for index in range(count):
        if keep[index]:
            at = begin + index * rows.LABEL_SIZE
            labels[rows.ID, place] = load64(data, at + rows.AT_EVENT_ID)
            labels[rows.LABEL_TIME, place] = load64(data, at + rows.AT_LABEL_TIME)
            labels[rows.LABEL_PARTITION, place] = load32(data, at)
            labels[rows.LABEL_OFFSET, place] = load64(data, at + rows.AT_OFFSET)
            labels[rows.FRAUD, place] = 1 if data[at + rows.AT_FRAUD] else 0
            labels[rows.EVENT_TIME, place] = load64(data, at + rows.AT_TIME)
            place += 1
    sort(labels, rows.LABEL_KEYS, number)
    return labels


@leaf
def find_labels(labels: Longs, members: Longs, begin: int, end: int) -> None:
    """Note the first label of each of the members in [begin, end)."""
    for place in range(begin, end):
        members[rows.LABEL, place] = NOWHERE
    if labels.shape[1]:
        for place in range(begin, end):
            members[rows.LABEL, place] = first_of(
                labels, rows.ID, labels.shape[1], members[rows.EVENT_ID, place]
            )


@leaf
def is_fraud(labels: Longs, first: int, time: int, after: int) -> int:
    """1 if the latest label known at ``time`` says fraud; of events behind ``after`` only.

    The result must not depend on older labels that the store may still hold.

    Args:
        labels: Labels of the history.
        first: Index of the event's first label, or NOWHERE.
        time: Event time of the event that looks back.
        after: Exclusive lower bound on the event time of the labelled event.
    """
    fraud, label = 0, first
    while (
        label >= 0 and label < labels.shape[1] and labels[rows.ID, label] == labels[rows.ID, first]
    ):
        if labels[rows.LABEL_TIME, label] <= time and labels[rows.EVENT_TIME, label] > after:
            fraud = labels[rows.FRAUD, label]
        label += 1
    return fraud


@leaf
def count_frauds(members: Longs, chosen: Longs, number: int, labels: Longs, after: int) -> int:
    """Number of known frauds."""
    time, frauds = members[rows.TIME, members.shape[1] - 1], 0
    for index in range(number):
        label = members[rows.LABEL, chosen[index]]
        if label != NOWHERE:
            frauds += is_fraud(labels, label, time, after)
    return frauds
