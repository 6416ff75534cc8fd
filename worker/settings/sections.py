"""The settings of a worker in ``worker.yaml``, with a description of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.settings.connections import KafkaSettings, Registry, Store
from worker.settings.options import File, LocationOfBundles, Section, Text
from worker.settings.secrets import mask

ENV_PREFIX = "FRAUD_WORKER_"


class Wire(Section):
    """Framing of records where there is no registry, and limits on every record."""

    framing: Literal["confluent", "none"] = Field(
        default="confluent",
        description="confluent: magic byte and schema id before each body; none: bare bodies.",
    )
    schema_id: int = Field(
        default=1, ge=0, lt=2**31, description="Id of the schema in features.yaml."
    )
    score_schema_id: int = Field(
        default=2, ge=0, lt=2**31, description="Id in the framing of scores."
    )
    label_schema_id: int = Field(
        default=3,
        ge=0,
        lt=2**31,
        description="Id in the framing of labels, as `labels send` writes them.",
    )
    max_record_bytes: int = Field(
        default=1_000_000, gt=0, description="A larger record becomes a dead letter, in bytes."
    )
    max_collection_items: int = Field(
        default=10_000,
        gt=0,
        description="A record with a longer array or map becomes a dead letter.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.framing == "confluent" and self.schema_id == self.score_schema_id:
            raise ValueError(
                f"schema_id and score_schema_id are both {self.schema_id}; two schemas need two ids"
            )
        return self


class ModelSettings(Section):
    """The model: one bundle, or a location of bundles whose champion serves."""

    bundle: File | None = Field(
        default=None,
        description="Folder of one model bundle. Set either this or `location`.",
        examples=["model"],
    )
    location: LocationOfBundles | None = Field(
        default=None,
        description="Location of bundles, whose champion serves: a folder with the file CHAMPION, "
        "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or mlflow:NAME.",
        examples=["/models"],
    )
    location_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="Longest wait for an answer of a remote location, in seconds.",
    )
    cache: File | None = Field(
        default=None,
        description="Folder for copies of the bundles of a remote location, which are in a folder "
        "of this user in it; default: the user's cache folder, or that of temporary files where it "
        "is read only.",
        examples=["/cache"],
    )
    verify_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="A bundle whose verification takes longer is refused, in seconds.",
    )
    verify_max_bytes: int = Field(
        default=512 * 1024 * 1024,
        gt=0,
        description="A bundle whose verification needs more memory is refused, in bytes.",
    )
    device: Literal["cpu", "cuda", "auto"] = Field(
        default="auto",
        description="auto uses a GPU where one is usable; the log and the scores name the device.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads that compute scores; default: the CPU quota of the process.",
        examples=[2],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.bundle is None) == (self.location is None):
            found = "neither" if self.bundle is None else "both"
            raise ValueError(
                f"found {found} of bundle and location; give one of them, here or as "
                f"{ENV_PREFIX}MODEL__BUNDLE or {ENV_PREFIX}MODEL__LOCATION"
            )
        return self


class DeliverySettings(Section):
    """Guarantee, micro-batches and bounds on waiting."""

    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once", description="at_least_once trades duplicates for latency."
    )
    max_batch_events: int = Field(
        default=4000, ge=1, le=50_000, description="Most events of a micro-batch."
    )
    latency_budget_s: float = Field(
        default=0.25,
        gt=0,
        description="Micro-batches are kept small enough to take less time, in seconds.",
    )
    broker_timeout_s: float = Field(
        default=10.0, gt=0, description="Bound on one call to the brokers, in seconds."
    )
    watchdog_s: float = Field(
        default=120.0, gt=0, description="A call that takes longer ends the process, in seconds."
    )
    refused_s: float = Field(
        default=600.0,
        gt=0,
        description="The worker ends when the dead-letter topic has refused a dead letter for this "
        "time, in seconds.",
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


class DeadLetterSettings(Section):
    """Limit on dead letters, by which a partition is held."""

    max_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="A partition is held at the record with which dead letters exceed this share of "
        "its last 1,000 records; 1: never.",
    )
    accept_through: dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        default={},
        description="By partition, the offset up to which its dead letters are accepted and do not "
        "count.",
        examples=[{0: 12345}],
        json_schema_extra={"propertyNames": {"pattern": "^[0-9]+$"}},
    )


class Output(Section):
    """Content of a score beyond the decision."""

    carry: list[str] = Field(
        default=[],
        description="Fields of the event to copy into `carried`.",
        examples=[["amount"]],
    )
    vector: Literal["irreproducible", "all", "off"] = Field(
        default="irreproducible",
        description="Feature values on the score; irreproducible: values that cannot be computed "
        "from the log again.",
    )
    headers: list[str] = Field(
        default=[],
        description="Headers of the event to copy; costs throughput.",
        examples=[["traceparent"]],
    )


class Windows(Section):
    """Windows over several partitions."""

    align_wait_s: float = Field(
        default=60.0,
        gt=0,
        description="Time after which the worker is not ready while an event waits until other "
        "partitions are applied to the histories of its windows, in seconds.",
    )


class FillSettings(Section):
    """Histories that the online store lacks: at a first start, after a loss, with a new window."""

    wait: bool = Field(
        default=True,
        description="true: they are filled from the input topic before the first event is scored. "
        "false: they begin empty, and events are flagged history_short until they are long enough.",
    )


class Http(Section):
    """Metrics and probes."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - probes come from outside the pod
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")


