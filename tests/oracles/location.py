"""Makes a location of bundles, good and broken ones, and changes its champion as it is told.

``python -m tests.oracles.location TRAINED LOCATION``: a process of its own, as the system tests
import nothing of the worker. TRAINED is what `tests.oracles.train` has filled. The folder of a
good bundle is called as its version. A first line of JSON on stdout, ``good`` and ``broken`` with
the names of bundles, says that all is made and the first of the good ones is the champion. From
then on each line on stdin, ``promote NAME`` or ``rollback``, is answered by one with the champion.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle, Location, load_bundle, write_bundle
from models.bundle.draw import draw_vectors
from models.bundle.manifest import Knots
from models.bundle.model_file import ModelDocument
from models.training.fit import fit
from tests.support.bundles import edit_manifest

_GOOD = ("m1", "m2", "m3", "m4", "m5", "m6")
_BROKEN = ("flipped", "half_copied", "other_features", "same_name", "hangs")

_ROWS = 800
_ROUNDS = 30
_FRAUD = 0.9
_NARROW = 7


class _Wanted(NamedTuple):
    """columns: of the trained model, in another order or fewer of them."""

    seed: int
    columns: Sequence[int]
    knots: Knots | None


def main() -> None:
    """Make all, say so, and do as told until stdin ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trained", type=Path, metavar="TRAINED")
    parser.add_argument("location", type=Path, metavar="LOCATION")
    arguments = parser.parse_args()
    location = Location(arguments.location)
    _make(load_bundle(arguments.trained / "model"), location.folder)
    location.promote(_GOOD[0])
    _say(json.dumps({"good": _GOOD, "broken": _BROKEN}))
    for line in sys.stdin:
        match line.split():
            case ["promote", name]:
                location.promote(name)
                _say(name)
            case ["rollback"]:
                _say(location.rollback()[0])


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its answer


def _make(trained: Bundle, folder: Path) -> None:
    every = range(len(trained.features))
    turned = every[::-1]
    low, high = (
        Knots(margins=(-3.0, 0.0, 3.0), scores=scores)
        for scores in ((0.01, 0.3, 0.97), (0.05, 0.6, 0.99))
    )
    wanted = (
        _Wanted(1, every, None),
        _Wanted(2, every, low),
        # The trees of the one before: only the calibration tells them apart.
        _Wanted(2, every, high),
        _Wanted(3, turned, None),
        _Wanted(4, every[:_NARROW], high),
        _Wanted(5, turned[:_NARROW], low),
    )
    vectors = _vectors(trained)
    for version, of in zip(_GOOD, wanted, strict=True):
        _write(trained, vectors, folder / version, version, of)
    for seed, name in enumerate(_BROKEN, start=10):
        version = _GOOD[0] if name == "same_name" else name
        _write(trained, vectors, folder / name, version, _Wanted(seed, every, None))
    _flip(folder / "flipped" / "model.ubj")
    _halve(folder / "half_copied" / "model.ubj")
    edit_manifest(
        folder / "other_features", lambda m: m["features"][0].update(fingerprint="0" * 64)
    )


def _vectors(trained: Bundle) -> npt.NDArray[np.float32]:
    """float32[_ROWS, F] along the thresholds of the trained model."""
    document = ModelDocument((trained.path / "model.ubj").read_bytes(), str(trained.path))
    return draw_vectors(
        trained.booster, document.trees(), len(trained.features), count=_ROWS, seed=1
    )


def _write(
    trained: Bundle, vectors: npt.NDArray[np.float32], folder: Path, version: str, of: _Wanted
) -> None:
    """A model of the columns that are wanted; what it takes for fraud follows its seed."""
    matrix = np.ascontiguousarray(vectors[:, list(of.columns)])
    known = np.nan_to_num(matrix).astype(np.float64)
    taste = np.random.default_rng(of.seed).normal(1.0, 1.0, matrix.shape[1])
    risk = (known - known.mean(axis=0)) / (known.std(axis=0) + 1e-9) @ taste
    labels = (risk > np.quantile(risk, _FRAUD)).astype(np.int64)
    booster = fit(matrix, labels, threads=1, rounds=_ROUNDS, seed=of.seed)
    features = [trained.features[i] for i in of.columns]
    write_bundle(
        folder, booster, name="system", version=version, features=features, calibration=of.knots
    )


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def _halve(file: Path) -> None:
    """As a copy that is under way, or has been broken off."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


if __name__ == "__main__":
    main()
