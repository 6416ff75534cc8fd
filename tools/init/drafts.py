"""Drafts of worker.yaml, from the settings' own descriptions, and of policy.yaml."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping, Sequence

from tools.init.features_yaml import Starter
from tools.init.yaml_text import commented
from worker.settings.reference import Setting, SettingGroup, groups

_WORKER = """\
# Addresses, paths and limits of the worker. Relative paths start at this file's folder.
# A line that begins with "#" and the name of a setting shows its default, or an example if it has
# none: remove the "#" to set it. Environment variables override this file; that of kafka.group is
# FRAUD_WORKER_KAFKA__GROUP.
"""
_NOTHING = ("", "[]", "{}")
# The settings to write as set, among those that exclude each other.
_CHOSEN = ("model.bundle",)
_POLICY = """\
# Decisions on scores. Fraud operations own this file; it changes no number on a score.
version: first            # free text, written on every score: change it with every change here
default: approve          # decision for scores below all bands

# Mildest decision when a lookup has no valid value or a python feature failed:
# when_degraded: review

# The first segment whose condition an event meets decides; the last segment has no condition.
segments:
  # - name: large         # an example; conditions are expressions over fields and features
  #   where: amount > 500
  #   bands: {decline: 0.9, review: 0.4}
  - name: default         # written on every score
    bands:                # lowest scores; guessed: choose them from the scores of your events
      decline: 0.97
      review: 0.55

# Reason codes, for every decision other than the default: those whose features raised the score
# most. A feature belongs to the first code that matches its name (* and ? are wildcards); the last
# code has the rest.
reasons:
  max: 4
  catalogue:
"""
_TEXTS = {"amount": "An unusual amount", "time": "An unusual time"}


def worker_yaml(guesses: Mapping[str, str]) -> str:
    """Text of the file.

    Args:
        guesses: Values in YAML notation, by setting; sections that are not required are set if one
            of their settings is among them. Any other setting that must be set gets its example.
    """
    return _WORKER + "\n".join(line for group in groups() for line in _group(group, guesses)) + "\n"


def _group(group: SettingGroup, guesses: Mapping[str, str]) -> Iterator[str]:
    if not group.name:
        for setting in group.settings:
            yield f"\n# {_meaning(setting)}"
            yield _line(setting, guesses, active=False)
        return
    active = group.required or any(setting.name in guesses for setting in group.settings)
    off = "" if active else "#"
    yield f"\n# {group.meaning}"
    yield f"{off}{group.name}:"
    for setting in group.settings:
        yield f"  # {_meaning(setting)}"
        must = setting.required or setting.name in _CHOSEN or setting.name in guesses
        yield "  " + _line(setting, guesses, active=active and must)


def _line(setting: Setting, guesses: Mapping[str, str], *, active: bool) -> str:
    if active:
        value = guesses.get(setting.name, setting.example)
        return commented(f"{setting.key}: {value}", "guessed")
    shown = setting.example if setting.default in _NOTHING else setting.default
    return f"#{setting.key}: {shown}"


def _meaning(setting: Setting) -> str:
    choices = f" One of {setting.kind}." if " or " in setting.kind else ""
    return setting.meaning + (choices if "true or false" not in setting.kind else "")


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
