"""Real brokers on loopback: Valkey, which the wheel brings, and Redis as Debian has it."""

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import redis
from pydantic import SecretStr

from ganservice.embedded.parts import broker_binary
from ganservice.roles import NAMES, acl_line
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.lifetime import bound

SERVERS = ("valkey", "redis")


@dataclass(frozen=True)
class Broker:
    """Where a broker listens, and by which passwords."""

    port: int
    password: str
    admin_password: str

    @property
    def url(self) -> str:
        """The address of the operator, whom the tests are unless they say otherwise."""
        return self.url_of("gan")

    def url_of(self, user: str) -> str:
        """The address of one of the users that a deployment has."""
        return f"redis://{user}:{self.password}@127.0.0.1:{self.port}/0"

    def as_user(self, user: str, settings: Settings) -> Settings:
        """The settings of a process that is such a user."""
        return settings.model_copy(update={"broker_url": SecretStr(self.url_of(user))})

    @property
    def admin_url(self) -> str:
        """The same broker, where everything is allowed."""
        return f"redis://:{self.admin_password}@127.0.0.1:{self.port}/0"

    def at(self, port: int) -> "Broker":
        """The same broker, reached through another port of this machine."""
        return replace(self, port=port)


def server_binary(server: str) -> str:
    """The path of a server; fails where it is missing."""
    if server == "valkey":
        return broker_binary()
    path = shutil.which("redis-server")
    assert path, "no redis-server on PATH, with which the tests run too: on Debian, `apt-get install redis-server`"
    return path


@contextmanager
def running(server: str, folder: Path, *settings: str, like: Broker | None = None) -> Iterator[Broker]:
    """A broker that answers, inside the block; `settings` are lines of its own in its configuration.

    One that is `like` another has the same passwords.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    broker = like.at(port) if like else Broker(port, secrets.token_hex(16), secrets.token_hex(16))
    lines = [
        "bind 127.0.0.1", f"port {broker.port}", f"dir {folder}", "appendonly yes", 'save ""',
        f"requirepass {broker.admin_password}",
        *(acl_line(name, role, broker.password) for name, role in NAMES.items()),
        "enable-debug-command local",  # for DEBUG LOADAOF, a restart without the wait
        *settings,
    ]  # fmt: skip
    (folder / "broker.conf").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        command = [server_binary(server), str(folder / "broker.conf")]
        process = subprocess.Popen(bound(command), stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        with closing(redis.Redis.from_url(broker.admin_url)) as client:
            wait_until(answers)
            # Some systems call a Valkey redis-server.
            assert client.info("server").get("server_name", "redis") == server
        yield broker
    finally:
        process.terminate()
        process.wait(timeout=60)
