"""docs/configuration.md, written from the settings' own classes.

``python -m tools.settings_manual > docs/configuration.md`` renews it.
"""

from __future__ import annotations

import sys

from worker.settings.options import OWNED_CONSUMER_OPTIONS, OWNED_PRODUCER_OPTIONS
from worker.settings.reference import Setting, SettingGroup, groups

_HEAD = """\
<!-- Generated: python -m tools.settings_manual > docs/configuration.md -->

# Configuration

A pipeline is a folder with three files. What changes a number is in `features.yaml`, what changes
a decision in `policy.yaml`, and where things are and how hard to run in `worker.yaml`, which this
page describes. `fraud-worker init DIR --schema FILE.avsc` writes all three, and
`fraud-worker check --pipeline DIR` says what does not hold.

- **Strict.** A setting that is unknown, given twice, or contradicts another refuses to start; the
  message names the place, the setting and the remedy. YAML is read as version 1.2, without aliases.
- **Editors** complete and check the three files by their JSON Schemas, which `init` writes into
  `.schemas` beside them. The first lines of each file name its schema, for yaml-language-server
  (VS Code, Neovim, Helix) and for JetBrains' editors. `fraud-worker schema --pipeline DIR` writes
  the schemas again: after an upgrade, or for a pipeline that has none. They know keys, types and
  bounds; `check` knows the rest, and what is missing in `worker.yaml`, as the environment may give
  it.
- **Environment.** Each setting has a variable, and the variable wins over the file:
  `kafka.group` is `FRAUD_WORKER_KAFKA__GROUP`, with two underscores between section and setting.
  Mappings and lists are written as JSON. An unknown variable with the prefix is refused, but for
  `FRAUD_WORKER_PIPELINE` (the folder that commands take without `--pipeline`) and
  `FRAUD_WORKER_CACHE` (where embedded servers are kept).
- **Paths** are taken from the folder of `worker.yaml`; those among the options of librdkafka and
  redis-py, such as `ssl.ca.location`, from the folder that the process was started in.
- **Secrets** are read from the files that settings ending in `password_file` name, so they can be
  mounted and renewed. At the start the worker logs its settings with every secret masked. No
  address may hold a password.
- **With a registry** events are read by the schema id that each record names, whatever the subject
  it was registered under. `score.avsc` belongs under the subject of its topic,
  `OUTPUT_TOPIC-value` (Confluent's TopicNameStrategy, the only one): the start registers it there
  with `registry.register_score_schema`, and otherwise looks it up there. `check` compares the
  latest schema under `INPUT_TOPIC-value`, where there is one, with that of `features.yaml`.
- **Without a registry** the schema in `features.yaml` stands for `wire.schema_id`; the schemas of
  older or newer writers are files named after their ids, such as `writer-schemas/7.avsc`, in the
  folder of `features.yaml`.
"""

_OPTIONS_HEAD = """
## Options of other libraries

`kafka.options`, `kafka.consumer` and `kafka.producer` take any option of librdkafka, and
`store.options` any keyword of redis-py's connections; neither may hold what the worker decides
itself. In the order of the three, the later wins. librdkafka's options that are refused:

| option | instead |
|---|---|
"""


def manual() -> str:
    """The text of docs/configuration.md."""
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


if __name__ == "__main__":
    sys.stdout.write(manual())
