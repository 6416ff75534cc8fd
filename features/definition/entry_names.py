"""Names of the entries of ``features:``, and of the columns of those that are vectors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from base.yaml_document import Location, YamlDocument
from features.definition.feature import element_name
from features.definition.spec import FeatureSpec
from features.lookups.lookup import Vector


class EntryNames:
    """The names that entries have taken so far.

    Args:
        document: The features.yaml.
        fields: Paths of the fields of the schema.
        vectors: The looked-up vectors, by "lookup.value".
    """

    def __init__(
        self, document: YamlDocument, fields: Collection[str], vectors: Mapping[str, Vector]
    ) -> None:
        self._document = document
        self._fields = fields
        self._vectors = vectors
        self._widths: dict[str, int] = {}
        self._entries: dict[str, str] = {}

    def vector(self, spec: FeatureSpec) -> Vector | None:
        """The vector that an entry looks up; None for any other entry."""
        return None if spec.lookup is None else self._vectors.get(spec.lookup)

    def of(self, spec: FeatureSpec) -> list[str]:
        """The name of an entry and, if it is a vector, those of its columns."""
        vector = self.vector(spec)
        width = 0 if vector is None else vector.width
        return [spec.name, *(element_name(spec.name, element) for element in range(width))]

    def add(self, spec: FeatureSpec, location: Location) -> None:
        """Take the names of an entry. Raises ConfigurationError if there is one of them already."""
        where, vector = (*location, "name"), self.vector(spec)
        for name in self.of(spec):
            if name in self._entries:
                vectors = {entry for entry in (spec.name, self._entries[name]) if entry != name}
                of = f" ({' and '.join(sorted(vectors))} is a vector)" if vectors else ""
                raise self._document.refuse(where, f"feature {name} appears twice{of}: rename one")
            if name in self._fields and spec.field != name:
                raise self._document.refuse(
                    where, f"{name} is a field of the schema: give the feature another name"
                )
        self._entries |= dict.fromkeys(self.of(spec), spec.name)
        if vector is not None:
            self._widths[spec.name] = vector.width

    def hint(self, source: str) -> str:
        """Remedy for an expression that names a vector in place of an element; "" if none does."""
        for name, width in self._widths.items():
            if re.search(rf"\b{name}\b", source):
                first, last = element_name(name, 0), element_name(name, width - 1)
                return f"; {name} is a vector: name an element, {first} to {last}"
        return ""
