"""Reports on stderr about the rows of an input; labels and past lookup values of files."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from base.file_path import FilePath, file_path

if TYPE_CHECKING:
    from features.definition import FeatureSet
    from features.loading import KnownLabels, PastLookup
    from features.tables import Built, HistoryRun
    from features.windows.order import InputTimes
    from schemas.batch import Refusal

SORT_THEM = "--sort sorts all rows by event time first"
_SHOWN = 5


def known_labels(feature_set: FeatureSet, path: FilePath | None) -> KnownLabels | None:
    """Read all labels of a file; None if no file is given.

    Raises:
        ConfigurationError: No row of the file is a label, or the file has no rows.
    """
    from base.errors import ConfigurationError
    from features.loading import KnownLabels, LabelFile

    if path is None:
        return None
    parts, refused = [], []
    try:
        for rows, errors in LabelFile(feature_set, path):
            parts.append(rows)
            refused += errors
    except ConfigurationError as error:
        raise ConfigurationError(f"--labels: {error}") from error
    tell_refused("labels", len(refused), refused)
    labels = sum(map(len, parts))
    refuse_nothing(f"--labels: {path}", labels, len(refused))
    if not labels:
        raise ConfigurationError(
            f"--labels: {path} has no rows; give a file with labels, or remove the option"
        )
    return KnownLabels(feature_set, parts)


def past_lookups(feature_set: FeatureSet, given: Sequence[str]) -> dict[str, PastLookup]:
    """Read the files of past values, each given as NAME=FILE, by the name of the lookup.

    Raises:
        ConfigurationError: An option is invalid, or a file is.
    """
    from base.errors import ConfigurationError
    from features.loading.past_lookups import read_past_lookup

    past: dict[str, PastLookup] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise ConfigurationError(
                f"--lookup: {text!r} is not NAME=FILE; write it like card_holder=history.parquet"
            )
        if name in past:
            raise ConfigurationError(
                f"--lookup: {name} is given twice; put all its rows into one file"
            )
        try:
            past[name] = read_past_lookup(feature_set, name, file_path(file))
        except ConfigurationError as error:
            raise ConfigurationError(f"--lookup: {error}") from error
    return past


def tell_refused(
    kind: str, count: int, examples: Sequence[Refusal], by_code: Mapping[str, int] | None = None
) -> None:
    """Report on stderr the number of refused rows, by code, and the first of them.

    Args:
        kind: Kind of record that the rows should be, in the plural: ``events``.
        count: Number of refused rows.
        examples: Some of them.
        by_code: Number of refused rows by error code.
    """
    if not count:
        return
    codes = ", ".join(f"{number:,} {code}" for code, number in (by_code or {}).items())
    note(f"refused: {count:,} rows are not valid {kind}{f': {codes}' if codes else ''}")
    for refusal in examples[:_SHOWN]:
        note(f"  {refusal.where}: {refusal.code}: {refusal.message}")
    if count > _SHOWN:
        note("  …")


def require_fraud_windows(feature_set: FeatureSet, file: Path) -> None:
    """Raise ConfigurationError if no window of the features file counts frauds.

    Without such a window, no entity key of a label is required: labels could not be found by it.
    """
    from base.errors import ConfigurationError

    if not feature_set.labelled_entities:
        raise ConfigurationError(
            f"{file}: no feature counts frauds (window: fraud_share), so labels have no use; add "
            "such a window first"
        )


def refuse_nothing(source: str, labels: int, refused: int) -> None:
    """Raise ConfigurationError if a source has rows and none of them is a label."""
    from base.errors import ConfigurationError

    if refused and not labels:
        raise ConfigurationError(
            f"{source}: none of its {refused:,} rows is a valid label; correct them, or name their "
            "columns under events in features.yaml"
        )


def tell_unmatched(labels: KnownLabels | None, labelled: int) -> None:
    """Report on stderr that none of a file's labels belongs to an event that was read."""
    if labels is not None and not labelled:
        note(
            f"--labels: none of its {len(labels):,} labels belongs to an event that was read, so no "
            "row has a label; see that the column event_id holds the ids of these events"
        )


def tell_unknown(feature_set: FeatureSet, *, labelled: bool, past: Container[str]) -> None:
    """Report on stderr the features whose values differ from those online.

    Args:
        feature_set: The feature set.
        labelled: True if some events have labels.
        past: Names of the lookups with past values.
    """
    from features.inspect.describe import column_names
    from features.windows.window import Aggregate

    shares = [w.name for w in feature_set.histories.windows if w.aggregate is Aggregate.FRAUD_SHARE]
    if shares and not labelled:
        note(f"without labels, {', '.join(shares)} count no frauds; give --labels FILE")
    for lookup in feature_set.lookups:
        features = column_names(f for f in feature_set.features if lookup in f.lookups)
        if features and lookup not in past:
            note(
                f"without past values of lookup {lookup}, its defaults are in "
                f"{', '.join(features)}; give --lookup {lookup}=FILE"
            )


