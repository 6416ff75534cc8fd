"""Writing a bundle: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import xgboost as xgb
from pydantic import ValidationError

from models.bundle.load import check_accepted, check_agree, model_facts
from models.bundle.manifest import MANIFEST_FILE, FeatureRef, Manifest, NamedFeature, told
from models.bundle.refusal import BundleRefusedError
from models.bundle.sums import SUMS_FILE, format_sums


def write_bundle(
    folder: Path,
    booster: xgb.Booster,
    *,
    name: str,
    version: str,
    features: Sequence[NamedFeature],
    created_at: datetime | None = None,
) -> Path:
    """Write `booster` as the bundle `folder`, which must not exist yet; returns `folder`.

    `features` are in the order of the training matrix's columns; `created_at` is now by default.
    The folder appears complete or not at all: it is filled beside its place, synced, and renamed.
    Raises BundleRefusedError when it exists, or when model and features do not belong together.
    """
    if folder.exists() or folder.is_symlink():
        raise BundleRefusedError(
            f"{folder}: exists already; bundles never change: write to another folder"
        )
    facts = model_facts(booster)
    check_accepted(facts, str(folder))
    try:
        manifest = Manifest(
            name=name,
            version=version,
            features=tuple(FeatureRef(name=f.name, fingerprint=f.fingerprint) for f in features),
            objective=facts.objective,
            trees=facts.trees,
            created_at=created_at or datetime.now(UTC),
        )
    except ValidationError as error:
        raise BundleRefusedError(f"{folder}: {told(error)}") from error
    check_agree(booster, manifest, str(folder))
    files = {
        "model.ubj": bytes(booster.save_raw("ubj")),
        MANIFEST_FILE: (manifest.model_dump_json(indent=2) + "\n").encode(),
    }
    files[SUMS_FILE] = format_sums(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _write_folder(folder, files)
    return folder


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        beside.chmod(0o755)  # mkdtemp's 0700 would lock out a worker that runs as another user
        _sync(beside)
        beside.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
