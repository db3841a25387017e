"""The broker of the embedded stack, alone."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganservice.embedded.home import Home
from ganservice.embedded.parts import server_parts
from ganservice.settings import Settings
from tests.lifetime import bound


@contextmanager
def embedded_broker() -> Iterator[Settings]:
    """Settings of one that works until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        settings = home.prepare(Settings.from_environment())
        broker = server_parts(home, Settings(), settings)[0]
        with subprocess.Popen(bound(broker.command), stdout=subprocess.DEVNULL) as server:
            yield settings
            server.terminate()
