"""``fraud-worker train``."""

from __future__ import annotations

import json
import math
import time
import warnings
from dataclasses import asdict
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.cli.options import Unlabelled, UnlabelledOption

if TYPE_CHECKING:
    from models.training.plan import Plan
    from models.training.result import Training
    from models.training.table import TrainingTable
    from models.training.training_options import TrainingOptions
    from models.training.write_outputs import OutputOptions

_DATE = ["%Y-%m-%d"]


class Device(StrEnum):
    """Device on which trees are grown."""

    cpu = "cpu"
    cuda = "cuda"


def train(
    *,
    features: Annotated[
        Path, typer.Option(metavar="TABLE.parquet", help="A table of `features build`.")
    ],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="The bundle's folder, a new one.")],
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            formats=_DATE,
            metavar="DATE",
            help="First day to train on.",
            show_default="as earlier folds choose",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=_DATE,
            metavar="DATE",
            help="Last day to train on.",
            show_default="the last with known labels",
        ),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time until labels are known, such as 7d, 12h or 0s; a bare number is days.",
            show_default="the longest of the table",
        ),
    ] = None,
    assess: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="DAYS",
            help="Days that each earlier fold assesses.",
            show_default="7, or fewer of a short table",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=1, max=52, help="Earlier folds to choose by.")] = 4,
    tries: Annotated[int, typer.Option(min=1, max=500, help="Parameter sets to try.")] = 16,
    forest: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=20,
            help="Trees a round, each of its own sample; 1 is plain boosting.",
            show_default="8; 1 where thousands of frauds make deep trees better",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="No search: parameters and rounds of a bundle trained before.",
            show_default=False,
        ),
    ] = None,
    monotone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=+1",
            help="The score never falls (+1), or never rises (-1), with this feature.",
            show_default=False,
        ),
    ] = None,
    unlabelled: UnlabelledOption = Unlabelled.skip,
    card: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Tells cards apart.", show_default="that of the first entity"
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where trees are grown.")] = Device.cpu,
    threads: Annotated[
        int | None, typer.Option(min=1, show_default="as many as there are to be had")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the model.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="The model's name.", show_default="that of the features")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Its version.", show_default="its last day of training")
    ] = None,
    alerts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cards a day that can be reviewed; for the policy.",
            show_default="as many as save money",
        ),
    ] = None,
    review_cost: Annotated[
        float, typer.Option(min=0, help="Of one review, in the currency of the amounts.")
    ] = 5.0,
    scale: Annotated[
        int, typer.Option(min=0, max=9, help="Decimal digits of amounts, as in features.yaml.")
    ] = 2,
) -> None:
    """Train a model: chosen and calibrated on earlier folds, with a report and a policy.

    Without --from, earlier folds choose how many days to learn from. Of large tables a sample is
    taken; what was used is told.

    Writes the bundle BUNDLE, with report.html in it, and beside it
    BUNDLE.policy.yaml. Ends with one line of JSON on stdout.
    """
    from models.backend.threads import available_threads
    from models.training.plan import make_plan
    from models.training.table import TrainingTable
    from models.training.training_options import TrainingOptions, read_earlier_training
    from models.training.write_outputs import OutputOptions, write_training

    started = time.perf_counter()
    wanted = OutputOptions(out, name, version, alerts, review_cost, scale)
    wanted.require_free()
    before = None if like is None else read_earlier_training(like)
    options = TrainingOptions(
        seed=seed,
        tries=tries,
        forest=forest,
        chosen=None if before is None else before.chosen,
        missing=math.nan if before is None else before.missing,
        monotone=_monotone(monotone or []),
        device=device.value,
        threads=threads or available_threads(),
    )
    table = TrainingTable(features, card)
    plan = make_plan(
        table,
        since=_date(since),
        last=_date(until),
        delay=_days(delay),
        assess=assess,
        folds=folds,
        span=None if before is None else before.span,
    )
    with warnings.catch_warnings():
        # warnings of libraries name nothing that the user could change
        warnings.simplefilter("ignore")
        trained = _train(table, plan, options, unlabelled_legit=unlabelled is Unlabelled.legit)
        bands = write_training(trained, table, wanted)
    _tell(trained, wanted, bands)
    print(json.dumps(_summary(trained, wanted, bands, time.perf_counter() - started)))


def _train(
    table: TrainingTable, plan: Plan, options: TrainingOptions, *, unlabelled_legit: bool
) -> Training:
    from models.training.train import train
    from tools.cli.progress import stages

    with stages() as advance:
        return train(table, plan, options, unlabelled_legit=unlabelled_legit, advance=advance)


def _tell(trained: Training, wanted: OutputOptions, bands: dict[str, float]) -> None:
    """Report on stderr the data used, the metrics of the model and the paths of the files."""
    from models.training.result import describe_data, describe_warnings

    metrics = trained.chosen.metrics
    measures = (
        f"On {len(trained.begins)} earlier folds: average precision {metrics.average_precision:.3f}, "
        f"ROC AUC {metrics.roc_auc:.3f}, card precision at 100 {metrics.card_precision_100:.3f}"
    )
    lines = [
        *describe_data(trained),
        measures,
        *describe_warnings(trained, bands),
        f"Bundle:  {wanted.out}",
        f"Report:  {wanted.out / 'report.html'}",
        f"Policy:  {wanted.policy}",
    ]
    typer.echo("\n".join(lines), err=True)


def _summary(
    trained: Training, wanted: OutputOptions, bands: dict[str, float], seconds: float
) -> dict[str, Any]:
    scored = trained.out_of_fold
    return {
        "out": str(wanted.out),
        "policy": str(wanted.policy),
        "from": trained.trained.since.isoformat(),
        "until": trained.trained.until.isoformat(),
        "span": str(trained.span),
        "spans": {str(one.span): round(one.average_precision, 4) for one in trained.spans},
        "available_rows": trained.available,
        "rows": trained.trained.rows,
        "frauds": trained.trained.frauds,
        "folds": len(trained.begins),
        **{name: round(value, 4) for name, value in asdict(trained.chosen.metrics).items()},
        "calibration_error": round(scored.calibration_error, 6),
        "brier": round(scored.brier, 6),
        "expected_frauds": round(scored.expected, 1),
        "assessed_frauds": int(scored.labels.sum()),
        "rounds": trained.chosen.rounds,
        "params": trained.trained.params,
        "bands": bands,
        "seconds": round(seconds, 1),
    }


def _monotone(given: list[str]) -> dict[str, int]:
    from base.errors import ConfigurationError

    found = {}
    for text in given:
        feature, equals, sign = text.partition("=")
        if not (feature and equals) or sign not in {"+1", "1", "-1"}:
            raise ConfigurationError(
                f"--monotone: {text!r} is not FEATURE=+1 or FEATURE=-1; write it like AMOUNT=+1"
            )
        found[feature] = int(sign)
    return found


def _days(given: str | None) -> float | None:
    """Parse a duration into days; a bare number is days."""
    from base.errors import ConfigurationError
    from base.times import DAY
    from features.definition.scalars import parse_delay

    if given is None:
        return None
    try:
        return parse_delay(f"{given}d" if given.isdecimal() else given) / DAY
    except ValueError as error:
        raise ConfigurationError(f"--delay: {error}") from None


def _date(given: datetime | None) -> date | None:
    return None if given is None else given.date()
