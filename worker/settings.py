"""Settings of one worker: ``worker.yaml``, overridden by ``FRAUD_WORKER_…`` in the environment.

Nested settings take two underscores: ``FRAUD_WORKER_KAFKA__GROUP=fraud``.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from schemas.errors import ConfigurationError

ENV_PREFIX = "FRAUD_WORKER_"
FILE_NAME = "worker.yaml"
# Read by the command line, the embedded servers and the tests, not by the settings.
_OTHER_ENVIRONMENT = ("PIPELINE", "CACHE", "DATA", "TEST_")

_OWNED_CONSUMER_OPTIONS = {
    "auto.offset.reset": "kafka.start_from",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "enable.auto.commit": "always false: offsets are part of the checkpoint",
    "enable.auto.offset.store": "always false: offsets are part of the checkpoint",
    "enable.partition.eof": "always false",
    "group.id": "kafka.group",
    "group.protocol": "always classic, for cooperative-sticky",
    "isolation.level": "always read_committed",
    "partition.assignment.strategy": "always cooperative-sticky",
}
_OWNED_PRODUCER_OPTIONS = {
    "acks": "always all",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "delivery.report.only.error": "always true",
    "enable.idempotence": "always true",
    "partitioner": "always murmur2_random, Kafka's own",
    "transactional.id": "kafka.group and replica",
}
_SECRET_OPTION = re.compile(r"password|secret|token|(?:\.|_)key(?:$|\.pem|_pem)|credential", re.I)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give it a value")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Options = dict[str, str | int | float | bool]


class Section(BaseModel):
    """A group of settings: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(Section):
    """Brokers, topics and the consumer group."""

    bootstrap_servers: Text = Field(description="Brokers, as host:port, comma-separated.")
    group: Text = Field(description="Consumer group; replicas of one worker share it.")
    input_topic: Text = Field(description="Topic of transaction events.")
    output_topic: Text = Field(description="Topic of scores.")
    dead_letter_topic: Text = Field(description="Topic of records that cannot be scored.")
    start_from: Literal["earliest", "latest", "error"] = Field(
        description="Where a partition starts that the group has no checkpoint for."
    )
    password_file: Path | None = Field(
        default=None, description="File with the SASL password; the user is an option below."
    )
    options: Options = Field(
        default_factory=dict,
        description="librdkafka options for consumer and producer, such as security.protocol.",
    )
    consumer: Options = Field(default_factory=dict, description="librdkafka consumer options.")
    producer: Options = Field(default_factory=dict, description="librdkafka producer options.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        topics = [self.input_topic, self.output_topic, self.dead_letter_topic]
        if len(set(topics)) < len(topics):
            raise ValueError(
                f"input_topic, output_topic and dead_letter_topic are {topics}; name three topics"
            )
        for section, owned in (
            ("options", _OWNED_CONSUMER_OPTIONS | _OWNED_PRODUCER_OPTIONS),
            ("consumer", _OWNED_CONSUMER_OPTIONS),
            ("producer", _OWNED_PRODUCER_OPTIONS),
        ):
            for name in getattr(self, section):
                if name in owned:
                    raise ValueError(
                        f"{section}: {name} is the worker's own ({owned[name]}); remove it"
                    )
        options = {**self.options, **self.consumer, **self.producer}
        if "sasl.password" in options:
            raise ValueError("options: sasl.password stands in the open; use kafka.password_file")
        if self.password_file and "sasl.username" not in options:
            raise ValueError("password_file is set, options has no sasl.username; add it")
        return self


class Registry(Section):
    """Confluent-compatible schema registry."""

    url: Text = Field(description="Address of the registry, with its path if it has one.")
    username: str | None = Field(default=None, description="User, with password_file.")
    password_file: Path | None = Field(default=None, description="File with the password.")
    timeout_s: float = Field(default=5.0, gt=0, description="Bound on one request, in seconds.")
    register_score_schema: bool = Field(
        default=False,
        description="Register score.avsc at start; otherwise it must be there.",
    )


class Wire(Section):
    """How records are framed where there is no registry."""

    framing: Literal["confluent", "none"] = Field(
        default="confluent",
        description="confluent: magic byte and schema id before each body; none: bare bodies.",
    )
    schema_id: int = Field(
        default=1, ge=0, lt=2**31, description="Id that stands for the schema in features.yaml."
    )
    score_schema_id: int = Field(
        default=2, ge=0, lt=2**31, description="Id that the scores are framed with."
    )
    max_record_bytes: int = Field(
        default=1_000_000, gt=0, description="A larger record is a dead letter, in bytes."
    )
    max_collection_items: int = Field(
        default=10_000, gt=0, description="Longer arrays and maps make a dead letter."
    )


class Store(Section):
    """The online store: Redis or Valkey."""

    url: Text = Field(description="redis://, rediss:// or unix:// address; no password in it.")
    username: str | None = Field(default=None, description="ACL user, with password_file.")
    password_file: Path | None = Field(
        default=None, description="File with the password; read again on each connection."
    )
    timeout_s: float = Field(default=2.0, gt=0, description="Bound on one answer, in seconds.")
    options: Options = Field(default_factory=dict, description="redis-py connection options.")

    @model_validator(mode="after")
    def _no_password_in_url(self) -> Self:
        if re.search(r"//[^/@]*:[^/@]+@", self.url):
            raise ValueError("url holds a password; use store.password_file")
        return self


class Model(Section):
    """The model bundle and where it runs."""

    bundle: Path = Field(description="Folder of the model bundle, relative to worker.yaml.")
    device: Literal["cpu", "cuda", "auto"] = Field(
        default="auto", description="auto takes a GPU where one is usable, and says which."
    )
    threads: int | None = Field(
        default=None, ge=1, description="XGBoost threads; default: the CPU quota of the process."
    )


class Delivery(Section):
    """Guarantee, micro-batches and bounds on waiting."""

    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once", description="at_least_once trades duplicates for latency."
    )
    max_batch_events: int = Field(
        default=4000, ge=1, le=50_000, description="Most events of a micro-batch."
    )
    latency_budget_s: float = Field(
        default=0.25, gt=0, description="A micro-batch is kept small enough to take less, seconds."
    )
    broker_timeout_s: float = Field(
        default=10.0, gt=0, description="Bound on one call to the brokers, in seconds."
    )
    watchdog_s: float = Field(
        default=120.0, gt=0, description="A call that overstays this ends the process, seconds."
    )
    drain_s: float = Field(
        default=20.0, gt=0, description="Bound on finishing after SIGTERM, in seconds."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.watchdog_s <= self.broker_timeout_s:
            raise ValueError(
                f"watchdog_s is {self.watchdog_s:g}, broker_timeout_s {self.broker_timeout_s:g}; "
                "the watchdog must be the longer"
            )
        return self


class Output(Section):
    """What a score carries beyond the decision."""

    carry: list[str] = Field(
        default_factory=list, description="Fields of the event to copy into `carried`."
    )
    vector: Literal["irreproducible", "all", "off"] = Field(
        default="irreproducible",
        description="Feature values on the score; irreproducible: those the log cannot give back.",
    )
    headers: list[str] = Field(
        default_factory=list, description="Headers of the event to copy; costs throughput."
    )


class Http(Section):
    """Metrics and probes."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - probes come from outside the pod
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")


class Logs(Section):
    """Structured logs, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON."
    )


