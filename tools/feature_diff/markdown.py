"""Differences of two feature sets as Markdown, for a comment in a review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from base.times import DAY
from features.inspect.describe import Described, duration
from tools.feature_diff.effects import Change
from tools.feature_diff.features import FeatureDiff
from tools.feature_diff.models import ModelFit
from tools.feature_diff.set_diff import SetDiff

_DIGITS = 12
_REORDERED = (
    "The order of the features changed: the set has another fingerprint, and models still find "
    "their features by name."
)


def markdown(diff: SetDiff) -> str:
    """The differences as Markdown, headings from the third level on."""
    lines = [
        f"### Feature set {_code(diff.name)}: {diff.old[:_DIGITS]} → {diff.new[:_DIGITS]}",
        "",
        *_summary(diff),
        *_features(diff.features),
        *_changes("Events", diff.bindings),
        *_histories(diff),
        *_changes("Lookups", diff.lookups),
        *_models(diff.models),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _summary(diff: SetDiff) -> Iterator[str]:
    features = diff.features
    counts = {
        "added": len(features.added),
        "removed": len(features.removed),
        "renamed": len(features.renamed),
        "changed": len(features.changed),
        "unchanged": features.unchanged,
    }
    yield (
        "Features: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count) + "."
    )
    broken = [fit for fit in diff.models or () if not fit.fits and fit.fitted]
    if broken:
        names = ", ".join(_code(fit.bundle) for fit in broken)
        yield f"**Models that no longer fit: {names}.**"
    filled = [change.entity for change in diff.histories if change.reasons]
    if filled:
        yield f"**To be filled: histories of {', '.join(filled)}.**"
    yield ""


def _features(features: FeatureDiff) -> Iterator[str]:
    yield from _table("Added", features.added)
    yield from _table("Removed", features.removed)
    if features.renamed:
        yield from ("#### Renamed, with the same definition", "")
        for before, after in features.renamed:
            yield f"- {_code(before.name)} → {_code(after.name)}"
        yield ""
    if features.changed:
        yield from ("#### Changed", "")
        for changed in features.changed:
            yield f"- {_code(changed.after.name)}: {'; '.join(changed.parts)}"
        yield ""
    if features.reordered:
        yield _REORDERED
        yield ""


def _table(title: str, features: Sequence[Described]) -> Iterator[str]:
    if not features:
        return
    yield from (f"#### {title}", "", "| feature | kind | definition |", "|---|---|---|")
    for feature in features:
        yield _row(_code(feature.name), feature.kind, _code(feature.definition))
    yield ""


def _changes(title: str, changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        return
    yield from (f"#### {title}", "", "| | before | after | effect |", "|---|---|---|---|")
    for change in changes:
        yield _row(
            _code(change.name), change.before or "none", change.after or "none", change.effect
        )
    yield ""


def _histories(diff: SetDiff) -> Iterator[str]:
    if not (diff.histories or diff.labels):
        return
    yield from ("#### Histories and labels", "")
    for change in diff.histories:
        if change.unused:
            yield (
                f"- **{change.entity}**: no window uses them any longer; delete them with "
                "`fraud-worker features drop-layout` after the rollout."
            )
        elif change.fill is not None:
            yield (
                f"- **{change.entity}**: begin anew, because {' and '.join(change.reasons)}. The "
                f"worker fills them from the events of the last {_days(change.fill)} before it "
                "scores; with a shorter topic, `fraud-worker features fill --events` first."
            )
        else:
            ready = ", ".join(map(_code, change.ready))
            yield f"- **{change.entity}**: nothing to fill; {ready} work at once on what is kept."
    for entity in diff.labels:
        yield (
            f"- **{entity}**: load all labels again (`fraud-worker features load-labels`); until "
            "then its fraud shares are 0."
        )
    yield ""


def _models(fits: Sequence[ModelFit] | None) -> Iterator[str]:
    if fits is None:
        return
    yield from ("#### Models", "", "| bundle | model | fits |", "|---|---|---|")
    for fit in fits:
        name = _code(fit.bundle) + (" (champion)" if fit.champion else "")
        yield _row(name, fit.model, _verdict(fit))
    if not fits:
        yield _row("none", "", "the location has no bundles")
    yield ""


def _verdict(fit: ModelFit) -> str:
    if fit.fits:
        return "yes" if fit.fitted else "yes, and did not before"
    if fit.refused:
        return f"cannot be read: {fit.refused}"
    parts = [f"absent: {_codes(fit.absent)}"] if fit.absent else []
    parts += [f"changed: {_codes(fit.changed)}"] if fit.changed else []
    return f"**no**{'' if fit.fitted else ', and did not before'}; {'; '.join(parts)}"


def _days(microseconds: int) -> str:
    """A long time in whole days, rounded up; a short one exactly."""
    return duration(-(-microseconds // DAY) * DAY if microseconds > 2 * DAY else microseconds)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _code(text: str) -> str:
    return f"`{text}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
