"""Names and definitions of a packed model's columns, and the result of packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import BundleRefusedError
from base.suggest import unknown
from models.bundle.manifest import MAX_GOLDEN, FeatureRef, Manifest, NamedFeature
from models.bundle.verify import Verified


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the model's columns.

    Attributes:
        given: Names in the order of the columns; None for those in the model file.
        generate: True to use f0, f1, … if the model file has no names.
    """

    given: Sequence[str] | None = None
    generate: bool = False

    def of(self, columns: int, own: Sequence[str] | None, model: Path) -> list[str]:
        """Choose the names.

        Args:
            columns: Number of columns of the model.
            own: Names in the model file; None if it has none.
            model: The model file, for messages.

        Raises:
            BundleRefusedError: if they do not fit the model, or there are none.
        """
        if self.given is not None:
            return self._given(self.given, columns, own, model)
        if own is not None:
            if self.generate:
                raise BundleRefusedError(
                    f"{model}: has feature names ({', '.join(own[:5])}, …); omit --generate-names"
                )
            return list(own)
        if self.generate:
            return [f"f{column}" for column in range(columns)]
        raise BundleRefusedError(
            f"{model}: has {columns} columns and names none of them; give --feature-names in the "
            "order of the training columns, or --generate-names for f0, f1, …"
        )

    @staticmethod
    def _given(
        given: Sequence[str], columns: int, own: Sequence[str] | None, model: Path
    ) -> list[str]:
        names = list(given)
        if len(names) != columns:
            raise BundleRefusedError(
                f"{model}: has {columns} columns, and {len(names)} feature names were given; give "
                "one for each, in the order of the training columns"
            )
        if own is not None and list(own) != names and sorted(own) == sorted(names):
            raise BundleRefusedError(
                f"{model}: names the same features in another order ({', '.join(own[:5])}, …); "
                "omit --feature-names, or give them in the model's order"
            )
        return names


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle that was written and verified.

    Attributes:
        verified: Result of the verification.
        manifest: Manifest of the bundle.
        notes: Sentences for the model's owner.
    """

    verified: Verified
    manifest: Manifest
    notes: tuple[str, ...]


def check_golden_count(count: int, least: int = 1) -> None:
    """Refuse a number of golden vectors that no bundle holds."""
    if not least <= count <= MAX_GOLDEN:
        raise BundleRefusedError(f"{count} golden vectors; give {least} to {MAX_GOLDEN}")


def defined(
    names: Sequence[str], definitions: Sequence[NamedFeature] | None
) -> Sequence[NamedFeature]:
    """Look up the definitions of a model's columns; without any, fingerprints are empty.

    Raises:
        BundleRefusedError: naming a column that has no definition.
    """
    if definitions is None:
        return [FeatureRef(name=name, fingerprint="") for name in names]
    known = {feature.name: feature for feature in definitions}
    for name in names:
        if name not in known:
            raise BundleRefusedError(
                f"{unknown('feature', name, known)}; the model needs it: define it in the feature "
                "set, or give its name in the set with --feature-names"
            )
    return [known[name] for name in names]
