"""The configured model and policy: file fingerprints, and loading after verification."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from base.errors import BundleRefusedError
from features.definition import FeatureSet
from models.backend import open_backend
from models.bundle import Bundle, Limits, Location, load_bundle, resolve, verify
from models.bundle.manifest import NamedFeature
from models.bundle.sums import MAX_FILES
from models.policy import Rules, load_policy
from worker.settings import WorkerSettings
from worker.stages.serving import LoadedModel

Device = Literal["cpu", "cuda", "auto"]


class FileFingerprints(NamedTuple):
    """Fingerprints of the configured model and policy, unchanged while the files are unchanged.

    No model is read for them. Files that cannot be read have a fingerprint, too: loading them says
    why.
    """

    model: Hashable
    policy: Hashable

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Take the fingerprints as of now."""
        location = settings.model.location
        # A bundle that is configured itself is not checked again: bundles never change.
        model = None if location is None else _champion_fingerprint(Location(location))
        return cls(model, _policy_fingerprint(settings.policy))


def load_model(settings: WorkerSettings, feature_set: FeatureSet, device: Device) -> LoadedModel:
    """Load the configured bundle, proven in a child process, then warmed up on ``device``.

    Raises:
        BundleRefusedError: The bundle is refused, or the feature set lacks what it needs.
        CudaUnusableError: There is no such device.
    """
    bundle = proven_bundle(settings, expected=feature_set.features, device=device)
    return LoadedModel(bundle, open_backend(bundle, device, settings.model.threads))


def proven_bundle(
    settings: WorkerSettings,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: Device = "cpu",
) -> Bundle:
    """Load the configured bundle, proven in a child process within the limits of the settings.

    Args:
        settings: Settings of the worker.
        expected: Features that the bundle has to fit, as `verify` takes them.
        device: Device to prove it on, as `verify` takes it.

    Raises:
        BundleRefusedError: The bundle is refused; the message has the reason.
    """
    model = settings.model
    path = resolve(model.bundle, model.location)
    limits = Limits(model.verify_timeout_s, model.verify_max_bytes)
    verified = verify(path, expected=expected, device=device, limits=limits)
    return load_bundle(path, proven=verified.sums)


def load_rules(settings: WorkerSettings, feature_set: FeatureSet) -> Rules:
    """Load and compile the configured policy.

    Raises:
        ConfigurationError: The policy is invalid; the message has the place in the file.
    """
    return Rules(load_policy(settings.policy), feature_set)


def _champion_fingerprint(location: Location) -> Hashable:
    try:
        folder = location.champion()
        with os.scandir(folder) as entries:
            # The files are part of it: a champion that is still being copied is checked again
            # when it is complete. One file more than a bundle may hold, so that no folder takes
            # long to check.
            looked_at = itertools.islice(entries, MAX_FILES + 1)
            files = sorted((entry.name, *_stamp(entry.stat())) for entry in looked_at)
    except BundleRefusedError as error:
        return str(error)
    except OSError as error:
        return error.errno
    return (folder.name, *files)


def _policy_fingerprint(path: Path) -> Hashable:
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno


def _stamp(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
