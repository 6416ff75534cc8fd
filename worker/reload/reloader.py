"""Reload of the model or policy between micro-batches when the configured one changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import product
from typing import TypeVar

import structlog

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.watermarks import LogState
from models.policy import Rules
from schemas.batch import Records
from worker.reload.load_serving import Device, FileFingerprints, load_model, load_rules
from worker.reload.model_source import AWAY, ModelSource
from worker.reload.reload_log import ReloadLog, What
from worker.schema_sources import fields_read
from worker.settings import WorkerSettings
from worker.stages.serving import LoadedModel, Serving
from worker.stages.stages import Processed, Stages

log = structlog.get_logger(__name__)

T = TypeVar("T")

_JOIN_S = 2.0
_AGAIN_S = 60.0
# The errors of XGBoost, CUDA and the memory cannot be listed. Whatever is wrong with a new model or
# policy, the previous one stays in use.
_ANY_FAULT = Exception


class Reloader:
    """The stages of a worker, with the newest valid model and policy.

    Micro-batches and calls of `reload_if_changed` may come from two threads: a micro-batch keeps
    the stages that it began with. An invalid model or policy is refused, in the log and a metric,
    and the previous one stays in use.

    Args:
        settings: Settings that name the model and the policy.
        source: Source of the model.
        feature_set: Feature set that both must fit.
        stages: Stages to start with.
        fingerprints: Fingerprints taken just before the model and policy of ``stages`` were loaded.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        source: ModelSource,
        feature_set: FeatureSet,
        stages: Stages,
        fingerprints: FileFingerprints,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._source = source
        self._feature_set = feature_set
        self._fingerprints = fingerprints
        self._clock = clock
        self._try_again_at = 0.0
        self._reports = ReloadLog(feature_set.fingerprint)
        # The configured model and policy where each is valid by itself; they serve where they fit
        # each other.
        self._model: LoadedModel | None = stages.serving.model
        self._rules: Rules | None = stages.serving.rules
        # Scores name both: a name and version must not be reused for other content.
        self._served: dict[tuple[str, ...], Hashable] = {}
        self._install(stages)
        self._report(stages.serving)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reloader", daemon=True)

    def __call__(self, records: Records, log: LogState) -> Processed:
        """Run the stages on ``records``; arguments and errors are those of `Stages`."""
        return self._stages(records, log)

    def start(self) -> None:
        """Call `reload_if_changed` every `reload_s` seconds, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End that thread. A child process that still verifies a bundle ends with this process."""
        self._stop.set()
        self._thread.join(_JOIN_S)

    def reload_if_changed(self) -> None:
        """Serve with the configured model and policy, if they have changed and are valid.

        A refused one is tried again from time to time: the cause may have been a temporary
        problem of this machine.
        """
        before = self._stages.serving
        last = self._fingerprints
        now = FileFingerprints.of(self._settings, self._source, last)
        is_valid = (self._model, self._rules) == (before.model, before.rules)
        again = not is_valid and self._clock() >= self._try_again_at
        if now == last and not again:
            return
        self._fingerprints = now
        if now.model != last.model:
            self._reports.changed("model")
        if now.policy != last.policy:
            self._reports.changed("policy")
        if now.model != last.model or (again and self._model is None):
            try:
                self._model = self._attempt("model", self._load_model)
            except AWAY:  # the source has reported it
                # The location has gone since its champion was read: the next look tries again.
                self._fingerprints = now._replace(model=last.model)
        if now.policy != last.policy or (again and self._rules is None):
            self._rules = self._attempt("policy", self._load_rules)
        self._take_over()
        self._report(before)
        self._try_again_at = self._clock() + _AGAIN_S

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.reload_s):
            try:
                self.reload_if_changed()
            except _ANY_FAULT:
                log.exception("look_failed")

    def _load_model(self) -> LoadedModel:
        serving = self._stages.serving.model
        # One kind of device per process, as it was at the start.
        device: Device = "cuda" if serving.backend.device == "cuda" else "cpu"
        model = load_model(self._settings, self._source, self._feature_set, device)
        if model.bundle.sums == serving.bundle.sums:
            return serving
        self._require_own_name(self._source.where, *_identity_of_model(model))
        return model

    def _load_rules(self) -> Rules:
        serving = self._stages.serving.rules
        rules = load_rules(self._settings, self._feature_set)
        if _identity_of_rules(rules) == _identity_of_rules(serving):
            return serving
        self._require_own_name(self._settings.policy, *_identity_of_rules(rules))
        return rules

    def _require_own_name(self, where: object, name: tuple[str, ...], content: Hashable) -> None:
        if self._served.get(name, content) != content:
            what, *words = name
            raise ConfigurationError(
                f"{where}: the {what} {' '.join(words)} has served before with other content, "
                "and scores name it; give each change a version of its own"
            )

    def _attempt(self, what: What, load: Callable[[], T]) -> T | None:
        """Return what ``load`` returns; None if the model or policy is refused.

        Raises the errors of a location that cannot be read.
        """
        try:
            return load()
        except AWAY:
            raise
        except _ANY_FAULT as error:
            self._reports.refused(what, error)
        return None

    def _take_over(self) -> None:
        """Serve with as much of the valid new model and policy as fits together.

        A new model comes before a new policy.
        """
        now = self._stages.serving
        models = [model for model in (self._model, now.model) if model is not None]
        policies = [rules for rules in (self._rules, now.rules) if rules is not None]
        misfit: Exception | None = None
        for pair in product(models, policies):
            if pair == (now.model, now.rules):
                break
            try:
                self._install(self._stages_with(*pair))
                break
            except _ANY_FAULT as error:
                misfit = misfit or error
        serving = self._stages.serving
        if misfit and self._model not in (None, serving.model):
            self._reports.refused("model", misfit)
        if misfit and self._rules not in (None, serving.rules):
            self._reports.refused("policy", misfit)

    def _stages_with(self, model: LoadedModel, rules: Rules) -> Stages:
        serving = Serving(self._feature_set, model, rules)
        decode = self._stages.decode
        # The fields that a fresh start would read: earlier policies must not decide which records
        # become dead letters.
        read = fields_read(self._settings, self._feature_set, rules)
        if read != decode.decoder.kinds.keys():
            try:
                decode = replace(decode, decoder=decode.decoder.for_paths(read))
            except ConfigurationError as error:
                raise ConfigurationError(f"{rules.policy.document.path}: {error}") from error
        return replace(self._stages, serving=serving, decode=decode)

    def _install(self, stages: Stages) -> None:
        """Use these stages from the next micro-batch on."""
        self._stages = stages
        serving = stages.serving
        self._served.update((_identity_of_model(serving.model), _identity_of_rules(serving.rules)))
        self._reports.serves(serving)

    def _report(self, before: Serving) -> None:
        """Report the changes since ``before`` served, and if the configured ones are refused."""
        serving = self._stages.serving
        self._reports.took_over(serving, before)
        self._reports.state("model", refused=self._model != serving.model)
        self._reports.state("policy", refused=self._rules != serving.rules)


def _identity_of_model(model: LoadedModel) -> tuple[tuple[str, ...], Hashable]:
    """Name of a model on scores, and checksums of its content."""
    return ("model", model.bundle.name, model.bundle.version), model.bundle.sums


def _identity_of_rules(rules: Rules) -> tuple[tuple[str, ...], Hashable]:
    """Name of a policy on scores, and its content.

    Comments are not part of the content; the order of keys may be.
    """
    return ("policy", rules.policy.version), repr(rules.policy.document.values)
