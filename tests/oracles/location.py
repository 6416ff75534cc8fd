"""Create a location of valid and broken bundles, and change its champion on request.

``python -m tests.oracles.location TRAINED FOLDER [--at URL]`` is a separate process, because the
system tests import nothing of the worker. TRAINED is a folder that ``tests.oracles.train`` has
filled. The folder of a valid bundle has the name of its version. With ``--at`` all bundles are added
to that remote location. When all bundles are written and the first valid one is the champion, the
program prints a line of JSON with their names in ``good`` and ``broken``. Then it answers each line
on stdin, ``promote NAME`` or ``rollback``, with the champion.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle, load_bundle, write_bundle
from models.bundle.draw_golden import draw_vectors
from models.bundle.manifest import Knots
from models.bundle.model_file import ModelDocument
from models.bundle.pack_onnx import SampleRows, pack_onnx
from models.bundle.packed import Names
from models.location import FolderLocation, Location, open_location
from models.training.fit import fit
from tests.oracles.train import types_of
from tests.support.bundles import booster_in, edit_manifest
from tests.support.onnx_models import network, saved

_GOOD = ("m1", "m2", "m3", "m4", "m5", "m6")
_NETWORKS = ("n1", "n2")
_BROKEN = ("flipped", "half_copied", "other_features", "same_name", "hangs")

_ROWS = 800
_ROUNDS = 30
_FRAUD = 0.9
_NARROW = 7


class _BundleSpec(NamedTuple):
    """A bundle to create.

    Attributes:
        seed: Seed of the model.
        columns: Columns of the trained model, in any order; some may be left out.
        knots: Calibration curve; None for none.
        params: Parameters of XGBoost.
        fraud_class: Class that is fraud; None for one output.
    """

    seed: int
    columns: Sequence[int]
    knots: Knots | None
    params: Mapping[str, Any] = MappingProxyType({})
    fraud_class: int | None = None


_DART = {"booster": "dart", "rate_drop": 0.3}
_FOREST = {"num_parallel_tree": 5, "subsample": 0.6, "colsample_bynode": 0.6}
_CLASSES = {"objective": "multi:softprob", "num_class": 3}


def main() -> None:
    """Create the location, print its bundles, and answer requests until stdin ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trained", type=Path, metavar="TRAINED")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--at", metavar="URL", help="remote location to add all bundles to")
    arguments = parser.parse_args()
    _make(load_bundle(arguments.trained / "model"), arguments.folder)
    location, names = _location(arguments.folder, arguments.at)
    own_names = {there: here for here, there in names.items()}
    location.promote(names[_GOOD[0]])
    _say(json.dumps({"good": [*_GOOD, *_NETWORKS], "broken": _BROKEN}))
    for line in sys.stdin:
        match line.split():
            case ["promote", name]:
                location.promote(names[name])
                _say(name)
            case ["rollback"]:
                _say(own_names[location.rollback()[0]])


def _location(folder: Path, url: str | None) -> tuple[Location, dict[str, str]]:
    """Open the location; return it with the names of the bundles in it, by their folders."""
    names = (*_GOOD, *_NETWORKS, *_BROKEN)
    if url is None:
        return FolderLocation(folder), {name: name for name in names}
    with tempfile.TemporaryDirectory() as cache:
        location = open_location(url, cache=Path(cache))
    return location, {name: location.add(folder / name, name) for name in names}


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
        _BundleSpec(1, every, None),
        _BundleSpec(2, every, low),
        # The same trees as the previous one: only the calibration differs.
        _BundleSpec(2, every, high),
        _BundleSpec(3, turned, None, _DART),
        _BundleSpec(4, every[:_NARROW], high, _FOREST),
        _BundleSpec(5, turned[:_NARROW], low, _CLASSES, fraud_class=1),
    )
    vectors = _vectors(trained)
    for version, of in zip(_GOOD, wanted, strict=True):
        _write(trained, vectors, folder / version, version, of)
    for seed, version in enumerate(_NETWORKS):
        _pack_network(trained, vectors, folder / version, seed)
    for seed, name in enumerate(_BROKEN, start=10):
        version = _GOOD[0] if name == "same_name" else name
        _write(trained, vectors, folder / name, version, _BundleSpec(seed, every, None))
    _flip(folder / "flipped" / "model.ubj")
    _halve(folder / "half_copied" / "model.ubj")
    edit_manifest(
        folder / "other_features", lambda m: m["features"][0].update(fingerprint="0" * 64)
    )


def _vectors(trained: Bundle) -> npt.NDArray[np.float32]:
    """Vectors near the thresholds of the trained model, float32[_ROWS, F]."""
    document = ModelDocument((trained.path / "model.ubj").read_bytes(), str(trained.path))
    vectors = draw_vectors(
        booster_in(trained), document.trees(), len(trained.features), count=_ROWS, seed=1
    )
    for column, feature in zip(vectors.T, trained.features, strict=True):
        if feature.categories is not None:
            # They also have a category that no split names, of which a feature set knows nothing.
            column[column >= len(feature.categories.values) + feature.categories.other] = np.nan
    return vectors


def _write(
    trained: Bundle, vectors: npt.NDArray[np.float32], folder: Path, version: str, of: _BundleSpec
) -> None:
    """Write a bundle with a model of the given columns; its labels depend on the seed."""
    matrix = np.ascontiguousarray(vectors[:, list(of.columns)])
    known = np.nan_to_num(matrix).astype(np.float64)
    taste = np.random.default_rng(of.seed).normal(1.0, 1.0, matrix.shape[1])
    risk = (known - known.mean(axis=0)) / (known.std(axis=0) + 1e-9) @ taste
    labels = (risk > np.quantile(risk, _FRAUD)).astype(np.int64)
    features = [trained.features[i] for i in of.columns]
    booster = fit(
        matrix,
        labels,
        threads=1,
        rounds=_ROUNDS,
        seed=of.seed,
        params=of.params,
        types=types_of(features),
    )
    write_bundle(
        folder,
        booster,
        name="system",
        version=version,
        features=features,
        calibration=of.knots,
        fraud_class=of.fraud_class,
    )


def _pack_network(
    trained: Bundle, vectors: npt.NDArray[np.float32], folder: Path, seed: int
) -> None:
    """Write a bundle with a neural network in ONNX."""
    names = [feature.name for feature in trained.features]
    pack_onnx(
        saved(network(len(names), seed=seed), folder.parent.with_name(f"{folder.name}.onnx")),
        folder,
        name="system",
        version=folder.name,
        names=Names(names),
        definitions=trained.features,
        kind="probability",
        sample=SampleRows(vectors),
    )


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def _halve(file: Path) -> None:
    """Truncate a file, like a copy in progress or an interrupted one."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


if __name__ == "__main__":
    main()
