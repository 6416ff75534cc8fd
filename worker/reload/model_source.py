"""The configured bundle: a folder, or the champion of a location that may be away."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import NamedTuple

import structlog

from base.errors import (
    BundleRefusedError,
    DependencyUnavailableError,
    StoreRefusedError,
)
from models.location import BundleCache, Location, champion, open_location
from models.location.cache import LastChampion
from worker.process import metrics
from worker.settings.sections import ModelSettings

log = structlog.get_logger(__name__)

AWAY = (DependencyUnavailableError, StoreRefusedError)
"""Errors of a location that cannot be read: it does not answer, or refuses access."""


class FetchedBundle(NamedTuple):
    """A bundle in a local folder.

    Attributes:
        path: The folder.
        where: Its path or URL as the user knows it, for messages.
        name: Its name in the location; "" for a configured bundle.
    """

    path: Path
    where: str
    name: str = ""


class ModelSource:
    """Source of the bundle that the settings name.

    A location that cannot be read changes nothing: the model that serves goes on. At the start, the
    champion that was verified last serves, from its copy on this disk; the log and a metric say so.

    Args:
        settings: Section ``model`` of the settings.
        clock: Returns monotonic seconds.

    Attributes:
        location: The location; None for a configured bundle.
        where: Path or URL of the bundle that was fetched last; "" before.
        fallback: The copy that is served for a location that could not be read; None otherwise.
        reason: Reason why the location cannot be read now; "" if it can.

    Raises:
        ConfigurationError: The location's URL is invalid, or there is no place for copies.
    """

    def __init__(
        self, settings: ModelSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bundle = settings.bundle
        self._clock = clock
        self._cache: BundleCache | None = None
        self.location: Location | None = None
        self.fallback: LastChampion | None = None
        self._has_served = False
        self._state = self.reason = self.where = ""
        self._answered_at = clock()
        if settings.location is None:
            return
        if not isinstance(settings.location, Path):
            self._cache = BundleCache.open(settings.cache)
            metrics.location_age_seconds.set_function(lambda: self._clock() - self._answered_at)
        self.location = open_location(
            settings.location, cache=settings.cache, timeout_s=settings.location_timeout_s
        )

    def stamp(self, last: Hashable = None) -> Hashable:
        """Take a value that changes with the bundle; ``last`` while the location cannot be read.

        A location that is invalid has a value, too: `fetch` says what is wrong.
        """
        if self.location is None:
            return None
        try:
            stamp = self.location.stamp()
        except BundleRefusedError as error:
            stamp = str(error)
        except OSError as error:  # of a folder
            stamp = error.errno
        except AWAY as error:
            self._away(error)
            return last
        if stamp == last:
            self._back()
        # Else `fetch` says if the new champion can be had, too.
        return stamp

    def fetch(self) -> FetchedBundle:
        """Get the bundle into a local folder.

        Raises:
            BundleRefusedError: No champion is named, or the bundle is invalid.
            StoreRefusedError: Access is refused, and there is no copy to start with.
            DependencyUnavailableError: No answer, and there is no copy to start with.
        """
        fetched = self._fetched()
        self.where = fetched.where
        return fetched

    def _fetched(self) -> FetchedBundle:
        if self.location is None:
            if self._bundle is None:
                raise BundleRefusedError("no model is named; give model.bundle or model.location")
            return FetchedBundle(self._bundle, str(self._bundle))
        try:
            name = champion(self.location)
            fetched = FetchedBundle(self.location.bundle(name), self.location.where(name), name)
        except AWAY as error:
            self._away(error)
            last = self._last()
            if last is None:
                raise
            self._fall_back(last, str(error))
            return FetchedBundle(last.path, str(last.path), last.name)
        except BundleRefusedError:
            self._back()
            raise
        self._back()
        self.fallback = None
        return fetched

    def verified(self, fetched: FetchedBundle) -> None:
        """Note that a bundle was verified, and is about to serve."""
        self._has_served = True
        metrics.model_from_cache.set(self.fallback is not None)
        if self._cache is not None and self.fallback is None:
            self._cache.remember(str(self.location), fetched.name, fetched.path)

    def _away(self, error: Exception) -> None:
        """Count that the location cannot be read, and log it once for each state."""
        kind = "refused" if isinstance(error, StoreRefusedError) else "away"
        metrics.location_failures.labels(kind).inc()
        self.reason = str(error)
        if kind == self._state:
            return
        self._state = kind
        log.error(
            "location_away",
            location=str(self.location),
            state=kind,
            reason=str(error),
            meaning="the model that serves goes on; promotions are not seen",
        )

    def _back(self) -> None:
        self._answered_at = self._clock()
        if self._state:
            self._state = self.reason = ""
            log.info("location_back", location=str(self.location))

    def _last(self) -> LastChampion | None:
        if self._cache is None or self._has_served:
            return None
        return self._cache.last(str(self.location))

    def _fall_back(self, last: LastChampion, reason: str) -> None:
        self.fallback = last
        log.error(
            "model_from_cache",
            location=str(self.location),
            bundle=last.name,
            verified_at=last.verified_at,
            reason=reason,
            meaning="the champion that was verified last serves until the location answers",
        )
