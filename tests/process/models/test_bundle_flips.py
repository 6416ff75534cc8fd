"""No bit of a bundle can be changed unnoticed; `make bundles` tries more of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from base.errors import BundleRefusedError
from models.bundle import load_bundle, sums
from tests.commands.flips import ONNX, Flipper, contents_of, flipped, small_bundle

SEED, FLIPS, ON_DISK = 20261124, 10, 300


def test_every_flip_of_one_bit_is_refused(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "bundle")
    contents = contents_of(folder)
    assert sum(map(len, contents.values())) <= 32 * 1024
    sums.checked(contents, folder)
    accepted = []
    for name, content in contents.items():
        for bit in range(8 * len(content)):
            try:
                sums.checked({**contents, name: flipped(content, bit)}, folder)
            except BundleRefusedError:
                continue
            accepted.append((name, bit))
    assert accepted == []


def test_a_flip_on_disk_is_refused(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "bundle")
    contents = contents_of(folder)
    chosen = random.Random(SEED)
    for name in chosen.choices(sorted(contents), k=ON_DISK):
        content = contents[name]
        (folder / name).write_bytes(flipped(content, chosen.randrange(8 * len(content))))
        with pytest.raises(BundleRefusedError, match=r"copy|SHA256SUMS"):
            load_bundle(folder)
        (folder / name).write_bytes(content)
    load_bundle(folder)


@pytest.mark.parametrize(
    ("kind", "count"), [(None, FLIPS), ("partition", 4), ("everything", 4), (ONNX, 6)]
)
def test_a_flip_with_sums_made_to_agree_is_refused_or_changes_no_golden_margin(
    tmp_path: Path, kind: str | None, count: int
) -> None:
    flipper = Flipper(tmp_path, kind)
    flips = [flipper.flip(at) for at in flipper.draw(count, SEED)]
    assert len(flips) == count
    assert [flip for flip in flips if not flip.margins_same] == []
    assert any(flip.reason for flip in flips)
