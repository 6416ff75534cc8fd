"""``fraud-worker features load``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.cli.options import HERE, PipelineOption


def load(
    lookup: Annotated[str, typer.Argument(help="Name of the lookup in features.yaml.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.parquet",
            help="Columns: the entity key, the lookup's values and, in UTC, updated_at.",
        ),
    ],
    pipeline: PipelineOption = HERE,
) -> None:
    """Fill a lookup of the online store from a Parquet file."""
    from base.errors import ConfigurationError
    from features.definition import load_feature_set
    from features.loading.lookup_files import load_lookup
    from tools.cli.progress import progress
    from worker.app import open_store
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    if settings.store is None:
        raise ConfigurationError(f"{pipeline / 'worker.yaml'}: store is missing; add store.url")
    feature_set = load_feature_set(settings.features)
    store = open_store(settings)
    try:
        with progress(f"loading {lookup}") as advance:
            loaded = load_lookup(feature_set, lookup, file, store, advance)
    finally:
        store.close()
    typer.echo(f"{lookup}: {loaded.rows:,} rows, {loaded.keys:,} keys", err=True)
