"""What tests of every kind share."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import getproxies

import pytest
from hypothesis import settings

from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec

# Tests run side by side, one for each core: threads of torch that wait for each other would stand in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"

# Tests that run networks themselves tell its maker nothing either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Ray reads these when it is imported; by the second a head on loopback is not looked for at the machine's own address.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# The tests' own clients ask their servers straight, whatever proxy they run behind.
os.environ["no_proxy"] = ",".join(filter(None, (getproxies().get("no"), "127.0.0.1", "localhost")))

# How long an example takes says more about the machine's load than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


# Of draws that no test seeds itself; tests that do so take small numbers, and should not draw the same.
SEED = 15_485_863


def pytest_configure() -> None:
    """Have tests know nothing of who runs them but where the cache is: no settings, no stack, no keys of a cloud.

    What would write into the state folder of its owner fails.
    """
    for variable in set(os.environ) - {"GANSERVICE_CACHE_DIR"}:
        if variable.startswith(("AWS_", "GANSERVICE_")):
            del os.environ[variable]
    os.environ |= {"XDG_STATE_HOME": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage among what tests make alone: of what their modules are, 700,000 objects, nothing goes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run those first that wait most and whose files take longest, so that every process is busy to the end."""
    items.sort(key=lambda item: [kind in item.path.parts for kind in ("acceptance", "integration")], reverse=True)


def pytest_runtest_setup() -> None:
    """Begin each test's draws at the same place, whatever ran before it: what fails, fails again."""
    if "torch" in sys.modules:
        from workers.gan.randomness import seed_torch  # noqa: PLC0415 # it takes torch

        seed_torch(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)


@pytest.fixture(scope="session")
def spec() -> TrainSpec:
    """The smallest job worth asking for; `model_copy(update=...)` makes another of it."""
    return smallest_spec()


def smallest_spec() -> TrainSpec:
    """The spec of that job, for what is no test."""
    return parse_spec(
        {
            "name": "tiny",
            "images": 64,
            "recipe": {
                "data": {"dataset": "digits", "image_size": 8, "channels": 1},
                "generator": {"kind": "mlp", "widths": [16]},
                "discriminator": {"kind": "mlp", "widths": [16]},
                "batch_size": 8,
            },
        },
        source="tests/conftest.py",
    )


def wait_until(ask: Callable[[], Any], within_s: float = 300.0) -> Any:
    """The first true answer of `ask`; fails if none comes in time, which is meant for a machine that is busy."""
    deadline, pause_s = time.monotonic() + within_s, 0.01
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r} after {within_s:g} s"
        time.sleep(pause_s)
        # What is slow to come should not be slowed further by who asks for it.
        pause_s = min(0.1, 1.2 * pause_s)
    return answer


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """eventually(ask): the first true answer of `ask`; the test fails if none comes."""
    return wait_until


class Proxy(ThreadingHTTPServer):
    """A proxy that leads nowhere: it answers 502 to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked = asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                asked.append(f"{self.command} {self.path}")
                self.send_error(502)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = answer  # noqa: N815 # names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy that every variable of the environment names, and from which none exempts loopback."""
    with Proxy() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
            for spelling in (name, name.upper()):
                monkeypatch.setenv(spelling, f"http://user:secret@{server.address}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()
        thread.join()
