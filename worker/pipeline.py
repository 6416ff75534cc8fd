"""Pipeline folder, and what a worker and the commands beside it make of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from features.store.redis import RedisStore
from models.bundle import Bundle
from models.policy import Rules
from schemas.avro.decoder import Decoder
from worker.delivery.publish import SizeLimits
from worker.histories import Histories, NoHistories
from worker.reload import FileFingerprints, ModelSource, load_model, load_rules
from worker.schema_sources import event_decoder, score_schema
from worker.settings import WorkerSettings, load_settings
from worker.settings.options import require_option_files
from worker.stages.encode import Encode, Extras, Provenance
from worker.stages.serving import Serving
from worker.stages.stages import Decode, Enrich, Stages


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """A pipeline folder, loaded and checked for consistency.

    Attributes:
        settings: Settings of ``worker.yaml``.
        feature_set: Feature set of ``features.yaml``.
        serving: Model and policy, ready to serve.
        source: Source of the model.
        fingerprints: Fingerprints of model and policy, taken just before they were loaded.
    """

    settings: WorkerSettings
    feature_set: FeatureSet
    serving: Serving
    source: ModelSource
    fingerprints: FileFingerprints

    @property
    def bundle(self) -> Bundle:
        return self.serving.model.bundle

    @property
    def rules(self) -> Rules:
        return self.serving.rules

    def decoder(self) -> Decoder:
        """Make the decoder of the input topic; errors are those of `event_decoder`."""
        return event_decoder(self.settings, self.feature_set, self.rules)


def load_pipeline(folder: Path) -> Pipeline:
    """Load a pipeline folder.

    Raises:
        ConfigurationError: Something in the folder is invalid; the message names it.
        DependencyUnavailableError: The model's location does not answer, and there is no copy of
            its champion.
    """
    settings = load_settings(folder)
    feature_set = load_feature_set(settings.features)
    stored = [*feature_set.lookups, *(window.name for window in feature_set.histories.windows)]
    if stored and settings.store is None:
        raise ConfigurationError(
            f"{folder / 'worker.yaml'}: store is missing and {settings.features} has lookups or "
            f"windows ({', '.join(stored)}); add store.url"
        )
    source = ModelSource(settings.model)
    fingerprints = FileFingerprints.of(settings, source)
    rules = load_rules(settings, feature_set)
    model = load_model(settings, source, feature_set, settings.model.device)
    if source.fallback is not None:
        # What serves is not the champion that was looked at: the next answer loads that one.
        fingerprints = fingerprints._replace(model=None)
    return Pipeline(settings, feature_set, Serving(feature_set, model, rules), source, fingerprints)


def open_store(settings: WorkerSettings) -> OnlineStore:
    """Open the configured online store; without one, an empty store in memory."""
    if settings.store is None:
        return MemoryStore()
    require_option_files("store.options", settings.store.options)
    return RedisStore(
        settings.store.url,
        username=settings.store.username,
        password_file=settings.store.password_file,
        timeout_s=settings.store.timeout_s,
        options=settings.store.options,
    )


def make_stages(
    pipeline: Pipeline,
    decoder: Decoder,
    store: OnlineStore,
    prefix: bytes,
    limits: Callable[[], SizeLimits],
    *,
    histories: Histories | None = None,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Stages:
    """Make the stages of a pipeline.

    Args:
        pipeline: Pipeline whose model and policy serve.
        decoder: Decoder of the input topic.
        store: Online store.
        prefix: Bytes that precede each score.
        limits: Returns the size limits of the output topics.
        histories: Histories of a store that other processes share; None for a store that serves
            this run alone.
        now_us: Returns `scored_at`, in microseconds since 1970-01-01 UTC.
    """
    settings, feature_set = pipeline.settings, pipeline.feature_set
    encode = Encode(
        score_schema(),
        prefix,
        Provenance(feature_set.fingerprint, settings.kafka.input_topic),
        Extras.of(settings.output, feature_set),
        feature_set.flags,
        now_us,
    )
    return Stages(
        Decode(decoder, feature_set),
        Enrich(feature_set, store, histories or NoHistories()),
        pipeline.serving,
        encode,
        limits,
    )
