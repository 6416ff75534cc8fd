"""``fraud-worker run``."""

from __future__ import annotations

from worker.cli.options import HERE, PipelineOption


def run(pipeline: PipelineOption = HERE) -> None:
    """Score events from Kafka until SIGTERM, then drain."""
    from worker import app
    from worker.logs import configure_logs
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    configure_logs(settings.logs.level, settings.logs.format)
    app.run(app.load_pipeline(pipeline))
