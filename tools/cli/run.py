"""``fraud-worker run``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline import Pipeline


def run(pipeline: PipelineOption = HERE) -> None:
    """Run the worker: score events from Kafka until SIGTERM, then drain and exit."""
    # Until the loop begins: see worker.process.garbage.
    gc.disable()
    from worker import app

    app.run(_loaded(pipeline))


def _loaded(folder: Path) -> Pipeline:
    """Load the pipeline. Raises ConfigurationError with all errors, not only the first."""
    from base.errors import ConfigurationError
    from worker.pipeline import load_pipeline
    from worker.process.logs import configure_logs
    from worker.settings import load_settings

    try:
        settings = load_settings(folder)
        configure_logs(settings.logs.level, settings.logs.format)
        return load_pipeline(folder)
    except ConfigurationError as error:
        from tools.checks.examine import failures_of_files
        from tools.checks.finding import CORRECT

        failures = [
            failure.found if failure.remedy == CORRECT else f"{failure.found}; {failure.remedy}"
            for failure in failures_of_files(folder)
        ]
        raise ConfigurationError("\n".join(failures) or str(error)) from error