class Logs(Section):
    """Structured logs, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON."
    )


class WorkerSettings(BaseSettings):
    """All settings of ``worker.yaml``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    replica: Text | None = Field(
        default=None,
        description="Name of this replica, unique in the group; default: the host name with the "
        "lowest number that no other worker of the group has on this host, such as HOST-0.",
        examples=["worker-1"],
    )
    features: File = Field(default=Path("features.yaml"), description="The feature set.")
    policy: File = Field(default=Path("policy.yaml"), description="The decision policy.")
    reload_s: float = Field(
        default=2.0,
        gt=0,
        description="How often the worker checks the policy and the champion of model.location for "
        "changes, in seconds; a change is applied without a restart.",
    )
    kafka: KafkaSettings
    store: Store | None = Field(
        default=None, description="Required when features.yaml declares lookups or windows."
    )
    registry: Registry | None = Field(
        default=None, description="Without it, schemas come from files and wire."
    )
    wire: Wire = Wire()
    model: ModelSettings
    delivery: DeliverySettings = DeliverySettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    windows: Windows = Windows()
    fill: FillSettings = FillSettings()
    output: Output = Output()
    http: Http = Http()
    logs: Logs = Logs()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.registry and "wire" in self.model_fields_set:
            given = self.wire.model_fields_set & {
                "framing",
                "schema_id",
                "score_schema_id",
                "label_schema_id",
            }
            if given:
                raise ValueError(
                    f"wire.{min(given)} and registry are both set; ids come from the registry: "
                    "remove one"
                )
        if self.kafka.labels_topic is not None and not self.registry:
            self._require_label_id()
        return self

    def _require_label_id(self) -> None:
        wire = self.wire
        ids = {"schema_id": wire.schema_id, "score_schema_id": wire.score_schema_id}
        for name, other in ids.items():
            if wire.framing == "confluent" and wire.label_schema_id == other:
                raise ValueError(
                    f"wire.{name} and wire.label_schema_id are both {other}, and "
                    "kafka.labels_topic is set; two schemas need two ids"
                )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings calls it so
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        # The arguments of the class are the content of the file; the environment comes first.
        return (env_settings, init_settings)

    @property
    def state_name(self) -> str:
        """Name of the histories in the online store."""
        return (self.store and self.store.state) or self.kafka.group

    @property
    def max_lag_s(self) -> float | None:
        """Longest delay behind real time of events that are read, in seconds.

        None: as long as the topic keeps them.
        """
        return self.store.max_lag_s if self.store else None

    def masked(self) -> dict[str, Any]:
        """The settings as plain data, with ``***`` in place of every secret."""
        return cast("dict[str, Any]", mask(self.model_dump(mode="json")))
