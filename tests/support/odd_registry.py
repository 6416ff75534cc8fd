"""Schema registry of the chaos run, and the odd responses that may replace it."""

from __future__ import annotations

from tests.support.fake_registry import FakeRegistry, answer, hang_up, silence
from tests.support.rig import ROOT, Rig

SCHEMA_IDS, _SCORE_SCHEMA_ID = range(1, 500), 500
ODD = {
    "404 of a proxy": answer(404, "<html>"),
    "500": answer(500, {"error_code": 50001, "message": "Error in the backend datastore"}),
    "200 with a page": answer(200, "<html>"),
    "no answer": silence,
    "closed connections": hang_up,
}


def register(registry: FakeRegistry, rig: Rig) -> None:
    """Register the schema of the load under each of SCHEMA_IDS, and score.avsc."""
    schema = {"schema": (ROOT / "schemas" / "transaction.avsc").read_text()}
    registry.answers |= {f"schemas/ids/{schema_id}": schema for schema_id in SCHEMA_IDS}
    registry.answers[f"subjects/{rig.topics['output']}-value"] = {"id": _SCORE_SCHEMA_ID}
