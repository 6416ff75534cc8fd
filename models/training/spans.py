"""Choose the days to learn from, by earlier folds that assess the same events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.errors import ConfigurationError
from models.training.folds import Fold, Span, earlier_folds
from models.training.plan import Plan
from models.training.recipes import DEEP, FEW, MANY_FRAUDS, Recipe
from models.training.sample import sample
from models.training.search import Part
from models.training.table import LabelledEvents


@dataclass(frozen=True, slots=True)
class Way:
    """A span with its recipe; the first part of the search chooses one."""

    span: Span
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TriedSpan:
    """A span with its best average precision and its best merit on the earlier folds."""

    span: Span
    average_precision: float
    merit: float


def folds_by_span(events: LabelledEvents, plan: Plan) -> dict[Span, list[Fold]]:
    """Folds of each span, latest first; the folds of all spans assess the same events.

    Folds without frauds, or without other events, are left out. So are spans that would have fewer
    folds than others.
    """
    found = {
        span: list(earlier_folds(events, plan.begin, span, plan.lengths_of(span), plan.folds))
        for span in plan.spans
    }
    usable = {
        span: [place for place, fold in enumerate(folds) if _holds_both(fold)]
        for span, folds in found.items()
    }
    most = max(map(len, usable.values()))
    if not most:
        may_be_why = "".join(f"{one}. Otherwise " for one in plan.apart)
        raise ConfigurationError(
            "--features: no earlier fold holds both frauds and others, in the days to train on and "
            f"in those to assess; {may_be_why}train on later or more days. Where only frauds are "
            "labelled, give --unlabelled legit"
        )
    return {
        span: [found[span][place] for place in places]
        for span, places in usable.items()
        if len(places) == most
    }


def ways(folds: Mapping[Span, Sequence[Fold]]) -> list[Way]:
    """Each span with its recipe: deep trees where all its folds have many frauds to train on."""
    frauds = {
        span: min(int(fold.train_labels.sum()) for fold in of_span)
        for span, of_span in folds.items()
    }
    return [Way(span, DEEP if many >= MANY_FRAUDS else FEW) for span, many in frauds.items()]


def parts_of(
    events: LabelledEvents, folds: Sequence[Fold], span: Span, most: int, seed: int
) -> list[Part]:
    """The folds, each with a sample of at most `most` rows to fit models on."""
    return [
        Part(fold, sample(events, fold.train, fold.train_labels, span, most, seed))
        for fold in folds
    ]


def _holds_both(fold: Fold) -> bool:
    return all(0 < labels.sum() < len(labels) for labels in (fold.train_labels, fold.labels))
