"""Serving stages by the model and policy that a score names, from the location and the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from base.errors import ConfigurationError
from models.backend import open_backend
from models.bundle import load_bundle
from models.policy import Rules, load_policy
from schemas.avro.decoder import Decoder
from schemas.batch import Position, Records
from tests.support.changes import MODELS
from worker.pipeline import Pipeline
from worker.stages.serving import LoadedModel, Serving

ARCHIVE = "policies"
"""Folder beside worker.yaml with each valid policy as VERSION.yaml."""


class Pair(NamedTuple):
    """Versions of the model and the policy that a score names."""

    model: str
    policy: str

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> Pair:
        return cls(score["model"]["version"], score["policy_version"])


class Servings:
    """Serving stages of each pair; without location and archive, those of the pipeline."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self._pipeline = pipeline
        self._folder = folder
        self._archive = folder / ARCHIVE
        own = pipeline.serving
        self._models: dict[str, LoadedModel] = {pipeline.bundle.version: own.model}
        self._made: dict[Pair, Serving] = {}

    def __call__(self, pair: Pair | None) -> Serving:
        """Return the stages of a pair, or the pipeline's own for an unknown pair.

        A score that names an unknown pair then differs from the serial run.
        """
        if pair is None:
            return self._pipeline.serving
        if pair not in self._made:
            try:
                self._made[pair] = self._make(pair)
            except ConfigurationError:
                self._made[pair] = self._pipeline.serving
        return self._made[pair]

    def widened(self, decoder: Decoder) -> Decoder:
        """Return a decoder that also reads the fields in the conditions of any policy."""
        read = [rules.paths for rules in self._rules.values()]
        return decoder.for_paths(decoder.kinds.keys() | frozenset().union(*read))

    def _make(self, pair: Pair) -> Serving:
        rules = self._rules.get(pair.policy, self._pipeline.rules)
        return Serving(self._pipeline.feature_set, self._model(pair.model), rules)

    def _model(self, version: str) -> LoadedModel:
        location = self._pipeline.settings.model.location
        if location is not None and version not in self._models:
            # What a remote location has, was added from this folder.
            folder = location if isinstance(location, Path) else self._folder / MODELS
            bundle = load_bundle(folder / version)
            self._models[version] = LoadedModel(bundle, open_backend(bundle, "cpu", threads=1))
        return self._models.get(version) or self._models[self._pipeline.bundle.version]

    @cached_property
    def _rules(self) -> dict[str, Rules]:
        feature_set = self._pipeline.feature_set
        return {
            path.stem: Rules(load_policy(path), feature_set)
            for path in self._archive.glob("*.yaml")
        }


def stretches(
    records: Records, named: Mapping[Position, Pair]
) -> Iterator[tuple[Records, Pair | None]]:
    """Split the records where the pair changes; records without a score join the previous ones."""
    start, now = 0, None
    for row in range(len(records)):
        pair = named.get(records.position(row))
        if pair is not None and now not in (None, pair):
            yield records.take(np.arange(start, row)), now
            start = row
        now = pair or now
    yield records.take(np.arange(start, len(records))), now
