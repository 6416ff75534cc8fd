"""Model bundles: a folder with a model, its manifest and the sums of both."""

from __future__ import annotations

from models.bundle.load import Bundle, load_bundle
from models.bundle.manifest import FeatureRef, Manifest
from models.bundle.refusal import BundleRefusedError
from models.bundle.write import write_bundle

__all__ = [
    "Bundle",
    "BundleRefusedError",
    "FeatureRef",
    "Manifest",
    "load_bundle",
    "write_bundle",
]
