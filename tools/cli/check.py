"""``fraud-worker check`` and ``features check``, and the output of findings."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from itertools import groupby
from typing import TYPE_CHECKING

import typer

from tools.cli.options import HERE, JsonOption, PipelineOption, SetOption, features_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.checks.finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def check(
    pipeline: PipelineOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Check everything that a worker needs to start; print a remedy for each problem.

    Checks the files, the model, the schemas, the online store, the brokers, the
    topics and the last records of the input topic. Writes no record, and does
    not disturb running workers.

    Exit code 0: no check failed; 2: a check failed.
    """
    from rich.console import Console

    from tools.checks.examine import examine

    with Console(stderr=True).status("checking …") as status:
        findings = []
        for finding in examine(pipeline):
            findings.append(finding)
            status.update(f"checking … {finding.check}: {finding.state}")
    report(findings, as_json=as_json)


def check_features(
    feature_set: SetOption = None,
    pipeline: PipelineOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Check features.yaml; print a remedy for each problem.

    Reads features.yaml, its schema and the Python files that it names. Calls
    each python: function on sample rows: one by one, together and in another
    order. Needs no broker and no store.

    Exit code 0: features.yaml is valid; 2: it is not.
    """
    from tools.checks.files import examine_features

    report(examine_features(features_file(feature_set, pipeline)), as_json=as_json)


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings as JSON, a table on a terminal, or plain lines; exit code 2 if one failed."""
    from base.address import mask_addresses
    from tools.checks.finding import all_passed
    from worker.process.exits import ExitCode

    findings = [
        replace(f, found=mask_addresses(f.found), remedy=mask_addresses(f.remedy)) for f in findings
    ]
    if as_json:
        summary = {
            "ok": all_passed(findings),
            "findings": [asdict(finding) for finding in findings],
        }
        typer.echo(json.dumps(summary))
    elif sys.stdout.isatty():
        _table(findings)
    else:
        typer.echo("\n".join(lines(findings)))
    if not all_passed(findings):
        raise typer.Exit(ExitCode.CONFIGURATION)


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as plain lines: state, check, what was found; the remedy is on a line of its own."""
    rows = _together(findings)
    width = max(len(finding.check) for finding in rows)
    result = []
    for finding in rows:
        result.append(f"{finding.state:<8} {finding.check:<{width}}  {finding.found}")
        if finding.remedy:
            result.append(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    return [*result, _summary(findings)]


def _table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("check", "state", "what was found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in _together(findings):
        state = Text(finding.state, style=_COLOURS[finding.state])
        table.add_row(finding.check, state, Text(finding.found), Text(finding.remedy))
    console = Console()
    console.print(table)
    console.print(_summary(findings), highlight=False)


def _together(findings: Sequence[Finding]) -> list[Finding]:
    """Findings, with a run of checks that were skipped for the same reason joined into one."""
    rows: list[Finding] = []
    for (state, why), group in groupby(findings, lambda finding: (finding.state, finding.found)):
        members = list(group)
        if state != "skipped" or len(members) == 1:
            rows += members
            continue
        names = ", ".join(finding.check for finding in members)
        rows.append(replace(members[0], check=f"{len(members)} checks", found=f"{why}: {names}"))
    return rows


def _summary(findings: Sequence[Finding]) -> str:
    counts = {state: sum(f.state == state for f in findings) for state in _COLOURS}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
