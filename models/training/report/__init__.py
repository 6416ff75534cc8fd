"""The report of a training: one HTML file that needs nothing beside it."""

from __future__ import annotations

from models.training.report.page import Subject, write_report

__all__ = ["Subject", "write_report"]
