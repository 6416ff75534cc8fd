"""``fraud-worker check``."""

from __future__ import annotations

from typing import Annotated

import typer

from tools.cli.findings import report
from tools.cli.options import HERE, PipelineOption


def check(
    pipeline: PipelineOption = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")] = False,
) -> None:
    """Say what holds before the start, and what to do about what does not.

    Looks at the files, the model, the schemas, the online store, the
    brokers, the topics and the last records of the input topic. Writes no
    record, and leaves running workers alone.

    Exit code 0: nothing failed; 2: something did.
    """
    from rich.console import Console

    from tools.checks.examine import examine

    with Console(stderr=True).status("checking …") as status:
        findings = []
        for finding in examine(pipeline):
            findings.append(finding)
            status.update(f"checking … {finding.check}: {finding.state}")
    report(findings, as_json=as_json)
