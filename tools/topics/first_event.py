"""Time at which the events of a topic begin."""

from __future__ import annotations

from features.compute.bind import bind
from features.definition import FeatureSet
from features.history.watermarks import enough_to_begin
from tools.topics.topic_log import TopicLog
from worker.schema_sources import event_decoder
from worker.settings import WorkerSettings


def first_event_time(
    feature_set: FeatureSet, settings: WorkerSettings, log: TopicLog
) -> int | None:
    """Find the time at which the events of a topic begin, in microseconds; None if it has none.

    It is that from which on histories are complete that begin with the topic: of each partition,
    the watermark behind its first few events, so that one with a wrong time does not move it.

    Raises:
        ConfigurationError: The schemas are invalid, or the registry's settings are.
        DependencyUnavailableError: The brokers or the registry do not answer.
    """
    support = feature_set.histories.rules.watermark_support
    decoder = event_decoder(settings, feature_set, None)
    times: dict[int, list[int]] = {}
    for records in log:
        decoded = decoder.decode(records.values, records.headers)
        batch, _ = bind(feature_set, records, decoded)
        of, at = batch.records.partitions.tolist(), batch.event_time.tolist()
        for partition, time in zip(of, at, strict=True):
            times.setdefault(partition, []).append(time)
        enough = {p for p, found in times.items() if len(found) >= enough_to_begin(support)}
        if enough >= log.unfinished:
            break
        log.pause(enough)
    begins = (sorted(found[: enough_to_begin(support)]) for found in times.values())
    return min((begin[-support:][0] for begin in begins), default=None)
