"""Policies (policy.yaml): decisions by score, and the codes of their reasons."""

from __future__ import annotations

from models.policy.catalogue import Catalogue, Code, Coding
from models.policy.policy import Band, Policy, Segment, load_policy
from models.policy.rules import Decisions, Rules

__all__ = [
    "Band",
    "Catalogue",
    "Code",
    "Coding",
    "Decisions",
    "Policy",
    "Rules",
    "Segment",
    "load_policy",
]
