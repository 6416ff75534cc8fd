"""Logs and metrics of reloads; a repeated message is logged once."""

from __future__ import annotations

from typing import Literal

import structlog

from base.errors import ConfigurationError
from worker.process import metrics
from worker.stages.serving import Serving

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

    def serves(self, serving: Serving) -> None:
        """Put the names of what serves into the metric."""
        model = serving.score.model
        metrics.info.clear()
        metrics.info.labels(
            model=model.name,
            model_version=model.version,
            policy_version=serving.rules.policy.version,
            feature_set=self._feature_set,
            device=model.device,
        ).set(1)
        metrics.model_written.set(serving.model.bundle.created_at.timestamp())

    def took_over(self, serving: Serving, before: Serving) -> None:
        """Report the model and the policy that have taken over since ``before`` served."""
        if serving.model != before.model:
            model, old = serving.score.model, before.score.model
            self._taken(
                "model",
                "model_swapped",
                model=model.name,
                model_version=model.version,
                before=f"{old.name} {old.version}",
            )
        if serving.rules != before.rules:
            self._taken(
                "policy",
                "policy_reloaded",
                policy_version=serving.rules.policy.version,
                before=before.rules.policy.version,
            )

    def changed(self, what: What) -> None:
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
            remedy="correct it; until then, the previous one stays in use",
            exc_info=None if foreseen else error,
        )

    def state(self, what: What, *, refused: bool) -> None:
        """Record if the configured model or policy is refused now, in the metric and the log."""
        metrics.refused.labels(what).set(refused)
        if refused:
            self._refused.add(what)
            return
        self._reasons.pop(what, None)
        if what in self._refused:
            self._refused.discard(what)
            log.info("holds_again", what=what, meaning="the configured one is the one that serves")

    def _taken(self, what: What, event: str, **fields: str) -> None:
        metrics.swaps.labels(what, "taken").inc()
        self._refused.discard(what)
        log.info(event, **fields)
