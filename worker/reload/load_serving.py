"""The configured model and policy: file fingerprints, and loading after verification."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from base.errors import BundleRefusedError
from features.definition import FeatureSet
from models.backend import open_backend
from models.bundle import Bundle, Limits, load_bundle, verify
from models.bundle.manifest import NamedFeature
from models.policy import Rules, load_policy
from worker.reload.model_source import ModelSource
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
    def of(cls, settings: WorkerSettings, source: ModelSource, last: Self | None = None) -> Self:
        """Take the fingerprints as of now.

        Args:
            settings: Settings of the worker.
            source: Source of the model.
            last: Earlier fingerprints. The model's stays while its location cannot be read.
        """
        # A bundle that is configured itself is not checked again: bundles never change.
        model = source.stamp(None if last is None else last.model)
        return cls(model, _policy_fingerprint(settings.policy))


def load_model(
    settings: WorkerSettings, source: ModelSource, feature_set: FeatureSet, device: Device
) -> LoadedModel:
    """Load the configured bundle, proven in a child process, then warmed up on ``device``.

    Raises:
        BundleRefusedError: The bundle is refused, or the feature set lacks what it needs.
        CudaUnusableError: There is no such device.
        StoreRefusedError: As `ModelSource.fetch` raises it.
        DependencyUnavailableError: As `ModelSource.fetch` raises it.
    """
    bundle = proven_bundle(settings, source, expected=feature_set.features, device=device)
    return LoadedModel(bundle, open_backend(bundle, device, settings.model.threads))


def proven_bundle(
    settings: WorkerSettings,
    source: ModelSource,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: Device = "cpu",
) -> Bundle:
    """Load the configured bundle, proven in a child process within the limits of the settings.

    Args:
        settings: Settings of the worker.
        source: Source of the bundle.
        expected: Features that the bundle has to fit, as `verify` takes them.
        device: Device to prove it on, as `verify` takes it.

    Raises:
        BundleRefusedError: The bundle is refused; the message has the reason.
        StoreRefusedError: As `ModelSource.fetch` raises it.
        DependencyUnavailableError: As `ModelSource.fetch` raises it.
    """
    model = settings.model
    fetched = source.fetch()
    limits = Limits(model.verify_timeout_s, model.verify_max_bytes)
    try:
        verified = verify(fetched.path, expected=expected, device=device, limits=limits)
        bundle = load_bundle(fetched.path, proven=verified.sums)
    except BundleRefusedError as error:
        # The user knows the bundle by its URL, not by its copy.
        raise BundleRefusedError(str(error).replace(str(fetched.path), fetched.where)) from error
    source.verified(fetched)
    return bundle


def load_rules(settings: WorkerSettings, feature_set: FeatureSet) -> Rules:
    """Load and compile the configured policy.

    Raises:
        ConfigurationError: The policy is invalid; the message has the place in the file.
    """
    return Rules(load_policy(settings.policy), feature_set)


def _policy_fingerprint(path: Path) -> Hashable:
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno
