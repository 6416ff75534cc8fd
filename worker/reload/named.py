"""Fingerprints of the model and policy files that the settings name. No model is read here."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from base.errors import BundleRefusedError
from models.bundle import Location
from models.bundle.sums import MAX_FILES
from worker.settings import WorkerSettings


class ServedFiles(NamedTuple):
    """Fingerprints of a model and a policy, equal as long as nobody has touched the files."""

    model: Hashable
    policy: Hashable


def named_in(settings: WorkerSettings) -> ServedFiles:
    """The fingerprints as of now.

    Files that cannot be read have one too: loading them says why.
    """
    location = settings.model.location
    # A bundle that is named itself is not looked at again: bundles never change.
    model = None if location is None else _mark_of_champion(Location(location))
    return ServedFiles(model, _mark_of_file(settings.policy))


def _mark_of_champion(location: Location) -> Hashable:
    try:
        folder = location.champion()
        with os.scandir(folder) as entries:
            # The files too: a champion that is still being copied is looked at again when it is.
            # One more than a bundle may hold, so that no folder takes long to look at.
            looked_at = itertools.islice(entries, MAX_FILES + 1)
            files = sorted((entry.name, *_stamp(entry.stat())) for entry in looked_at)
    except BundleRefusedError as error:
        return str(error)
    except OSError as error:
        return error.errno
    return (folder.name, *files)


def _mark_of_file(path: Path) -> Hashable:
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
