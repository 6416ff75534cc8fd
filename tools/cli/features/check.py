"""``fraud-worker features check``."""

from __future__ import annotations

from typing import Annotated

import typer

from tools.cli.features.which import SetOption, features_file
from tools.cli.findings import report
from tools.cli.options import HERE, PipelineOption


def check(
    feature_set: SetOption = None,
    pipeline: PipelineOption = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")] = False,
) -> None:
    """Say what holds of the feature set, and what to do about what does not.

    Reads features.yaml, its schema and the Python files it names; calls each
    python: function on sample columns, with rows alone, together and in
    another order. Needs no broker and no store.

    Exit code 0: everything holds; 2: something does not.
    """
    from tools.checks.feature_file import examine_features

    report(examine_features(features_file(feature_set, pipeline)), as_json=as_json)
