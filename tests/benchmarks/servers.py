"""Servers of the benchmark's own: broker and store of the embedded stack on loopback, or a whole stack."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ganservice.embedded.home import Home
from ganservice.embedded.parts import Part, server_parts
from ganservice.errors import GanServiceError
from ganservice.settings import Settings
from ganservice.stack_file import PREFIX
from tests.conftest import wait_until
from tests.lifetime import bound, last_will

GANCTL = (sys.executable, "-m", "ganservice.cli")
END = (*GANCTL, "down", "--purge", "--yes")
KEPT = PREFIX + "CACHE_DIR"


@contextmanager
def own_environment() -> Iterator[Path]:
    """Have this process, and all that it starts, know no server that a user has configured, but an empty state folder.

    Whatever was configured is so again after the block.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="gan-") as folder:
        for name in [name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() != KEPT]:
            del os.environ[name]
        os.environ[PREFIX + "STATE_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def own_servers(*names: str) -> Iterator[Settings]:
    """Have the servers of these names, `broker` and `store`, work inside the block; all they hold goes with them."""
    with own_environment() as folder, ExitStack() as ends:
        home, nothing = Home(folder), Settings()
        settings = home.prepare(nothing)
        for part in server_parts(home, nothing, settings):
            if part.name in names:
                ends.enter_context(_started(part, home.log(part.name)))
        yield settings


@contextmanager
def own_stack(**changes: str) -> Iterator[Settings]:
    """Have a whole stack inside the block, as a user starts it who has set these of its settings, by their names."""
    with own_environment() as folder, ExitStack() as ends:
        os.environ |= {PREFIX + name.upper(): value for name, value in changes.items()}
        ends.enter_context(last_will(END, dict(os.environ)))
        try:
            _run((*GANCTL, "up", "-d"))
            yield Settings(state_dir=folder)
        finally:
            _run(END)


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(bound(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


@contextmanager
def _started(part: Part, log: Path) -> Iterator[None]:
    environment = os.environ | part.environment
    with log.open("wb") as output:
        process = subprocess.Popen(bound(part.command), env=environment, stdout=output, stderr=output)

    def works() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            part.check()
        except (GanServiceError, OSError):
            return False
        return True

    try:
        wait_until(works)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
