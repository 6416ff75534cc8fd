"""What ends a command ends the process with words and a status, not with a trace."""

from __future__ import annotations

import pytest

from base.errors import (
    ConfigurationError,
    DeliveryFatalError,
    DependencyUnavailableError,
    DeviceLostError,
)
from tools.cli import commands


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("kafka.group is missing"), 2),
        (DeliveryFatalError("fenced"), 3),
        (DependencyUnavailableError("no broker answers"), 1),
        (DeviceLostError("the GPU failed while it scored"), 1),
    ],
)
def test_an_error_ends_the_process_with_its_message_and_status(
    error: Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == status
    assert capsys.readouterr().err == f"error: {error}\n"
