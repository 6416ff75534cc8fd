"""Reading of two pipelines' topics, each up to its end when reading begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from base.arrays import Longs
from base.errors import ConfigurationError
from models.policy import Policy, load_policy
from tools.compare.score_columns import ScoreCategories
from tools.compare.score_log import LabelsOf, Period, Place, ScoreLog, ScoreLogReader, read_letters
from tools.topics.topic_log import TopicLog
from worker.settings import WorkerSettings, load_settings

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class ComparedPipeline:
    """Parts of a pipeline folder that are needed to read its scores."""

    folder: Path
    settings: WorkerSettings
    policy: Policy

    @classmethod
    def load(cls, folder: Path) -> ComparedPipeline:
        """Read settings and policy. Raises ConfigurationError if they are invalid."""
        settings = load_settings(folder)
        return cls(folder, settings, load_policy(settings.policy))


def require_two(champion: ComparedPipeline, challenger: ComparedPipeline) -> None:
    """Raise ConfigurationError unless both pipelines read one topic and write to two."""
    own, other = champion.settings.kafka, challenger.settings.kafka
    if own.input_topic != other.input_topic:
        raise ConfigurationError(
            f"kafka.input_topic: {champion.folder} reads {own.input_topic}, {challenger.folder} "
            f"{other.input_topic}; events are joined by position, so give pipelines with one input topic"
        )
    if (own.bootstrap_servers, own.output_topic) == (other.bootstrap_servers, other.output_topic):
        raise ConfigurationError(
            f"kafka.output_topic: {champion.folder} and {challenger.folder} both write to "
            f"{own.output_topic}; give the challenger an output topic of its own (and see that "
            "FRAUD_WORKER_KAFKA__OUTPUT_TOPIC is not set, which overrides both)"
        )


class Reading:
    """Topics of both pipelines, opened at one moment; a context manager."""

    def __init__(
        self, champion: ComparedPipeline, challenger: ComparedPipeline, note: Note
    ) -> None:
        """Open the topics.

        Args:
            champion: The champion's pipeline.
            challenger: The challenger's pipeline.
            note: Function that takes a message about dead letters that cannot be read.

        Raises:
            ConfigurationError: An output topic does not exist.
            DependencyUnavailableError: The brokers do not answer.
        """
        self._pipelines = (champion, challenger)
        self._note = note
        self.categories = ScoreCategories()
        for pipeline in self._pipelines:
            for decision in pipeline.policy.decisions:
                self.categories.decisions.code(decision)
        with ExitStack() as stack:
            self._logs = [self._open(stack, pipeline) for pipeline in self._pipelines]
            self._letters = [self._open_letters(stack, pipeline) for pipeline in self._pipelines]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(
        self, period: Period, labels_of: LabelsOf | None, advance: Callable[[int, int], None]
    ) -> tuple[ScoreLog, ScoreLog]:
        """Read the scores of the champion and of the challenger.

        Args:
            period: Event times of the scores to keep.
            labels_of: Function that labels the champion's scores; None for no labels.
            advance: Function that takes the number of records read and the total.

        Raises:
            ConfigurationError: A topic has no scores, or a record that is not a score.
        """
        total = sum(log.count() for log in self._logs)
        done, logs = 0, []
        labelling = (labels_of, None)
        for index, pipeline in enumerate(self._pipelines):
            reader = ScoreLogReader(pipeline.settings, self.categories, period, labelling[index])
            for records in self._logs[index]:
                reader.add(records)
                done += len(records)
                advance(done, total)
            letters = self._read_letters(index)
            topic = pipeline.settings.kafka.output_topic
            logs.append(reader.finish(topic, pipeline.policy.default, letters))
        # Some offsets are transaction markers, so fewer records than the total were read.
        advance(total, total)
        return logs[0], logs[1]

    def _open(self, stack: ExitStack, pipeline: ComparedPipeline) -> TopicLog:
        kafka = pipeline.settings.kafka
        setting = f"{pipeline.folder}: kafka.output_topic"
        return self._enter(stack, pipeline, setting, kafka.output_topic)

    def _open_letters(self, stack: ExitStack, pipeline: ComparedPipeline) -> TopicLog | None:
        kafka = pipeline.settings.kafka
        setting = f"{pipeline.folder}: kafka.dead_letter_topic"
        try:
            return self._enter(stack, pipeline, setting, kafka.dead_letter_topic)
        except ConfigurationError as error:
            self._note(f"dead letters cannot be read: {error}")
            return None

    def _enter(
        self, stack: ExitStack, pipeline: ComparedPipeline, setting: str, topic: str
    ) -> TopicLog:
        kafka, timeout_s = pipeline.settings.kafka, pipeline.settings.delivery.broker_timeout_s
        return stack.enter_context(TopicLog(kafka, setting, topic, timeout_s))

    def _read_letters(self, index: int) -> dict[Place, Longs] | None:
        log = self._letters[index]
        return None if log is None else read_letters(log)
