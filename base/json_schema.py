"""JSON Schemas of YAML documents, for editors that complete and check them."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue


def json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of the documents that ``model`` reads.

    Optional keys do not allow null in the schema, although ``model`` does, so editors flag a key
    without a value.
    """
    schema = model.model_json_schema(schema_generator=_Generator)
    for definition in schema.get("$defs", {}).values():
        del definition["title"]
    return {"$schema": _Generator.schema_dialect, **schema, "title": title}


class _Generator(GenerateJsonSchema):
    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value  # editors show the keys in their order

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        default, inner = schema.get("default"), schema["schema"]
        if default is None and inner["type"] == "nullable":
            return self.generate_inner(inner["schema"])
        # The keys of a section have defaults of their own.
        return (
            self.generate_inner(inner)
            if isinstance(default, BaseModel)
            else super().default_schema(schema)
        )

    def encode_default(self, dft: Any) -> Any:
        return "nan" if isinstance(dft, float) and math.isnan(dft) else super().encode_default(dft)

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        written = super().dict_schema(schema)
        if "patternProperties" in written:
            written["additionalProperties"] = False
        return written
