"""``fraud-worker features load-labels``."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.cli.features.inputs import note, refuse_nothing, tell_refused
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.definition import FeatureSet
    from features.loading import LabelFile
    from tools.topics.labels import LabelRecords
    from worker.settings import WorkerSettings


def load_labels(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Labels: .parquet, .avro (container), .jsonl or .ndjson.",
            show_default=False,
        ),
    ] = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Tell the online store who was a fraud, and since when that is known.

    Reads a file or, without one, kafka.labels_topic up to its end as of now.
    Fields are those of label.avsc, or have the names that events have for them.
    Loading the same labels again changes nothing. Ends with one line of JSON.
    """
    from base.errors import ConfigurationError
    from features.definition import load_feature_set
    from features.loading.label_loader import LabelLoader
    from tools.cli.progress import progress
    from worker.app import open_store
    from worker.histories.record import label_namespace, note_labelled
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    if settings.store is None:
        raise ConfigurationError(f"{pipeline / 'worker.yaml'}: store is missing; add store.url")
    feature_set = load_feature_set(settings.features)
    if not feature_set.labelled_entities:
        raise ConfigurationError(
            f"{settings.features}: no feature counts frauds (window: fraud_share): labels have "
            "nothing to be kept for"
        )
    store = open_store(settings)
    try:
        namespace = label_namespace(store, feature_set.name, settings.state_name)
        loader = LabelLoader(feature_set, store, namespace, _expire_ms(settings, feature_set))
        with _source(feature_set, settings, file) as source, progress("labels") as advance:
            total, done = source.count(), 0
            for rows, refused in source:
                loader.load(rows, refused, str(file or settings.kafka.labels_topic))
                done += len(rows) + len(refused)
                advance(done, total)
        if loader.loaded.labels:
            entities = feature_set.labelled_entities
            note_labelled(store, feature_set.name, settings.state_name, entities)
    finally:
        store.close()
    loaded = loader.loaded
    tell_refused("labels", loaded.refused, loaded.examples)
    refuse_nothing(str(file or settings.kafka.labels_topic), loaded.labels, loaded.refused)
    print(
        json.dumps(
            {
                "labels": loaded.labels,
                "frauds": loaded.frauds,
                "added": loaded.added,
                "refused": loaded.refused,
            }
        )
    )


@contextmanager
def _source(
    feature_set: FeatureSet, settings: WorkerSettings, file: Path | None
) -> Iterator[LabelFile | LabelRecords]:
    from base.errors import ConfigurationError
    from features.loading import LabelFile
    from tools.topics.labels import LabelRecords
    from tools.topics.log import TopicLog, answering

    kafka = settings.kafka
    if file is not None:
        yield LabelFile(feature_set, file)
    elif kafka.labels_topic is None:
        raise ConfigurationError("give a FILE of labels, or name their topic: kafka.labels_topic")
    else:
        timeout_s = settings.delivery.broker_timeout_s
        with (
            answering(kafka),
            TopicLog(kafka, "kafka.labels_topic", kafka.labels_topic, timeout_s) as log,
        ):
            yield LabelRecords(feature_set, settings, log)


def _expire_ms(settings: WorkerSettings, feature_set: FeatureSet) -> int | None:
    """TTL of labels in milliseconds: that of the histories; None, for ever, where it is unknown."""
    from confluent_kafka import KafkaException

    from base.errors import ConfigurationError
    from worker.consume.topics import describe_input
    from worker.histories.place import expiry_ms

    if settings.max_lag_s is not None:
        return expiry_ms(feature_set, None, settings.max_lag_s)
    try:
        topic = describe_input(settings.kafka, settings.delivery.broker_timeout_s)
    except (KafkaException, ConfigurationError) as error:
        note(f"labels will stay for ever: {error}; store.max_lag_s or the input topic bounds them")
        return None
    return expiry_ms(feature_set, topic.retention_ms, None)
