"""Model bundles: folders with a model, its manifest, golden vectors with margins, and checksums."""

from __future__ import annotations

from base.errors import BundleRefusedError
from models.bundle.golden import Golden
from models.bundle.load import Bundle, load_bundle, read_manifest
from models.bundle.manifest import Categories, FeatureRef, Knots, Manifest, TrainingRecord
from models.bundle.verify import Verified, verify
from models.bundle.write import write_bundle
from models.sandbox.process import Limits

__all__ = [
    "Bundle",
    "BundleRefusedError",
    "Categories",
    "FeatureRef",
    "Golden",
    "Knots",
    "Limits",
    "Manifest",
    "TrainingRecord",
    "Verified",
    "load_bundle",
    "read_manifest",
    "verify",
    "write_bundle",
]
