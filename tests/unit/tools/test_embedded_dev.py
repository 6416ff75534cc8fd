from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import ConfigurationError
from tools.cli import dev
from tools.embedded import detached


@pytest.mark.parametrize(
    "text", ["events", "events:", ":3", "events:none", "events:0", "events:-1"]
)
def test_a_malformed_topic_is_refused_before_anything_starts(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "up", lambda *_: pytest.fail("started"))
    with pytest.raises(ConfigurationError, match="is not NAME:PARTITIONS") as caught:
        dev.up(topic=["fine:3", text])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"kafka": {}}', '{"kafka": 3}'])
def test_a_state_file_of_another_form_is_named(text: str, tmp_path: Path) -> None:
    state = tmp_path / "running.json"
    state.write_text(text)
    with pytest.raises(ConfigurationError, match="delete the file") as caught:
        detached.down(tmp_path)
    assert str(state) in str(caught.value)
