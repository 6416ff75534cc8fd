"""Draft of worker.yaml: every setting with its meaning, from the settings' own descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.init.layout import commented
from worker.settings.reference import Setting, SettingGroup, groups

_HEAD = """\
# Where things are and how hard to run. Paths are taken from this file's folder.
# A line that begins with "#" and a name shows what holds without it, or an example where nothing
# does: take the "#" away to set it. The environment overrides all: kafka.group is
# FRAUD_WORKER_KAFKA__GROUP there.
"""
_NOTHING = ("", "[]", "{}")
# The settings to write as set, among those that exclude each other.
_CHOSEN = ("model.bundle",)


def worker_yaml(guesses: Mapping[str, str]) -> str:
    """Text of the file.

    Args:
        guesses: Values in YAML notation, by setting. Any other setting that must be set gets its
            example.
    """
    return _HEAD + "\n".join(line for group in groups() for line in _group(group, guesses)) + "\n"


def _group(group: SettingGroup, guesses: Mapping[str, str]) -> Iterator[str]:
    if not group.name:
        for setting in group.settings:
            yield f"\n# {_meaning(setting)}"
            yield _line(setting, guesses, active=False)
        return
    off = "" if group.required else "#"
    yield f"\n# {group.meaning}"
    yield f"{off}{group.name}:"
    for setting in group.settings:
        yield f"  # {_meaning(setting)}"
        must = setting.required or setting.name in _CHOSEN
        yield "  " + _line(setting, guesses, active=group.required and must)


def _line(setting: Setting, guesses: Mapping[str, str], *, active: bool) -> str:
    if active:
        value = guesses.get(setting.name, setting.example)
        return commented(f"{setting.key}: {value}", "guessed")
    shown = setting.example if setting.default in _NOTHING else setting.default
    return f"#{setting.key}: {shown}"


def _meaning(setting: Setting) -> str:
    choices = f" One of {setting.kind}." if " or " in setting.kind else ""
    return setting.meaning + (choices if "true or false" not in setting.kind else "")
