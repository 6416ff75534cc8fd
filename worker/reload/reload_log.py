"""Logs and metrics of reloads; a repeated message is logged once."""

from __future__ import annotations

from typing import Literal

import structlog

from base.errors import ConfigurationError
from models.policy import Rules
from worker.process import metrics
from worker.reload.load_serving import LoadedModel

log = structlog.get_logger(__name__)

What = Literal["model", "policy"]


class ReloadLog:
    """Logs and metrics of the model and policy that serve, take over or are refused.

    Args:
        feature_set: Fingerprint of the feature set.
    """

    def __init__(self, feature_set: str) -> None:
        self._feature_set = feature_set
        self._reasons: dict[What, str] = {}
        self._refused: set[What] = set()

    def serves(self, model: LoadedModel, rules: Rules) -> None:
        metrics.info.clear()
        metrics.info.labels(
            model=model.bundle.name,
            model_version=model.bundle.version,
            policy_version=rules.policy.version,
            feature_set=self._feature_set,
            device=model.backend.device,
        ).set(1)

    def swapped(self, model: LoadedModel, before: LoadedModel) -> None:
        metrics.swaps.labels("model", "taken").inc()
        self._refused.discard("model")
        log.info(
            "model_swapped",
            model=model.bundle.name,
            model_version=model.bundle.version,
            before=f"{before.bundle.name} {before.bundle.version}",
        )

    def reloaded(self, rules: Rules, before: Rules) -> None:
        metrics.swaps.labels("policy", "taken").inc()
        self._refused.discard("policy")
        log.info(
            "policy_reloaded",
            policy_version=rules.policy.version,
            before=before.policy.version,
        )

    def named_anew(self, what: What) -> None:
        """Forget the last reason: a new model or policy with the same fault is logged as well."""
        self._reasons.pop(what, None)

    def refused(self, what: What, error: Exception) -> None:
        """Log a refusal once for its reason, with a traceback only if the error is unforeseen."""
        foreseen = isinstance(error, ConfigurationError)
        reason = str(error) if foreseen else repr(error)
        if self._reasons.get(what) == reason:
            return
        self._reasons[what] = reason
        metrics.swaps.labels(what, "refused").inc()
        log.error(
            "refused",
            what=what,
            reason=reason,
            remedy="until then, what served serves on",
            exc_info=None if foreseen else error,
        )

    def state(self, what: What, *, refused: bool) -> None:
        """Record if the named model or policy is refused now, in the metric and the log."""
        metrics.refused.labels(what).set(refused)
        if refused:
            self._refused.add(what)
            return
        self._reasons.pop(what, None)
        if what in self._refused:
            self._refused.discard(what)
            log.info("holds_again", what=what, meaning="what is named again is what serves")
