"""Findings: the results of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaException

from base.errors import ConfigurationError, DependencyUnavailableError

CORRECT = "correct the named setting"
"""Remedy of an error that names none."""


class State(StrEnum):
    """Result of a check: passed, warning, failed, or SKIPPED (it could not be checked)."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: Name of the check.
        state: Result of the check.
        found: Description of what was found, or the reason for skipping.
        remedy: Action that the user should take; "" if there is none.
    """

    check: str
    state: State
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Make a finding for a check that passed."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Make a finding for a worker that would run, but perhaps not as expected."""
    return Finding(check, State.WARNING, found, remedy)


def failed(check: str, found: str, remedy: str) -> Finding:
    """Make a finding for a worker that would not start, or would lose or repeat a score."""
    return Finding(check, State.FAILED, found, remedy)


def skipped(check: str, why: str) -> Finding:
    """Make a finding for a check that was not run."""
    return Finding(check, State.SKIPPED, why)


def pluralize(count: int, noun: str) -> str:
    """Count with its noun: ``1 topic``, ``3 topics``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def refused(check: str, error: ConfigurationError) -> list[Finding]:
    """Make a finding of each line of an error; the text after its last semicolon is the remedy."""
    findings = []
    for line in str(error).splitlines():
        found, mark, remedy = line.rpartition("; ")
        if not mark or remedy.startswith("found ") or remedy.count("(") != remedy.count(")"):
            found, remedy = line, CORRECT
        findings.append(failed(check, found, remedy))
    return findings


def all_passed(findings: Iterable[Finding]) -> bool:
    """Return True if none of the findings failed."""
    return all(finding.state is not State.FAILED for finding in findings)


def run_check(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Run ``look``; turn its exception into failed findings, so that other checks still run."""
    try:
        return look()
    except ConfigurationError as error:
        return refused(check, error)
    except DependencyUnavailableError as error:
        return [failed(check, str(error), "see that it is up and can be reached from here")]
    except KafkaException as error:
        return [
            failed(
                check,
                error.args[0].str(),
                "see that the brokers are up and that this user has access",
            )
        ]
    # One check that breaks down must not hide what the others find.
    except Exception as error:  # noqa: BLE001
        found = f"the check crashed: {type(error).__name__}: {error}"
        return [failed(check, found, "report this as an error of fraud-worker, with the output")]
