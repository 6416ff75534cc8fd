"""Flip single bits of bundles, update their checksums, and verify them.

    .venv/bin/python tests/commands/flips.py --flips 500 --seed 7

The bundles hold several kinds of models. A bundle with updated checksums must be refused, or accepted
with golden margins that are unchanged, within the tolerance of its format. Progress
is printed to stderr, and the result to stdout as a line of JSON. Exit status 0 means that this is
true for all flips, and that every flip without updated checksums is refused.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base.errors import BundleRefusedError
from models.backend import open_backend
from models.bundle import (
    FeatureRef,
    Knots,
    Limits,
    TrainingRecord,
    load_bundle,
    verify,
    write_bundle,
)
from models.bundle.pack_onnx import SampleRows, pack_onnx
from models.bundle.packed import Names
from models.training import fit
from tests.support.model_kinds import KINDS, Kind, features_of, kind_bundle, rows_of, train_kind
from tests.support.onnx_models import network, saved
from tests.support.small_model import NAMES, labels_of, matrix_of, reference

FEATURES = [reference(name) for name in NAMES]
LIMITS = Limits(seconds=120.0)
ONNX = "onnx"
FLIPPED_KINDS = (None, "partition", "dart", "classes", "everything", ONNX)
"""Kinds of models whose bundles are flipped; None for one with all parts of a bundle."""


def bundle_of(folder: Path, name: str | None) -> tuple[Path, list[FeatureRef]]:
    """Write a bundle of a kind of model, and return it with its features."""
    if name is None:
        return small_bundle(folder), FEATURES
    if name == ONNX:
        return small_onnx_bundle(folder), FEATURES
    kind = KINDS[name]
    booster = train_kind(Kind({**kind.params, "max_depth": 3}, kind.categories), rounds=3)
    golden = rows_of(40)
    return kind_bundle(folder, kind, booster, golden=golden), features_of(kind)


def small_bundle(folder: Path) -> Path:
    """Write a bundle with all parts and less than 32 KiB."""
    matrix = matrix_of(2_000, len(NAMES))
    booster = fit(matrix, labels_of(matrix), rounds=6, threads=1, params={"max_depth": 3})
    day = datetime(2026, 11, 1, tzinfo=UTC)
    return write_bundle(
        folder,
        booster,
        name="demo",
        version="1",
        features=FEATURES,
        calibration=Knots(margins=(-3.0, 0.0, 3.0), scores=(0.001, 0.3, 0.99)),
        golden=matrix[:40],
        trained=TrainingRecord(
            rows=2_000,
            frauds=200,
            since=day,
            until=day.replace(day=8),
            data="0123456789abcdef",
            xgboost="3.2.0",
            params={"max_depth": 3},
            seed=0,
        ),
        report="<!doctype html><title>demo</title>",
    )


def small_onnx_bundle(folder: Path) -> Path:
    """Write a bundle with a model in ONNX and less than 16 KiB."""
    model = saved(network(len(NAMES)), folder.with_suffix(".onnx"))
    options: dict[str, Any] = {"name": "demo", "version": "1", "kind": "probability"}
    sample = SampleRows(matrix_of(500, len(NAMES)))
    names = Names(NAMES)
    pack_onnx(model, folder, names=names, definitions=FEATURES, sample=sample, golden=40, **options)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def sum_again(folder: Path) -> None:
    """Update the checksums to the content of the files, like an attacker or a helpful colleague."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


@dataclass(frozen=True)
class Flip:
    """Result of one flip.

    Attributes:
        file: Name of the file.
        bit: Index of the bit in the file.
        reason: Reason of the refusal; "" if the bundle was accepted.
        margins_same: False if the bundle was accepted and its golden margins have changed.
    """

    file: str
    bit: int
    reason: str
    margins_same: bool


