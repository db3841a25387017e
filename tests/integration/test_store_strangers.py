"""What of the embedded store another user of the machine reaches, who has no key: nothing."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from ganservice.artifacts import ArtifactStore
from ganservice.embedded.home import Home
from ganservice.settings import Settings
from tests.integration.store import Store
from tests.lifetime import bound
from tests.listeners import HOST, answers_strangers, asks_for_certificate, ports_of

WEED = ("s3", "master", "volume", "filer")


def test_s3_asks_for_keys_and_all_else_for_the_certificate(store_server: Store) -> None:
    ports = ports_of([store_server.process])
    assert len(ports) > 5
    assert [port for port in ports if answers_strangers(port)] == []
    s3 = Home(store_server.settings.state_dir).identity().ports["s3"]
    assert [port for port in ports if port != s3 and not asks_for_certificate(port)] == []


def test_nobody_writes_behind_s3(store_settings: Settings) -> None:
    filer = Home(store_settings.state_dir).identity().ports["filer"]
    connection = HTTPConnection(HOST, filer, timeout=10)
    connection.request("PUT", "/buckets/gan/jobs/x/owned.txt", b"mine now")
    assert connection.getresponse().status >= 400
    assert ArtifactStore(store_settings).keys("x") == []


def test_a_certificate_is_made_once(store_settings: Settings) -> None:
    folder = store_settings.state_dir / "store"
    made = (folder / "certificate.pem").read_bytes()
    Store(store_settings.state_dir)
    assert (folder / "certificate.pem").read_bytes() == made
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0


def test_a_store_that_is_set_up_by_hand_has_no_open_port(tmp_path: Path, eventually: Callable[..., Any]) -> None:
    """S3's own gRPC port, which listens where S3 does, would have anybody add identities."""
    chapter = Path("docs/operating.md").read_text().partition("\n## By hand\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    made, started = (block for block in blocks if block.startswith("# on 10.0.0.2:"))
    parts = ("s3.port", "s3.port.grpc", *(f"{name}.port{kind}" for name in WEED[1:] for kind in ("", ".grpc")))
    ports = {part: free_port() for part in parts}

    def here(commands: str) -> str:
        flags = " ".join(f"-{part}={port}" for part, port in ports.items())
        found = commands.replace("/var/lib", str(tmp_path)).replace("s3.ip.bind=10.0.0.2", f"s3.ip.bind={HOST}")
        return found.replace("-s3.port=8333", flags).replace("\nweed", "\nexec weed")

    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", here(made)], env=environment, check=True, capture_output=True)
    with (tmp_path / "log").open("wb") as log:
        weed = subprocess.Popen(bound(["sh", "-ec", here(started)]), env=environment, stdout=log, stderr=log)
    try:
        s3, inner = ports["s3.port"], ports["s3.port.grpc"]
        eventually(lambda: {s3, inner} <= ports_of(family(weed)).keys())
        assert not answers_strangers(s3)
        assert asks_for_certificate(inner)
    finally:
        weed.terminate()
        weed.wait(timeout=60)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]
