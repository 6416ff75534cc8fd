"""``fraud-worker features load`` and ``load-labels``."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from base.file_path import FilePath, file_path
from tools.cli.input_reports import note, refuse_nothing, require_fraud_windows, tell_refused
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.definition import FeatureSet
    from features.loading import LabelFile
    from features.loading.label_loader import LabelLoader, LoadedLabels
    from features.store.protocol import OnlineStore
    from tools.topics.topic_labels import TopicLabels
    from worker.settings import WorkerSettings


class StoredFeatures(NamedTuple):
    """Settings and feature set of a pipeline, and its online store."""

    settings: WorkerSettings
    feature_set: FeatureSet
    store: OnlineStore


@contextmanager
def stored_features(pipeline: Path) -> Iterator[StoredFeatures]:
    """Open the online store of a pipeline; it is closed on exit.

    Raises:
        ConfigurationError: worker.yaml or features.yaml is invalid, or names no store.
    """
    from base.errors import ConfigurationError
    from features.definition import load_feature_set
    from worker.pipeline import open_store
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    if settings.store is None:
        raise ConfigurationError(f"{pipeline / 'worker.yaml'}: store is missing; add store.url")
    feature_set = load_feature_set(settings.features)
    with closing(open_store(settings)) as store:
        yield StoredFeatures(settings, feature_set, store)


def load(
    lookup: Annotated[str, typer.Argument(help="Name of the lookup in features.yaml.")],
    file: Annotated[
        FilePath,
        typer.Argument(
            parser=file_path,
            metavar="FILE.parquet",
            help="Columns: the key of the entity, the values of the lookup, and updated_at (UTC).",
        ),
    ],
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="HISTORY.parquet",
            help="Append the rows that are new to this file, for `features build --lookup`; it is "
            "created if it is missing.",
            show_default=False,
        ),
    ] = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Load a lookup's values from a Parquet file into the online store."""
    from features.loading.lookup_files import load_lookup
    from features.loading.past_lookups import keep_rows
    from tools.progress import progress

    with stored_features(pipeline) as (_, feature_set, store), ExitStack() as stack:
        kept = stack.enter_context(keep_rows(feature_set, lookup, file, keep)) if keep else 0
        advance = stack.enter_context(progress(f"loading {lookup}"))
        loaded = load_lookup(feature_set, lookup, file, store, advance)
    rows = f"{lookup}: {loaded.rows:,} rows, {loaded.keys:,} keys"
    typer.echo(f"{rows}; {kept:,} rows added to {keep}" if keep else rows, err=True)


def load_labels(
    file: Annotated[
        FilePath | None,
        typer.Argument(
            parser=file_path,
            metavar="[FILE]",
            help="Labels: .parquet, .avro (container), .jsonl or .ndjson.",
            show_default=False,
        ),
    ] = None,
    pipeline: PipelineOption = HERE,
) -> None:
    """Load labels into the online store, for windows that count frauds (fraud_share).

    Reads FILE; without FILE, the topic kafka.labels_topic up to its end at the
    time of the call. The fields are those of label.avsc; event fields may also
    have the names that they have in events. Loading the same labels again
    changes nothing. The last line on stdout is JSON.
    """
    with stored_features(pipeline) as stored:
        loaded = read_labels(stored, file)
    counts = {name: getattr(loaded, name) for name in ("labels", "frauds", "added", "refused")}
    print(json.dumps(counts))


def read_labels(stored: StoredFeatures, file: FilePath | None) -> LoadedLabels:
    """Load labels as ``load_labels`` does, and report refused rows on stderr."""
    from worker.histories.record import note_labelled

    settings, feature_set, store = stored
    require_fraud_windows(feature_set, settings.features)
    loaded = _load_all(stored, file).loaded
    if loaded.labels:
        note_labelled(store, feature_set.name, settings.state_name, feature_set.label_sets.values())
    tell_refused("labels", loaded.refused, loaded.examples)
    refuse_nothing(str(file or settings.kafka.labels_topic), loaded.labels, loaded.refused)
    return loaded


def _load_all(stored: StoredFeatures, file: FilePath | None) -> LabelLoader:
    """Load the labels of the file or, without a file, of the labels topic."""
    from features.loading.label_loader import LabelLoader
    from tools.progress import progress
    from worker.histories.record import label_namespace

    settings, feature_set, store = stored
    namespace = label_namespace(store, feature_set.name, settings.state_name)
    loader = LabelLoader(feature_set, store, namespace, _expire_ms(settings, feature_set))
    with _labels(feature_set, settings, file) as labels, progress("labels") as advance:
        total, done = labels.count(), 0
        for rows, refused in labels:
            loader.load(rows, refused, str(file or settings.kafka.labels_topic))
            done += len(rows) + len(refused)
            advance(done, total)
    return loader


@contextmanager
def _labels(
    feature_set: FeatureSet, settings: WorkerSettings, file: FilePath | None
) -> Iterator[LabelFile | TopicLabels]:
    from base.errors import ConfigurationError
    from features.loading import LabelFile
    from tools.topics.topic_labels import TopicLabels
    from tools.topics.topic_log import TopicLog

    topic, timeout_s = settings.kafka.labels_topic, settings.delivery.broker_timeout_s
    if file is not None:
        yield LabelFile(feature_set, file)
    elif topic is None:
        raise ConfigurationError("give a FILE of labels, or name their topic: kafka.labels_topic")
    else:
        with TopicLog(settings.kafka, "kafka.labels_topic", topic, timeout_s) as log:
            yield TopicLabels(feature_set, settings, log)


def _expire_ms(settings: WorkerSettings, feature_set: FeatureSet) -> int | None:
    """TTL of labels in milliseconds: that of the histories; None, for ever, where it is unknown."""
    from confluent_kafka import KafkaException

    from base.errors import ConfigurationError
    from worker.consume.topics import describe_input
    from worker.histories.location import expiry_ms

    if settings.max_lag_s is not None:
        return expiry_ms(feature_set, None, settings.max_lag_s)
    try:
        topic = describe_input(settings.kafka, settings.delivery.broker_timeout_s)
    except (KafkaException, ConfigurationError) as error:
        note(
            f"labels are kept for ever ({error}); to bound that, set store.max_lag_s, or see that "
            "the input topic can be described"
        )
        return None
    return expiry_ms(feature_set, topic.retention_ms, None)
