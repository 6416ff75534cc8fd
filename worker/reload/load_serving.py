"""A model and a policy as the settings name them, each proven before it may serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from features.definition import FeatureSet
from models.backend import open_backend
from models.backend.protocol import Backend
from models.bundle import Bundle, Limits, load_bundle, resolve, verify
from models.bundle.manifest import NamedFeature
from models.policy import Rules, load_policy
from worker.settings import WorkerSettings

Device = Literal["cpu", "cuda", "auto"]


class LoadedModel(NamedTuple):
    """A bundle, and the backend that scores with its model."""

    bundle: Bundle
    backend: Backend


def load_model(settings: WorkerSettings, feature_set: FeatureSet, device: Device) -> LoadedModel:
    """The bundle that the settings name, proven in a child process, then warmed up on `device`.

    Raises BundleRefusedError with the reason, also where the feature set lacks what it needs, and
    CudaUnusableError where there is no such device.
    """
    bundle = proven_bundle(settings, expected=feature_set.features, device=device)
    return LoadedModel(bundle, open_backend(bundle, device, settings.model.threads))


def proven_bundle(
    settings: WorkerSettings,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: Device = "cpu",
) -> Bundle:
    """The bundle that the settings name, proven in a child process within their limits.

    Args:
        settings: Settings of the worker.
        expected: Features that the bundle is to fit, as `verify` takes them.
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
    """The policy that the settings name, compiled. Raises ConfigurationError with the place."""
    return Rules(load_policy(settings.policy), feature_set)
