"""Choose the training window: how many days to train on.

The options are compared on earlier folds that assess the same events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from base.errors import ConfigurationError
from models.training.folds import Fold, Span, earlier_folds
from models.training.recipes import DEEP, MANY_FRAUDS, SHALLOW, Params, Recipe, candidates
from models.training.sample import sample
from models.training.search import Advance, SampledFold, Trial, search_parameters, step_counter
from models.training.table import LabelledEvents
from models.training.training_days import TrainingDays
from models.training.training_options import TrainingOptions


@dataclass(frozen=True, slots=True)
class SpanRecipe:
    """A span, and the recipe for the number of frauds in it."""

    span: Span
    recipe: Recipe

    def parameter_sets(self, options: TrainingOptions, count: int) -> list[Params]:
        """The first parameter sets of the search; parameters in the options override them."""
        forest = {} if options.forest is None else {"num_parallel_tree": options.forest}
        return [
            {**self.recipe.fixed, **forest, **drawn, **options.params}
            for drawn in candidates(self.recipe, count, options.seed)
        ]


@dataclass(frozen=True, slots=True)
class SpanResult:
    """Average precision and objective of a span's best trial on the earlier folds."""

    span: Span
    average_precision: float
    objective: float


def folds_by_span(events: LabelledEvents, days: TrainingDays) -> dict[Span, list[Fold]]:
    """Folds of each span, latest first; the folds of all spans assess the same events.

    Folds without frauds, or without other events, are left out. Spans with fewer folds than other
    spans are left out, too.

    Raises:
        ConfigurationError: if no fold is left.
    """
    folds = {
        span: list(earlier_folds(events, days.begin, span, days.lengths_of(span), days.folds))
        for span in days.spans
    }
    usable = {
        span: [place for place, fold in enumerate(of_span) if _has_both_classes(fold)]
        for span, of_span in folds.items()
    }
    fold_count = max(map(len, usable.values()))
    if not fold_count:
        likely_cause = "".join(f"{rows}. Otherwise " for rows in days.stray_rows)
        raise ConfigurationError(
            "--features: no earlier fold holds both frauds and others, in the days to train on and "
            f"in those to assess; {likely_cause}train on later or more days. Where only frauds are "
            "labelled, give --unlabelled legit"
        )
    return {
        span: [folds[span][place] for place in places]
        for span, places in usable.items()
        if len(places) == fold_count
    }


def span_recipes(folds: Mapping[Span, Sequence[Fold]]) -> list[SpanRecipe]:
    """Each span with its recipe: deep trees if all its folds have many frauds to train on."""
    frauds = {
        span: min(int(fold.train_labels.sum()) for fold in of_span)
        for span, of_span in folds.items()
    }
    return [
        SpanRecipe(span, DEEP if count >= MANY_FRAUDS else SHALLOW)
        for span, count in frauds.items()
    ]


def sampled_folds(
    events: LabelledEvents, folds: Sequence[Fold], span: Span, max_rows: int, seed: int
) -> list[SampledFold]:
    """Each fold with a sample of at most `max_rows` rows to fit models on."""
    return [
        SampledFold(fold, sample(events, fold.train, fold.train_labels, span, max_rows, seed))
        for fold in folds
    ]


def choose_span(
    events: LabelledEvents,
    folds: Mapping[Span, Sequence[Fold]],
    fixed: Params,
    options: TrainingOptions,
    advance: Advance,
) -> tuple[SpanRecipe, list[SpanResult]]:
    """Choose the span whose recipe's first parameter set does best on the earlier folds.

    Returns:
        The span with its recipe, and the results of all spans. If there is no choice, nothing is
        tried, and there are no results.
    """
    offered = span_recipes(folds)
    if options.params_and_rounds is not None or len(offered) == 1:
        return offered[0], []
    sampled = {
        span: sampled_folds(events, of_span, span, options.search_rows, options.seed)
        for span, of_span in folds.items()
    }
    step = step_counter(advance, "spans", sum(len(sampled[one.span]) for one in offered))

    def best_trial(one: SpanRecipe) -> Trial:
        return search_parameters(
            events,
            sampled[one.span],
            one.parameter_sets(options, 1),
            fixed,
            assess_at=one.recipe.assess_at,
            seed=options.seed,
            workers=options.workers,
            advance=step,
        )[0]

    # The search of one parameter set uses as many cores as there are folds.
    with ThreadPoolExecutor(max(1, options.workers // len(sampled[offered[0].span]))) as pool:
        best = dict(zip(offered, pool.map(best_trial, offered), strict=True))
    return max(best, key=lambda one: best[one].objective), [
        SpanResult(one.span, trial.metrics.average_precision, trial.objective)
        for one, trial in best.items()
    ]


def _has_both_classes(fold: Fold) -> bool:
    return all(0 < labels.sum() < len(labels) for labels in (fold.train_labels, fold.labels))
