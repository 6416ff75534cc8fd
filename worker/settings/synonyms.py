"""Other programs' names for these settings, for the remedies in error messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from worker.settings.reference import setting_names, variable_of
from worker.settings.secrets import names_secret
from worker.settings.sections import ENV_PREFIX

# Settings by their other names; an option of librdkafka follows its setting after a colon.
_MEANT = {
    "kafka.bootstrap": "kafka.bootstrap_servers",
    "kafka.brokers": "kafka.bootstrap_servers",
    "kafka.consumer_group": "kafka.group",
    "kafka.group_id": "kafka.group",
    "kafka.hosts": "kafka.bootstrap_servers",
    "kafka.auto_offset_reset": "kafka.start_from",
    "kafka.password": "kafka.password_file",
    "kafka.sasl_jaas_config": "kafka.password_file",
    "kafka.sasl_password": "kafka.password_file",
    "kafka.servers": "kafka.bootstrap_servers",
    "kafka.topic": "kafka.input_topic",
    "kafka.dlq_topic": "kafka.dead_letter_topic",
    "kafka.username": "kafka.options:sasl.username",
    "log_level": "logs.level",
    "logging": "logs",
    "metrics": "http",
    "model.name": "model.bundle",
    "model.path": "model.bundle",
    "model.uri": "model.bundle",
    "redis": "store",
    "registry.address": "registry.url",
    "schema_registry": "registry",
    "store.address": "store.url",
    "store.host": "store.url",
    "store.password": "store.password_file",
    "valkey": "store",
}
_OPTIONS_OF_KAFKA = ("security", "sasl", "ssl")
_NO_SECRETS = (".url", ".file", ".location")
# Below this similarity, names that share only the endings of their words would match.
_ALIKE = 0.7


def unknown_setting(name: str) -> str:
    """Message that there is no setting ``name``, with the one that is meant, or those there are."""
    return _unknown("setting", name, name.lower(), _in_yaml)


def unknown_variable(name: str) -> str:
    """Message that there is no environment variable ``name``, with the one that is meant.

    Without a similar one, the known variables are listed.
    """
    dotted = name.lower().removeprefix(ENV_PREFIX.lower()).replace("__", ".")
    return _unknown("environment variable", name, dotted, _in_environment)


def _unknown(what: str, name: str, dotted: str, write: Callable[[str], str]) -> str:
    section, option = _parted(dotted)
    meant = _option_of_kafka(option) if section == "kafka" else ""
    meant = meant or _nearest(option, _choices(section))
    if meant:
        return f"unknown {what} {name!r}; did you mean {write(meant)!r}?"
    known = sorted(write(own) for own in setting_names() if own.rpartition(".")[0] == section)
    return f"unknown {what} {name!r}; known are: {', '.join(known)}"


def _parted(dotted: str) -> tuple[str, str]:
    """Split a name into the section that is meant, "" for none, and the name within it."""
    sections = {name: name for name in setting_names() if _is_section(name)}
    sections |= {name: own for name, own in _MEANT.items() if own in sections}
    first, dot, rest = dotted.partition(".")
    if dot:
        section = _nearest(first, sections)
        return (section, rest) if section else ("", dotted)
    if dotted not in _MEANT:
        for name, section in sections.items():
            if dotted.startswith(f"{name}_"):
                return section, dotted.removeprefix(f"{name}_")
    return "", dotted


def _is_section(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in setting_names())


def _choices(section: str) -> Mapping[str, str]:
    """Settings of a section, or of the top level, by their names and synonyms."""
    own = {name: name for name in setting_names()} | _MEANT
    if section:
        inside = f"{section}."
        return {k.removeprefix(inside): name for k, name in own.items() if k.startswith(inside)}
    return {name: meant for name, meant in own.items() if "." not in name}


def _nearest(name: str, choices: Mapping[str, str]) -> str:
    plain = name.replace(".", "_").replace("-", "_")
    close = difflib.get_close_matches(plain, choices, n=1, cutoff=_ALIKE)
    return choices[close[0]] if close else ""


def _option_of_kafka(name: str) -> str:
    """Setting for an option of librdkafka, with the option after a colon; "" for none."""
    option = name.replace("_", ".")
    if (
        f"kafka.{option.replace('.', '_')}" in _MEANT
        or option.split(".")[0] not in _OPTIONS_OF_KAFKA
    ):
        return ""
    if "." not in option:
        return "kafka.options"
    secret = names_secret(option) and not option.endswith(_NO_SECRETS)
    return f"kafka.{'secret_files' if secret else 'options'}:{option}"


def _in_yaml(meant: str) -> str:
    setting, colon, option = meant.partition(":")
    return f"{setting}: {{{option}: {_value(setting)}}}" if colon else setting


def _in_environment(meant: str) -> str:
    setting, colon, option = meant.partition(":")
    variable = variable_of(setting)
    return f'{variable}={{"{option}": "{_value(setting)}"}}' if colon else variable


def _value(setting: str) -> str:
    return "FILE" if setting.endswith("secret_files") else "…"
