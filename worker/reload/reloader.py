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
from worker.reload.load_serving import LoadedModel, load_model, load_rules
from worker.reload.named import ServedFiles, named_in
from worker.reload.reload_log import ReloadLog, What
from worker.schema_sources import fields_read
from worker.settings import WorkerSettings
from worker.stages.serving import Serving
from worker.stages.stages import Processed, Stages

log = structlog.get_logger(__name__)

T = TypeVar("T")

_JOIN_S = 2.0
_AGAIN_S = 60.0
# Those of XGBoost, CuPy and the memory cannot be listed. Whatever is wrong with a newcomer, what
# serves goes on.
_ANY_FAULT = Exception


class Reloader:
    """The stages of a worker, with the newest valid model and policy.

    Micro-batches and calls of `look` may come from two threads: a micro-batch keeps the stages that
    it began with. An invalid model or policy is refused, in the log and a metric, and the one
    before goes on serving.

    Args:
        settings: Settings that name the model and the policy.
        feature_set: Feature set that both must fit.
        stages: Stages to start with.
        seen: Fingerprints just before the model and the policy of ``stages`` were loaded.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        feature_set: FeatureSet,
        stages: Stages,
        seen: ServedFiles,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._feature_set = feature_set
        self._seen = seen
        self._clock = clock
        self._try_again_at = 0.0
        self._told = ReloadLog(feature_set.fingerprint)
        # What is named and holds by itself; it serves where both fit each other.
        self._model: LoadedModel | None
        self._rules: Rules | None
        self._model, self._rules = _parts(stages.serving)
        # Scores name both: what has served under a name may not come to be something else.
        self._served: dict[tuple[str, ...], Hashable] = {}
        self._install(stages)
        self._tell(_parts(stages.serving))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="succession", daemon=True)

    def __call__(self, records: Records, log: LogState) -> Processed:
        """Run the stages on ``records``; arguments and errors are those of `Stages`."""
        return self._stages(records, log)

    def start(self) -> None:
        """Call `look` every `reload_s` seconds, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End that thread. A child process that still verifies a bundle ends with this process."""
        self._stop.set()
        self._thread.join(_JOIN_S)

    def look(self) -> None:
        """Serve with the model and policy that are named now, if they have changed and are valid.

        A refused one is tried again from time to time: the fault may have been the node's.
        """
        before = _parts(self._stages.serving)
        named, seen = named_in(self._settings), self._seen
        again = (self._model, self._rules) != before and self._clock() >= self._try_again_at
        if named == seen and not again:
            return
        self._seen = named
        if named.model != seen.model:
            self._told.named_anew("model")
        if named.policy != seen.policy:
            self._told.named_anew("policy")
        if named.model != seen.model or (again and self._model is None):
            self._model = self._attempt("model", self._load_model)
        if named.policy != seen.policy or (again and self._rules is None):
            self._rules = self._attempt("policy", self._load_rules)
        self._take_over()
        self._tell(before)
        self._try_again_at = self._clock() + _AGAIN_S

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.reload_s):
            try:
                self.look()
            except _ANY_FAULT:
                log.exception("look_failed")

    def _load_model(self) -> LoadedModel:
        serving, _ = _parts(self._stages.serving)
        # One kind of device per process, as it was at the start.
        found = load_model(
            self._settings, self._feature_set, "cuda" if serving.backend.device == "cuda" else "cpu"
        )
        if found.bundle.sums == serving.bundle.sums:
            return serving
        self._require_own_name(found.bundle.path, *_of_model(found))
        return found

    def _load_rules(self) -> Rules:
        _, serving = _parts(self._stages.serving)
        found = load_rules(self._settings, self._feature_set)
        if _of_rules(found) == _of_rules(serving):
            return serving
        self._require_own_name(self._settings.policy, *_of_rules(found))
        return found

    def _require_own_name(self, where: object, name: tuple[str, ...], content: Hashable) -> None:
        if self._served.get(name, content) != content:
            what, *words = name
            raise ConfigurationError(
                f"{where}: the {what} {' '.join(words)} has served before with another content, "
                "and scores name it; give each change a version of its own"
            )

    def _attempt(self, what: What, load: Callable[[], T]) -> T | None:
        """Return what ``load`` returns; None where the model or policy is refused."""
        try:
            return load()
        except _ANY_FAULT as error:
            self._told.refused(what, error)
        return None

    def _take_over(self) -> None:
        """Serve with as much of the valid new model and policy as fits together.

        A new model comes before a new policy.
        """
        now = _parts(self._stages.serving)
        models = [model for model in (self._model, now[0]) if model is not None]
        policies = [rules for rules in (self._rules, now[1]) if rules is not None]
        misfit: Exception | None = None
        for pair in product(models, policies):
            if pair == now:
                break
            try:
                self._install(self._stages_with(*pair))
                break
            except _ANY_FAULT as error:
                misfit = misfit or error
        model, rules = _parts(self._stages.serving)
        if misfit and self._model not in (None, model):
            self._told.refused("model", misfit)
        if misfit and self._rules not in (None, rules):
            self._told.refused("policy", misfit)

    def _stages_with(self, model: LoadedModel, rules: Rules) -> Stages:
        serving = Serving.of(self._feature_set, model.bundle, model.backend, rules)
        decode = self._stages.decode
        # What a fresh start would read: which records are dead letters may not depend on policies
        # that came before.
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
        model, rules = _parts(stages.serving)
        self._served.update((_of_model(model), _of_rules(rules)))
        self._told.serves(model, rules)

    def _tell(self, before: tuple[LoadedModel, Rules]) -> None:
        """Report the changes since ``before``, the model and the policy that served then."""
        model, rules = _parts(self._stages.serving)
        if model != before[0]:
            self._told.swapped(model, before[0])
        if rules != before[1]:
            self._told.reloaded(rules, before[1])
        self._told.state("model", refused=self._model != model)
        self._told.state("policy", refused=self._rules != rules)


def _parts(serving: Serving) -> tuple[LoadedModel, Rules]:
    return LoadedModel(serving.score.bundle, serving.score.backend), serving.decide.rules


def _of_model(model: LoadedModel) -> tuple[tuple[str, ...], Hashable]:
    """Name of a model on scores, and checksums of its content."""
    return ("model", model.bundle.name, model.bundle.version), model.bundle.sums


def _of_rules(rules: Rules) -> tuple[tuple[str, ...], Hashable]:
    """Name of a policy on scores, and its content.

    Comments are not part of the content; the order of keys may be.
    """
    return ("policy", rules.policy.version), repr(rules.policy.document.values)
