"""Parts of the embedded stack, alone, in folders with odd names."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganservice.embedded.home import Home
from ganservice.embedded.parts import embedded_parts
from ganservice.errors import BrokerOutage
from ganservice.settings import Settings
from tests.integration.broker import SERVERS, server_binary
from tests.lifetime import bound


@pytest.mark.parametrize("name", SERVERS)
def test_the_broker_works_in_a_folder_of_any_name(
    name: str, tmp_path: Path, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'a "quoted" #folder, mit Blank und Ö'
    monkeypatch.setattr("ganservice.embedded.parts.broker_binary", lambda: server_binary(name))
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(folder))
    monkeypatch.setenv("GANSERVICE_RAY_ADDRESS", "127.0.0.1:1")  # no Ray is wanted, nor a folder for it
    home, external = Home(folder), Settings.from_environment()
    [broker, *_] = embedded_parts(home, external, home.prepare(external), monitored=False)

    def works() -> bool:
        assert server.poll() is None
        try:
            broker.check()
        except BrokerOutage:
            return False
        return True

    with subprocess.Popen(bound(broker.command), stdout=subprocess.DEVNULL) as server:
        eventually(works)
        server.terminate()
    assert list((folder / "broker").glob("appendonlydir/*"))