class Flipper:
    """Verify copies of one bundle, each with a flipped bit."""

    def __init__(self, scratch: Path, kind: str | None = None) -> None:
        self._scratch = scratch
        name = "bundle" if kind is None else kind.replace(" ", "-")
        self.folder, self._features = bundle_of(scratch / name, kind)
        bundle = load_bundle(self.folder)
        self._golden, self._tolerance = bundle.golden, bundle.model.TOLERANCE

    def draw(self, count: int, seed: int) -> Iterator[tuple[str, int]]:
        """Draw bits uniformly from all files except the checksums."""
        sizes = {name: len(content) for name, content in contents_of(self.folder).items()}
        del sizes["SHA256SUMS"]
        chosen = random.Random(seed)
        for name in chosen.choices(list(sizes), weights=list(sizes.values()), k=count):
            yield name, chosen.randrange(8 * sizes[name])

    def flip(self, at: tuple[str, int]) -> Flip:
        file, bit = at
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            copy = Path(folder) / "bundle"
            shutil.copytree(self.folder, copy)
            path = copy / file
            path.write_bytes(flipped(path.read_bytes(), bit))
            sum_again(copy)
            try:
                verified = verify(copy, expected=self._features, limits=LIMITS)
            except BundleRefusedError as error:
                reason = str(error).replace(str(copy), "")
                return Flip(file, bit, reason, margins_same=True)
            # As in a worker, where a crash in the model ends the whole process.
            backend = open_backend(load_bundle(copy, proven=verified.sums), "cpu", threads=1)
            margins = backend.margins(np.tile(self._golden.vectors, (50, 1)))
            expected = np.tile(self._golden.margins, 50)
            allowed = self._tolerance * np.maximum(1.0, np.abs(expected))
            same = bool((np.abs(margins - expected) <= allowed).all())
            return Flip(file, bit, "", same)


def accepted_with_old_sums(folder: Path, contents: dict[str, bytes]) -> list[tuple[str, int]]:
    """Flip each bit of a bundle without updating its checksums; return the accepted flips."""
    accepted = []
    for name, content in contents.items():
        for bit in range(8 * len(content)):
            (folder / name).write_bytes(flipped(content, bit))
            try:
                load_bundle(folder)
            except BundleRefusedError:
                continue
            accepted.append((name, bit))
        (folder / name).write_bytes(content)
    return accepted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.randrange(2**32) if given.seed is None else given.seed
    print(f"{given.flips} flips, seed {seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        flippers = [Flipper(Path(scratch), kind) for kind in FLIPPED_KINDS]
        each = -(-given.flips // len(flippers))
        drawn = [(flipper, at) for flipper in flippers for at in flipper.draw(each, seed)]
        with ThreadPoolExecutor(2) as pool:
            flips = list(pool.map(lambda one: one[0].flip(one[1]), drawn[: given.flips]))
        contents = contents_of(flippers[0].folder)
        print("every bit, checksums not updated", file=sys.stderr)
        through = accepted_with_old_sums(flippers[0].folder, contents)
    refused = [flip for flip in flips if flip.reason]
    wrong = [flip for flip in flips if not flip.margins_same]
    for reason, count in collections.Counter(_kind(flip.reason) for flip in refused).most_common():
        print(f"{count:5} {reason}", file=sys.stderr)
    result = {
        "seed": seed,
        "flips": len(flips),
        "refused": len(refused),
        "child_ended": sum(" ended the process " in flip.reason for flip in refused),
        "accepted_with_golden_margins": len(flips) - len(refused) - len(wrong),
        "accepted_with_other_margins": len(wrong),
        "bits_with_old_sums": sum(8 * len(content) for content in contents.values()),
        "accepted_with_old_sums": len(through),
    }
    print(json.dumps(result))
    return 1 if wrong or through else 0


def _kind(reason: str) -> str:
    return re.sub(r"[0-9.e-]*[0-9]", "N", reason)[:110]


if __name__ == "__main__":
    sys.exit(main())
