"""Names that other programs give to these settings."""

from __future__ import annotations

from features.suggest import unknown
from worker.settings.reference import setting_names, variable_of

_MEANT = {
    "kafka.bootstrap": "kafka.bootstrap_servers",
    "kafka.bootstrap.servers": "kafka.bootstrap_servers",
    "kafka.brokers": "kafka.bootstrap_servers",
    "kafka.consumer_group": "kafka.group",
    "kafka.group.id": "kafka.group",
    "kafka.group_id": "kafka.group",
    "kafka.hosts": "kafka.bootstrap_servers",
    "kafka.auto_offset_reset": "kafka.start_from",
    "kafka.password": "kafka.password_file",
    "kafka.servers": "kafka.bootstrap_servers",
    "kafka.topic": "kafka.input_topic",
    "kafka.dlq_topic": "kafka.dead_letter_topic",
    "kafka.username": "kafka.options: {sasl.username: …}",
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


def unknown_setting(name: str) -> str:
    """Say that there is no setting ``name``, and which one is meant."""
    meant = _meant(name)
    if meant:
        return f"unknown setting {name!r}; did you mean {meant!r}?"
    return unknown("setting", name, setting_names())


def unknown_variable(name: str) -> str:
    """As ``unknown_setting``, of an environment variable."""
    meant = {variable_of(other): own for other, own in _MEANT.items() if ":" not in own}
    own = meant.get(name.upper())
    if own:
        return f"unknown environment variable {name!r}; did you mean {variable_of(own)!r}?"
    return unknown("environment variable", name, map(variable_of, setting_names()))


def _meant(name: str) -> str:
    section, _, option = name.lower().partition(".")
    words = option.replace("_", ".")
    if section == "kafka" and words.split(".")[0] in _OPTIONS_OF_KAFKA:
        return f"kafka.options: {{{words}: …}}"
    return _MEANT.get(name.lower(), "")
