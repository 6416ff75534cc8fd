"""The one error of this package."""

from __future__ import annotations

from schemas.errors import ConfigurationError


class BundleRefusedError(ConfigurationError):
    """A model bundle does not hold, or does not fit the feature set it is to serve."""
