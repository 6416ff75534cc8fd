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
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from base.file_path import FilePath, file_path
from tools.cli.model.bundles import BundleTarget
from tools.cli.options import Unlabelled, UnlabelledOption

if TYPE_CHECKING:
    from models.training.result import Training
    from models.training.table import TrainingTable
    from models.training.training_days import TrainingDays
    from models.training.training_options import TrainingOptions

_DATE = ["%Y-%m-%d"]


class Tracker(StrEnum):
    """Server that keeps the results of trainings."""

    mlflow = "mlflow"


class _Written(NamedTuple):
    """Outputs of a training.

    Attributes:
        bundle: Path or URL of the bundle.
        logged: Version that was registered with MLflow, as a bundle of a location; None for none.
    """

    bundle: str
    logged: str | None

    @property
    def policy(self) -> str:
        """Path or URL of the suggested policy."""
        return f"{self.bundle}.policy.yaml"


class Device(StrEnum):
    """Device on which trees are grown."""

    cpu = "cpu"
    cuda = "cuda"


def train(
    *,
    features: Annotated[
        FilePath,
        typer.Option(
            parser=file_path,
            metavar="TABLE.parquet",
            help="Training table that `features build` wrote; a path or URL.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(metavar="BUNDLE", help="Folder or URL of the bundle; must not exist."),
    ],
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            formats=_DATE,
            metavar="DATE",
            help="First day to train on.",
            show_default="chosen by earlier folds",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=_DATE,
            metavar="DATE",
            help="Last day to train on.",
            show_default="last day with known labels",
        ),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Label delay, such as 7d, 12h or 0s; a number without a unit is days.",
            show_default="longest delay in the table",
        ),
    ] = None,
    assess: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="DAYS",
            help="Number of days that each fold is assessed on.",
            show_default="7; fewer for a short table",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=1, max=52, help="Number of earlier folds.")] = 4,
    tries: Annotated[
        int, typer.Option(min=1, max=500, help="Number of parameter sets to try.")
    ] = 16,
    forest: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=20,
            help="Number of trees per boosting round; each is trained on its own sample of rows.",
            show_default="8; 1 with thousands of frauds, where deep trees are better",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Skip the search; use the parameters and rounds of this bundle.",
            show_default=False,
        ),
    ] = None,
    monotone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=+1",
            help="Constraint: the score never falls (+1) or never rises (-1) as the feature rises; "
            "may be given more than once.",
            show_default=False,
        ),
    ] = None,
    by_category: Annotated[
        bool,
        typer.Option(
            "--by-category",
            help="Split category features by sets of their values, not by thresholds on their codes.",
        ),
    ] = False,
    unlabelled: UnlabelledOption = Unlabelled.skip,
    card: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that identifies the card.",
            show_default="key of the first entity",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device that trains the trees.")] = Device.cpu,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Number of threads.", show_default="all available CPUs"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the search and the model.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="name of the feature set")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model.", show_default="last day of training")
    ] = None,
    alerts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of cards per day that can be reviewed, for the policy.",
            show_default="chosen to minimise cost",
        ),
    ] = None,
    review_cost: Annotated[
        float, typer.Option(min=0, help="Cost of one review, in the currency of the amounts.")
    ] = 5.0,
    scale: Annotated[
        int,
        typer.Option(
            min=0,
            max=9,
            help="Decimal digits of amounts; same value as events.amount.scale in features.yaml.",
        ),
    ] = 2,
    log: Annotated[
        Tracker | None,
        typer.Option(
            help="Log parameters, folds, report and bundle to the server MLFLOW_TRACKING_URI, and "
            "register the bundle as the next version of the model.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model on a table; write its bundle, a report and a suggested policy.

    Parameters and calibration are chosen on earlier folds. Without --from, so is
    the number of training days. Large tables are sampled. The rows that were used
    are reported on stderr.

    Writes the bundle BUNDLE, which holds report.html, and BUNDLE.policy.yaml
    beside it. The last line on stdout is JSON.
    """
    from base.errors import ConfigurationError
    from models.backend.threads import available_threads
    from models.location import MLFLOW
    from models.training.log_training import log_training, require_tracking
    from models.training.table import TrainingTable
    from models.training.training_days import find_training_days
    from models.training.training_options import TrainingOptions, read_earlier_training
    from models.training.write_outputs import OutputOptions, write_training

    started = time.perf_counter()
    if out.startswith(MLFLOW):
        raise ConfigurationError(
            f"--out: {out} is a registered model; name a folder or the URL of a bundle, and "
            "register it with --log mlflow"
        )
    if log is not None:
        require_tracking()
    with BundleTarget(out) as target:
        wanted = OutputOptions(target.folder, name, version, alerts, review_cost, scale)
        wanted.require_free()
        like_params = None if like is None else read_earlier_training(like)
        options = TrainingOptions(
            seed=seed,
            tries=tries,
            forest=forest,
            params_and_rounds=None if like_params is None else like_params.params_and_rounds,
            missing=math.nan if like_params is None else like_params.missing,
            monotone=_monotone(monotone or []),
            by_category=by_category or (like_params is not None and like_params.by_category),
            device=device.value,
            threads=threads or available_threads(),
        )
        table = TrainingTable(features, card)
        days = find_training_days(
            table,
            since=_date(since),
            last=_date(until),
            delay=_days(delay),
            assess=assess,
            folds=folds,
            span=None if like_params is None else like_params.span,
        )
        with warnings.catch_warnings():
            # Warnings of libraries name nothing that the user could change.
            warnings.simplefilter("ignore")
            trained = _train(table, days, options, unlabelled_legit=unlabelled is Unlabelled.legit)
            bands = write_training(trained, table, wanted)
        target.finish(wanted.policy)
        logged = None if log is None else log_training(trained, table, wanted)
        written = _Written(target.where, logged)
        _tell(trained, table, written, bands)
        print(json.dumps(_summary(trained, written, bands, time.perf_counter() - started)))


def _train(
    table: TrainingTable, days: TrainingDays, options: TrainingOptions, *, unlabelled_legit: bool
) -> Training:
    from models.training.train import train
    from tools.progress import stages

    with stages() as advance:
        return train(table, days, options, unlabelled_legit=unlabelled_legit, advance=advance)


def _tell(
    trained: Training, table: TrainingTable, written: _Written, bands: dict[str, float]
) -> None:
    """Report on stderr the data used, the metrics of the model and the paths of the files."""
    from models.training.result import describe_data, describe_lookups, describe_warnings

    metrics = trained.best_trial.metrics
    measures = (
        f"On {len(trained.begins)} earlier folds: average precision {metrics.average_precision:.3f}, "
        f"ROC AUC {metrics.roc_auc:.3f}, card precision at 100 {metrics.card_precision_100:.3f}"
    )
    lines = [
        *describe_data(trained),
        *describe_lookups(table),
        measures,
        *describe_warnings(trained, bands),
        f"Bundle:  {written.bundle}",
        f"Report:  {written.bundle}/report.html",
        f"Policy:  {written.policy}",
    ]
    if written.logged is not None:
        lines.append(f"Logged:  {written.logged}")
    typer.echo("\n".join(lines), err=True)


def _summary(
    trained: Training, written: _Written, bands: dict[str, float], seconds: float
) -> dict[str, Any]:
    scored = trained.out_of_fold
    return {
        "out": written.bundle,
        "policy": written.policy,
        "logged": written.logged,
        "from": trained.trained.since.isoformat(),
        "until": trained.trained.until.isoformat(),
        "span": str(trained.span),
        "spans": {str(one.span): round(one.average_precision, 4) for one in trained.span_results},
        "available_rows": trained.available,
        "rows": trained.trained.rows,
        "frauds": trained.trained.frauds,
        "folds": len(trained.begins),
        **{name: round(value, 4) for name, value in asdict(trained.best_trial.metrics).items()},
        "calibration_error": round(scored.calibration_error, 6),
        "brier": round(scored.brier, 6),
        "expected_frauds": round(scored.expected, 1),
        "assessed_frauds": int(scored.labels.sum()),
        "rounds": trained.best_trial.rounds,
        "params": trained.trained.params,
        "bands": bands,
        "seconds": round(seconds, 1),
    }


def _monotone(given: list[str]) -> dict[str, int]:
    from base.errors import ConfigurationError

    signs = {}
    for text in given:
        feature, equals, sign = text.partition("=")
        if not (feature and equals) or sign not in {"+1", "1", "-1"}:
            raise ConfigurationError(
                f"--monotone: {text!r} is not FEATURE=+1 or FEATURE=-1; write it like AMOUNT=+1"
            )
        signs[feature] = int(sign)
    return signs


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
