"""Write a training to files: the bundle with its report, and a suggested policy beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from models.bundle import write_bundle
from models.training.report import Subject, write_report
from models.training.suggest import policy_text, suggest_bands
from models.training.table import TrainingTable
from models.training.train import Training


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to write, and options of the policy.

    Attributes:
        out: Folder of the bundle.
        name: Name of the bundle; None for the feature set's.
        version: Version of the bundle; None for the last day of training.
        alerts: Cards a day that can be reviewed; None for as many as pay.
        review_cost: Cost of a review, in the currency of the amounts.
        scale: Decimal digits of the amounts.
    """

    out: Path
    name: str | None = None
    version: str | None = None
    alerts: int | None = None
    review_cost: float = 5.0
    scale: int = 2

    @property
    def policy(self) -> Path:
        return self.out.with_name(f"{self.out.name}.policy.yaml")

    def require_free(self) -> None:
        """Raise ConfigurationError where a file or folder is in the way: none is overwritten."""
        for path in (self.out, self.policy):
            if path.exists() or path.is_symlink():
                raise ConfigurationError(f"--out: {path} exists already; write to another place")


def write_training(training: Training, table: TrainingTable, wanted: Wanted) -> dict[str, float]:
    """Write the bundle and the policy; returns the policy's bands, by decision.

    Raises ConfigurationError or BundleRefusedError where that is not possible.
    """
    wanted.require_free()
    name = wanted.name or table.feature_set
    version = wanted.version or f"{training.trained.until:%Y-%m-%d}"
    cost = round(wanted.review_cost * 10**wanted.scale)
    bands = suggest_bands(training.out_of_fold, cost, wanted.alerts)
    subject = Subject(
        name,
        version,
        str(table.path),
        table.card,
        cost,
        wanted.scale,
        bands,
    )
    write_bundle(
        wanted.out,
        training.booster,
        name=name,
        version=version,
        features=table.features,
        calibration=training.calibration,
        missing=training.missing,
        trained=training.trained,
        report=write_report(training, subject),
    )
    ranked = sorted(training.gains, key=lambda feature: -training.gains[feature])
    text = policy_text(
        training.out_of_fold, f"{name}-{version}", bands, ranked, (cost, wanted.scale)
    )
    beside = wanted.policy.with_name(f".{wanted.policy.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.rename(wanted.policy)
    return bands
