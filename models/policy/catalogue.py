"""Reason catalogue, which assigns each feature to a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from base.yaml_document import YamlDocument
from models.policy.policy_file import ReasonsSpec

_AT = ("reasons", "catalogue")
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Code:
    """A reason code.

    Attributes:
        name: Name of the code.
        features: Globs that match names of features.
        text: Explanation for the audience.
        audience: Readers of the text, such as `analyst` or `customer`.
    """

    name: str
    features: tuple[str, ...]
    text: str
    audience: str

    def matches(self, feature: str) -> bool:
        return any(fnmatchcase(feature, glob) for glob in self.features)


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """Codes of the features of one model.

    Attributes:
        codes: Names of the codes.
        features: Names of the features, in the model's order.
        code_of: intp[F], code of each feature, as a place in `codes`.
        max_reasons: Largest number of reasons of an event.
    """

    codes: tuple[str, ...]
    features: tuple[str, ...]
    code_of: npt.NDArray[np.intp]
    max_reasons: int


class Catalogue:
    """Codes in the order of the file; a feature belongs to the first code with a matching glob."""

    def __init__(self, spec: ReasonsSpec, document: YamlDocument) -> None:
        self.max_reasons = spec.max
        self.codes = tuple(
            Code(name, tuple(code.features), code.text, code.audience)
            for name, code in spec.catalogue.items()
        )
        self._document = document

    def check(self, names: Sequence[str]) -> None:
        """Check the codes against the names of a feature set's features.

        Raises:
            ConfigurationError: for a glob that matches no name, and for a code whose features all
                belong to earlier codes.
        """
        taken: set[str] = set()
        for code in self.codes:
            for i, glob in enumerate(code.features):
                if not any(fnmatchcase(name, glob) for name in names):
                    raise self._document.refuse(
                        (*_AT, code.name, "features", i),
                        f"{glob} matches no feature of features.yaml; correct or remove it",
                    )
            own = {name for name in names if code.matches(name)}
            if own <= taken:
                raise self._document.refuse_key(
                    (*_AT, code.name),
                    f"all features of {code.name} belong to earlier codes; move it up, or remove "
                    "it",
                )
            taken |= own

    def coding(self, names: Sequence[str], model: str) -> Coding:
        """Find the code of each feature of a model.

        Args:
            names: Names of the model's features, in its order.
            model: Name and version of the model in messages.

        Raises:
            ConfigurationError: for features without a code.
        """
        places = [self._code_of(name) for name in names]
        without = [name for name, place in zip(names, places, strict=True) if place is None]
        if without:
            more = len(without) - _NAMED
            listed = ", ".join(without[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            raise self._document.refuse_key(
                _AT,
                f"no code has {listed}, which the model {model} uses; add them to a code, or add "
                'a last code with features: ["*"] for the rest',
            )
        codes = tuple(code.name for code in self.codes)
        return Coding(codes, tuple(names), np.array(places, dtype=np.intp), self.max_reasons)

    def _code_of(self, feature: str) -> int | None:
        matching = (i for i, code in enumerate(self.codes) if code.matches(feature))
        return next(matching, None)
