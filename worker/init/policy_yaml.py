"""A first policy.yaml."""

from __future__ import annotations

POLICY_YAML = """\
# What is decided about a score. Belongs to fraud operations; it changes no number on a score.
version: first            # free text, named on every score: change it with every change here
default: approve          # the decision about every score below the bands

# The least that is decided when a lookup has no good value, or a python feature failed:
# when_degraded: review

# The first segment that takes an event decides; the last one takes all others.
segments:
  # - name: large         # for example; conditions are expressions over fields and features
  #   where: amount > 500
  #   bands: {decline: 0.9, review: 0.4}
  - name: default         # named on every score
    bands:                # from this score up; guessed: choose them from the scores of your events
      decline: 0.97
      review: 0.55

# Codes whose features raised the score most, with every decision that is not the default:
# reasons:
#   max: 4
#   catalogue:
#     R01: {features: [AMOUNT*], text: An unusual amount, audience: customer}
#     R99: {features: ["*"], text: Anything else, audience: analyst}
"""
