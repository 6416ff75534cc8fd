"""Reference page of worker.yaml, from the settings' own classes."""

from __future__ import annotations

from worker.settings.options import OWNED_CONSUMER_OPTIONS, OWNED_PRODUCER_OPTIONS
from worker.settings.reference import Setting, SettingGroup, groups

_HEAD = """\
# worker.yaml

A pipeline is a folder with three files. [`features.yaml`](features.md) defines the numbers that the model sees. [`policy.yaml`](policy.md) defines decisions. `worker.yaml`, described here, says where brokers, store and models are, and how the worker runs. `fraud-worker init DIR --schema FILE.avsc` writes all three. `fraud-worker check --pipeline DIR` reports everything that is invalid.

- **Strict.** The worker refuses to start with a setting that is unknown, given twice, or contradicts another one. The message names the place, the setting and the remedy. YAML is read as version 1.2, without aliases.
- **Editors** complete and check the three files with their JSON Schemas, which `init` writes into `.schemas` beside them. The first lines of each file name its schema, for yaml-language-server (VS Code, Neovim, Helix) and for JetBrains' editors. `fraud-worker schema --pipeline DIR` writes the schemas again after an upgrade, or for a pipeline that has none. The schemas know keys, types and bounds. `check` knows the rest, and which settings are missing, as the environment may give them.
- **Environment.** Each setting has a variable, and the variable overrides the file: `kafka.group` is `FRAUD_WORKER_KAFKA__GROUP`, with two underscores between section and setting. Mappings and lists are written as JSON. An unknown variable with this prefix is refused. Two variables are not settings: `FRAUD_WORKER_PIPELINE` (the default of `--pipeline`) and `FRAUD_WORKER_CACHE` (the folder of compiled kernels and of the embedded servers).
- **Paths** are relative to the folder of `worker.yaml`. Paths among the options of librdkafka and redis-py, such as `ssl.ca.location`, are relative to the working directory of the process.
- **Secrets** are read from files that settings ending in `password_file` name, so they can be mounted and renewed. At the start the worker logs its settings with every secret masked. An address may not hold a password.
- **With a registry** each record is decoded by the schema id that it names, whatever the subject of that schema. `score.avsc` belongs under the subject `OUTPUT_TOPIC-value` (Confluent's TopicNameStrategy; no other strategy is supported). With `registry.register_score_schema` the start registers it there; otherwise it must be there already. The same holds for `label.avsc`, `LABELS_TOPIC-value`, `registry.register_label_schema` and `labels send`. `check` compares the latest schema under `INPUT_TOPIC-value`, if there is one, with that of `features.yaml`.
- **Without a registry** `wire.schema_id` is the id of the schema in `features.yaml`. Schemas of older or newer writers are files named after their ids, such as `writer-schemas/7.avsc`, in the folder of `features.yaml`.
"""

_OPTIONS_HEAD = """
## Options of other libraries

`kafka.options`, `kafka.consumer` and `kafka.producer` take any option of librdkafka. If one is in several of them, `kafka.consumer` and `kafka.producer` override `kafka.options`. `store.options` takes any keyword of redis-py's connections. Options that the worker sets itself are refused. For librdkafka these are:

| option | instead |
|---|---|
"""


def configuration() -> str:
    """The text of docs/reference/configuration.md."""
    sections = "".join(_section(group) for group in groups())
    owned = OWNED_CONSUMER_OPTIONS | OWNED_PRODUCER_OPTIONS
    refused = sorted({**owned, "sasl.password": "kafka.password_file"}.items())
    return _HEAD + sections + _OPTIONS_HEAD + "".join(f"| `{k}` | {v} |\n" for k, v in refused)


def _section(group: SettingGroup) -> str:
    title = f"`{group.name}`" if group.name else "Top level"
    optional = "" if group.required else " The section may be left out."
    return "\n".join(
        [
            f"\n## {title}\n",
            *([f"{group.meaning}{optional}\n"] if group.meaning else []),
            "| setting | type | default | variable | meaning |",
            "|---|---|---|---|---|",
            *map(_row, group.settings),
            "",
        ]
    )


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else "required" if setting.required else ""
    example = f" Example: `{setting.example}`." if setting.example else ""
    cells = (f"`{setting.name}`", setting.kind, default, f"`{setting.variable}`")
    return f"| {' | '.join(cells)} | {setting.meaning}{example} |"