class WorkerSettings(BaseSettings):
    """All settings of ``worker.yaml``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    replica: Text = Field(
        default_factory=socket.gethostname,
        description="Name of this replica, unique in the group; default: the host name.",
    )
    features: Path = Field(default=Path("features.yaml"), description="The feature set.")
    policy: Path = Field(default=Path("policy.yaml"), description="The decision policy.")
    kafka: Kafka
    store: Store | None = Field(
        default=None, description="Needed when features.yaml declares lookups."
    )
    registry: Registry | None = Field(
        default=None, description="Without it, schemas come from files and wire."
    )
    wire: Wire = Wire()
    model: Model
    delivery: Delivery = Delivery()
    output: Output = Output()
    http: Http = Http()
    logs: Logs = Logs()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.registry and "wire" in self.model_fields_set:
            given = self.wire.model_fields_set & {"framing", "schema_id", "score_schema_id"}
            if given:
                raise ValueError(
                    f"wire.{min(given)} and registry are both set; ids come from the registry: "
                    "remove one"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))

    def masked(self) -> dict[str, Any]:
        """The settings as plain data, with every secret replaced by ``***``."""
        masked = _mask(self.model_dump(mode="json"))
        assert isinstance(masked, dict)
        return masked


def load_settings(folder: Path) -> WorkerSettings:
    """Read ``worker.yaml`` in ``folder``; its relative paths are taken from there.

    Raises ConfigurationError naming every setting that does not hold.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise ConfigurationError(
            f"{path}: no such file; run `fraud-worker init {folder} --schema FILE.avsc`, "
            "or name the pipeline folder with --pipeline"
        )
    _refuse_unknown_environment()

    class FromFile(WorkerSettings):
        model_config = SettingsConfigDict(yaml_file=path)

    try:
        settings = FromFile()  # type: ignore[call-arg] # its fields come from the file
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {error}; mend the file") from None
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(path, error))) from None
    except Exception as error:
        raise ConfigurationError(f"{path}: {error}") from None
    return settings.model_copy(
        update={
            "features": folder / settings.features,
            "policy": folder / settings.policy,
            "model": settings.model.model_copy(update={"bundle": folder / settings.model.bundle}),
        }
    )


