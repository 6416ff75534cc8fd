"""Draft of policy.yaml."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence

from tools.init.features_yaml import Starter

_POLICY = """\
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

# Codes whose features raised the score most, with every decision that is not the default. A feature
# belongs to the first code that names it (* and ? are wildcards); the last one takes the rest.
reasons:
  max: 4
  catalogue:
"""
_TEXTS = {"amount": "An unusual amount", "time": "An unusual time"}


def policy_yaml(starters: Sequence[Starter]) -> str:
    """Text of the file, with a catalogue of reasons for the starter features."""
    return _POLICY + "\n".join(_codes(starters)) + "\n"


def _codes(starters: Sequence[Starter]) -> Iterator[str]:
    """Yield a code for each role; features without a role fall to the last code.

    Where every feature has a role, the last role gets no code of its own, because a code without
    features is refused.
    """
    of_role = {
        role: names
        for role in _TEXTS
        if (names := [starter.name for starter in starters if starter.role == role])
    }
    if sum(map(len, of_role.values())) == len(starters) and of_role:
        of_role.popitem()
    for place, (role, names) in enumerate(of_role.items(), 1):
        globs = ", ".join(json.dumps(glob.escape(name)) for name in names)
        audience = ", audience: customer" if role == "amount" else ""
        yield f"    R{place:02}: {{features: [{globs}], text: {_TEXTS[role]}{audience}}}"
    yield '    R99: {features: ["*"], text: Anything else, audience: analyst}'
