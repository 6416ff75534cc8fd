"""Report of a training: one HTML file without external resources."""

from __future__ import annotations

from models.training.report.page import ReportDetails, write_report

__all__ = ["ReportDetails", "write_report"]