def read_secret(path: Path, setting: str) -> SecretStr:
    """The first line of a secret's file. Raises ConfigurationError naming ``setting``."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: {path} cannot be read ({error.strerror}); mount the secret there"
        ) from None
    if not text:
        raise ConfigurationError(f"{setting}: {path} is empty; write the secret into it")
    return SecretStr(text)


def setting_names(model: type[BaseModel] = WorkerSettings, prefix: str = "") -> Iterator[str]:
    """Every setting's dotted name, sections included."""
    for name, info in model.model_fields.items():
        yield prefix + name
        section = section_of(info.annotation)
        if section:
            yield from setting_names(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class in an annotation such as ``Store | None``, if it holds one."""
    candidates = (
        typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    )
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _refuse_unknown_environment() -> None:
    known = {name.replace(".", "__").upper(): name for name in setting_names()}
    open_ended = tuple(f"{n}__" for n in known if n.endswith(("OPTIONS", "CONSUMER", "PRODUCER")))
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX)
        if not variable.upper().startswith(ENV_PREFIX) or name.startswith(_OTHER_ENVIRONMENT):
            continue
        if name not in known and not name.startswith(open_ended):
            raise ConfigurationError(
                f"{variable}: no such setting{_nearest(name, list(known), ENV_PREFIX)}; "
                "unset it or mend its name (nested settings take two underscores)"
            )


def _explain(path: Path, error: ValidationError) -> Iterator[str]:
    names = list(setting_names())
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        where = f"{path}: {name}" if name else str(path)
        if item["type"] == "extra_forbidden":
            yield f"{where}: no such setting{_nearest(name, names)}; remove it or mend its name"
        elif item["type"] == "missing":
            variable = ENV_PREFIX + name.replace(".", "__").upper()
            yield f"{where}: is missing; add it, or set {variable}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if item["type"] == "value_error" else f" (found {_short(name, item)})"
            yield f"{where}: {message}{shown}"


def _short(name: str, item: Mapping[str, Any]) -> str:
    return "***" if _SECRET_OPTION.search(name) else repr(item["input"])[:80]


def _nearest(name: str, names: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "***"
            if _SECRET_OPTION.search(name) and not name.endswith("_file") and item is not None
            else _mask(item)
            for name, item in value.items()
        }
    if isinstance(value, str):
        return re.sub(r"//[^/@\s]*@", "//***@", value)
    return value
