"""Events and labels as commands are given them, and what is said of those that are none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from features.build import Refusal
    from features.definition import FeatureSet
    from features.labels import KnownLabels

EventsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--events",
        metavar="FILE...",
        help="Events: .parquet, .avro (container), .jsonl or .ndjson, one after the other.",
        show_default=False,
    ),
]
# `--events a b c`: an option takes one value, what follows it are arguments.
MoreEvents = Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", hidden=True)]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Labels, in place of the label column of the events.",
        show_default=False,
    ),
]
_SHOWN = 5


def known_labels(feature_set: FeatureSet, path: Path | None) -> KnownLabels | None:
    """All labels of a file; None where there is no file.

    Raises ConfigurationError where it has rows and none of them is a label.
    """
    from features.labels import KnownLabels, LabelFile

    if path is None:
        return None
    parts, refused = [], []
    for rows, errors in LabelFile(feature_set, path):
        parts.append(rows)
        refused += errors
    tell_refused("labels", len(refused), refused)
    refuse_nothing(f"--labels: {path}", sum(map(len, parts)), len(refused))
    return KnownLabels(feature_set, parts)


def tell_refused(
    what: str, count: int, examples: Sequence[Refusal], by_code: Mapping[str, int] | None = None
) -> None:
    """Says on stderr how many rows are not ``what``, why, and which the first are."""
    if not count:
        return
    codes = ", ".join(f"{number:,} {code}" for code, number in (by_code or {}).items())
    note(f"{count:,} are no {what}{f': {codes}' if codes else ''}")
    for refusal in examples[:_SHOWN]:
        note(f"  {refusal.where}: {refusal.code}: {refusal.message}")
    if count > _SHOWN:
        note("  …")


def refuse_nothing(source: str, labels: int, refused: int) -> None:
    """Raise ConfigurationError where a source has rows and none of them is a label."""
    from schemas.errors import ConfigurationError

    if refused and not labels:
        raise ConfigurationError(
            f"{source}: of {refused:,} rows none is a label; correct them, or name their columns "
            "under events of features.yaml"
        )


def tell_unknown(feature_set: FeatureSet, *, labelled: bool) -> None:
    """Says on stderr which features cannot have the values that they have online."""
    from features.windows.window import Aggregate

    shares = [w.name for w in feature_set.windows if w.aggregate is Aggregate.FRAUD_SHARE]
    if shares and not labelled:
        note(f"no labels: {', '.join(shares)} count no frauds")
    if feature_set.lookups:
        names = ", ".join(feature_set.lookups)
        note(f"lookups ({names}) take their declared defaults: what they were is nowhere kept")


def note(text: str) -> None:
    """Says something beside the result."""
    print(text, file=sys.stderr)
