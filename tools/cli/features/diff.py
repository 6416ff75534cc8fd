"""``fraud-worker features diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tools.cli.options import JsonOption, features_file

_FILE = "features.yaml, or the folder of a pipeline."


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help=f"Old {_FILE}")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help=f"New {_FILE}")],
    models: Annotated[
        str | None,
        typer.Option(
            metavar="LOCATION",
            help="Location of bundles, to say which of them still fit: a folder, s3://BUCKET/PREFIX, "
            "gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or mlflow:NAME.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what differs between two feature sets, as Markdown for a review.

    Features are compared by their fingerprints. Says which histories have to be
    filled and how far back, which lookups and labels to load, and which models
    no longer fit.
    """
    from features.definition import load_feature_set
    from tools.cli.model.bundles import location_at
    from tools.feature_diff.markdown import markdown
    from tools.feature_diff.set_diff import as_plain, compare

    before, after = (load_feature_set(_path(path)) for path in (old, new))
    found = compare(before, after, None if models is None else location_at(models))
    if as_json:
        print(json.dumps(as_plain(found)))
    else:
        typer.echo(markdown(found), nl=False)


def _path(given: Path) -> Path:
    return features_file(None, given) if given.is_dir() else given
