"""What the system tests share: a trained model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rig import train


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "system: processes on real servers; takes many seconds")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and the lookups' files."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder
