"""Write the outputs of a training: the bundle with its report, and a suggested policy beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from models.bundle import write_bundle
from models.training.report import ReportDetails, write_report
from models.training.result import Training
from models.training.suggest_policy import policy_text, suggest_bands
from models.training.table import TrainingTable


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Paths and names of the outputs, and options of the suggested policy.

    Attributes:
        out: Folder of the bundle.
        name: Name of the bundle; None for that of the feature set.
        version: Version of the bundle; None for the last day of training.
        alerts: Number of cards per day that can be reviewed; None for no limit.
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
        """File of the suggested policy."""
        return self.out.with_name(f"{self.out.name}.policy.yaml")

    def require_free(self) -> None:
        """Raise ConfigurationError if an output exists already; nothing is overwritten."""
        for path in (self.out, self.policy):
            if path.exists() or path.is_symlink():
                raise ConfigurationError(f"--out: {path} exists already; write to another place")


def write_training(
    training: Training, table: TrainingTable, options: OutputOptions
) -> dict[str, float]:
    """Write the bundle and the policy.

    Returns:
        Thresholds of the policy's bands, by decision.

    Raises:
        ConfigurationError: if an output exists already.
        BundleRefusedError: if the bundle cannot be written.
    """
    options.require_free()
    name = options.name or table.feature_set
    version = options.version or f"{training.trained.until:%Y-%m-%d}"
    cost = round(options.review_cost * 10**options.scale)
    bands = suggest_bands(training.out_of_fold, cost, options.alerts)
    details = ReportDetails(name, version, str(table.path), table.card, cost, options.scale, bands)
    write_bundle(
        options.out,
        training.booster,
        name=name,
        version=version,
        features=table.features,
        calibration=training.calibration,
        missing=training.missing,
        trained=training.trained,
        report=write_report(training, details),
    )
    ranked = sorted(training.gains, key=lambda feature: -training.gains[feature])
    text = policy_text(
        training.out_of_fold, f"{name}-{version}", bands, ranked, (cost, options.scale)
    )
    temporary = options.policy.with_name(f".{options.policy.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(options.policy)
    return bands
