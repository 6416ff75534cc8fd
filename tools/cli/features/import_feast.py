"""``fraud-worker features import-feast``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.cli.options import HERE, PipelineOption, SetOption, features_file


def import_feast(
    repo: Annotated[
        Path,
        typer.Argument(metavar="REPO", help="Folder of a Feast repository: feature_store.yaml."),
    ],
    registry: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Registry file of the repository.",
            show_default="the one that feature_store.yaml names",
        ),
    ] = None,
    feature_set: SetOption = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Print the section `lookups` of features.yaml for the views of a Feast repository.

    Reads feature_store.yaml and the registry file; none of the repository's
    code is run, and nothing is connected to. If there is a features.yaml, `by`
    is its entity whose key has the join keys, by the names of its fields or
    their aliases, or by its own name.
    """
    from base.yaml_document import YamlDocument
    from features.definition.spec import FeaturesFile
    from tools.feast_repo.lookups_yaml import known_entities, lookups_yaml
    from tools.feast_repo.repository import read_repository

    repository = read_repository(repo, registry)
    path = features_file(feature_set, pipeline)
    given = feature_set is not None or path.exists()
    entities = known_entities(YamlDocument.read(path).validate(FeaturesFile)) if given else []
    typer.echo(lookups_yaml(repository, entities), nl=False)
