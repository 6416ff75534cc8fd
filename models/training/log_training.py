"""Log a training to MLflow, and register its bundle as the next version of the model."""

from __future__ import annotations

from dataclasses import asdict

from base.times import utc
from models.bundle.write import REPORT_FILE
from models.location import MLFLOW, TIMEOUT_S, open_location
from models.location.registry import ARTIFACT, RegistryLocation, asking, open_client
from models.training.result import Training
from models.training.table import TrainingTable
from models.training.write_outputs import OutputOptions


def require_tracking() -> None:
    """Ask the MLflow server something, before a training that may take hours.

    Raises:
        ConfigurationError: MLflow or the address of its server is missing.
        StoreRefusedError: The server refuses access.
        DependencyUnavailableError: It does not answer.
    """
    client = open_client(TIMEOUT_S)
    with asking("--log mlflow"):
        client.search_experiments(max_results=1)


def log_training(training: Training, table: TrainingTable, written: OutputOptions) -> str:
    """Log a training whose outputs were written, as a run of the experiment with the model's name.

    Returns:
        The registered version, as a bundle of a location: mlflow:NAME/VERSION.

    Raises:
        StoreRefusedError: The server refuses access.
        DependencyUnavailableError: It does not answer.
    """
    client = open_client(TIMEOUT_S)
    name = written.name or table.feature_set
    location = open_location(f"{MLFLOW}{name}")
    assert isinstance(location, RegistryLocation)  # noqa: S101 - what mlflow: opens
    with asking(str(location)):
        run = location.start_run(written.version or f"{training.trained.until:%Y-%m-%d}")
        for key, value in _params(training, table).items():
            client.log_param(run, key, value)
        best = training.best_trial
        for metric, value in asdict(best.metrics).items():
            client.log_metric(run, metric, value)
        for begin, fold in zip(training.begins, best.folds, strict=True):
            for metric, value in asdict(fold).items():
                # The step is the fold's first assessed day, so that charts are over time.
                client.log_metric(run, f"fold_{metric}", value, step=utc(begin).toordinal())
        client.log_metric(run, "calibration_error", training.out_of_fold.calibration_error)
        client.log_metric(run, "brier", training.out_of_fold.brier)
        client.log_artifact(run, str(written.out / REPORT_FILE))
        client.log_artifact(run, str(written.policy))
        client.log_artifacts(run, str(written.out), ARTIFACT)
        client.set_terminated(run)
        return location.where(location.register(run))


def _params(training: Training, table: TrainingTable) -> dict[str, object]:
    trained = training.trained
    return {
        **trained.params,
        "seed": trained.seed,
        "from": trained.since.isoformat(),
        "until": trained.until.isoformat(),
        "span": str(training.span),
        "rows": trained.rows,
        "frauds": trained.frauds,
        "table": str(table.path),
        "features": len(table.features),
    }
