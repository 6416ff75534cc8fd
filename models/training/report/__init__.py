"""Report of a training: one HTML file that refers to nothing outside itself."""

from __future__ import annotations

from models.training.report.page import Subject, write_report

__all__ = ["Subject", "write_report"]
