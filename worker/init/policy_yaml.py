"""A first policy.yaml."""

from __future__ import annotations

POLICY_YAML = """\
# What is decided about a score. Belongs to fraud operations; it changes no number on a score.
version: first            # free text, named on every score: change it with every change here
default: approve          # the decision about every score below the bands
segments:
  - name: default         # named on every score
    bands:                # from this score up; guessed: choose them from the scores of your events
      decline: 0.97
      review: 0.55
"""
