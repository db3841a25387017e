"""The broker of the embedded stack, alone."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ganservice.embedded.home import Home
from ganservice.embedded.parts import Part, server_parts
from ganservice.errors import BrokerOutage
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.lifetime import bound


@contextmanager
def embedded_broker() -> Iterator[Settings]:
    """Settings of one that works until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        settings = home.prepare(Settings.from_environment())
        broker = server_parts(home, Settings(), settings)[0]
        with subprocess.Popen(bound(broker.command), stdout=subprocess.DEVNULL) as server:
            try:
                wait_until(partial(_works, broker))
                yield settings
            finally:  # or an error of the block would wait for it for ever
                server.terminate()


def _works(broker: Part) -> bool:
    try:
        broker.check()
    except BrokerOutage:
        return False
    return True