def tell_lookups(past: Iterable[str], flagged: Mapping[str, int]) -> None:
    """Report on stderr how many rows have no past value of a lookup, or one that is too old."""
    for name in past:
        missing, stale = (flagged.get(f"lookup_{s}:{name}", 0) for s in ("missing", "stale"))
        if missing or stale:
            note(
                f"lookup {name} has its defaults in {missing:,} rows without a value at their time, "
                f"and in {stale:,} whose value is older than max_age"
            )


def require_order(
    feature_set: FeatureSet, run: HistoryRun, rows: int, record_time: str | None
) -> None:
    """Raise ConfigurationError if over 1 % of all rows are out of order, late ones included.

    Args:
        feature_set: The feature set; without windows, any order is accepted.
        run: Counts of the rows so far.
        rows: Number of rows of the whole input.
        record_time: The column with the timestamps of the records.
    """
    from base.errors import ConfigurationError
    from features.inspect.describe import duration

    out_of_order = run.times.out_of_order
    if not feature_set.histories.windows or out_of_order * 100 <= rows:
        return
    late, remedy = "", ""
    if run.flagged["late"]:
        late = (
            f", and {run.flagged['late']:,} of them are late (older than the watermark of the rows "
            f"before them by more than history.allowed_lateness, "
            f"{duration(feature_set.histories.rules.allowed_lateness)}), so windows of later rows would "
            "miss them"
        )
    if feature_set.histories.rules.max_ahead is not None and record_time is None:
        remedy = (
            "if wrong clocks may be the reason, give --record-time COLUMN, as history.max_ahead is "
            "not applied without it; otherwise "
        )
    raise ConfigurationError(
        f"--events: the rows are not in order of time: at least {out_of_order:,} of {rows:,} are older than "
        f"a row before them, whose windows would miss them{late}; {remedy}sort them with --sort, "
        "or, if the worker reads them in this order too, keep the order with --allow-late"
    )


def tell_flagged(flagged: Mapping[str, int]) -> None:
    """Report on stderr how many rows are late, ahead of time or short of history."""
    from features.windows.plan import SHORT

    if late := flagged.get("late", 0):
        note(f"{late:,} rows are late; windows of later rows do not count them")
    if ahead := flagged.get("ahead", 0):
        note(f"{ahead:,} rows are ahead of time; see that their times are right")
    if missed := flagged.get("across_late", 0):
        note(
            f"{missed:,} rows arrived later than history.arrival allows; windows over several "
            "partitions do not count them"
        )
    for flag, short in flagged.items():
        kind, _, entity = flag.partition(":")
        if kind == SHORT and short:
            note(
                f"{short:,} rows are short of history ({flag}): windows by {entity} reach back beyond "
                "the beginning of the input; to fill them, put earlier events before it"
            )


def tell_times(
    feature_set: FeatureSet, times: InputTimes | Built, record_time: str | None, remedy: str
) -> None:
    """Report on stderr how many rows of files are out of order, and what could not be checked.

    Args:
        feature_set: The feature set; without windows, nothing is reported.
        times: Counts of rows by order and timestamp.
        record_time: The column with the timestamps of the records.
        remedy: Advice on how to sort the rows.
    """
    if not feature_set.histories.windows:
        return
    if times.out_of_order:
        note(
            f"{times.out_of_order:,} rows are out of order: older than a row before them, whose "
            f"windows do not count them; {remedy}"
        )
    rules = feature_set.histories.rules
    if rules.max_ahead is not None and record_time is None:
        note(
            "no --record-time: history.max_ahead is not applied, so lateness and the flag ahead may "
            "differ from the worker's"
        )
    if rules.arrival and record_time is None:
        note(
            "no --record-time: history.arrival is not applied, so aligned windows may count events "
            "that the worker leaves out, and the flag across_late is missing"
        )
    for name, applies in {
        "history.max_ahead": rules.max_ahead is not None,
        "history.arrival": rules.arrival,
    }.items():
        if applies and record_time is not None and times.without_timestamp:
            note(
                f"{times.without_timestamp:,} rows have no timestamp in column {record_time}: "
                f"{name} is not applied to them"
            )


def note(text: str) -> None:
    """Print a note on stderr, beside the result."""
    print(text, file=sys.stderr)
