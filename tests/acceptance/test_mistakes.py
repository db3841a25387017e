"""What users and machines do wrong: one clear line each, the right exit code, nothing half-written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.conftest import Stack

SpecFile = Callable[..., str]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("imges=1", "unknown key imges; did you mean images?"),
        ("images=lots", "expected a valid integer"),
        ("recipe.data.image_size=30", "the data set fashion-mnist has 28"),
        ("recipe.batch_size=60001", "the data set fashion-mnist has 60000 images"),
        ("recipe.data.dataset=nowhere", "the store holds no data set nowhere"),
        ("recipe.generator.widths=[1,-1]", "expected greater than or equal to 1"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_refused(stack: Stack, spec_file: SpecFile, change: str, says: str) -> None:
    before = stack.queue().totals().get("submitted")
    stack.refused(2, says, "submit", spec_file(), "--set", change)
    assert stack.queue().totals().get("submitted") == before


def test_no_such_job(stack: Stack) -> None:
    for command in ("show", "watch", "wait", "cancel", "retry", "events", "logs", "fetch"):
        stack.refused(102, "nobody", command, "nobody")


def test_nothing_to_continue(stack: Stack, spec_file: SpecFile) -> None:
    stack.refused(102, "neither the queue nor the store knows a job nobody", "submit", spec_file(), "--from", "nobody")
    stack.refused(2, "expected @final, @best or @IMAGES", "submit", spec_file(), "--from", "nobody@")


def test_a_broker_that_is_down(stack: Stack) -> None:
    stack.refused(3, "127.0.0.1:9 does not answer", "list", GANSERVICE_BROKER_URL="redis://127.0.0.1:9/0")


def test_settings_that_make_no_sense(stack: Stack) -> None:
    for command in ("list", "doctor", "up"):
        stack.refused(2, "GANSERVICE_BROKER_URL: expected redis://", command, GANSERVICE_BROKER_URL="nonsense")
    stack.refused(2, "GANSERVICE_STORE_URL: expected http", "data", "list", GANSERVICE_STORE_URL="nonsense")


def test_an_idempotency_key_of_another_spec(stack: Stack, spec_file: SpecFile) -> None:
    job_id = stack.ok("submit", spec_file("once", images=640), "--idempotency-key", "k")
    assert stack.ok("submit", spec_file("once", images=640), "--idempotency-key", "k") == job_id
    stack.refused(2, job_id, "submit", spec_file("once", images=1280), "--idempotency-key", "k")


def test_a_store_that_is_down(stack: Stack, spec_file: SpecFile) -> None:
    stack.refused(
        3, "127.0.0.1:9 does not answer", "submit", spec_file(), GANSERVICE_STORE_URL="http://127.0.0.1:9/gan"
    )


def test_a_client_examines_what_it_uses_and_no_more(stack: Stack, tmp_path: Path) -> None:
    settings = stack.settings
    assert settings.store_url
    assert settings.store_access_key
    assert settings.store_secret_key
    elsewhere = {
        "BROKER_URL": settings.require_broker(),
        "STORE_URL": settings.store_url,
        "STORE_ACCESS_KEY": settings.store_access_key,
        "STORE_SECRET_KEY": settings.store_secret_key.get_secret_value(),
        "STATE_DIR": str(tmp_path / "none"),
    }
    done = stack.ganctl("doctor", "-o", "json", **{f"GANSERVICE_{name}": value for name, value in elsewhere.items()})
    assert done.returncode == 0, done.stderr
    assert [row["part"] for row in json.loads(done.stdout)] == ["broker", "store"]


def test_no_stack_at_all(stack: Stack, tmp_path: Path) -> None:
    stack.refused(3, "ganctl up", "list", GANSERVICE_STATE_DIR=str(tmp_path))


def test_a_bundle_whose_digest_is_wrong(stack: Stack, published: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    stack.ok("fetch", published, "--into", str(bundle))
    stack.refused(1, "exists already", "fetch", published, "--into", str(bundle))
    weights = bundle / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    stack.refused(4, "sha256 differs", "sample", str(bundle), "--into", str(tmp_path / "never.png"))
    assert not (tmp_path / "never.png").exists()


def test_places_that_cannot_be_written(stack: Stack, published: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    stack.refused(2, "cannot be written", "fetch", published, "--into", str(tmp_path / "file" / "x"))
    stack.refused(2, "cannot be written", "sample", published, "--into", str(tmp_path / "no" / "x.png"))
    stack.refused(2, "cannot be written", "sample", published, "--into", str(tmp_path))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ganservice.cli", "list"],
            env={**os.environ, **stack.environment},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_a_disk_that_is_full(stack: Stack, published: str, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    # A disk of its own, in a mount namespace of its own: any user may have one.
    script = f"""
        mount -t tmpfs -o size=1m tmpfs {full}
        {sys.executable} -m ganservice.cli fetch {published} --into {full}/bundle; echo code $?
        {sys.executable} -m ganservice.cli sample {published} -n 10000 --into {full}/grid.png; echo code $?
        echo left $(ls -A {full})
    """
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["code 5", "code 5", "left"]
    assert done.stderr.count("the disk is full; nothing half-written was kept") == 2


def test_own_pictures_can_be_imported_and_bad_ones_are_named(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (40 + index, 30), (index, 2, 3)).save(folder / f"{index}.png")
    assert stack.ok("data", "import", str(folder), "--name", "mine", "--size", "16") == "mine"
    assert "mine" in stack.ok("data", "list")
    (folder / "1.png").write_bytes(b"not a picture")
    stack.refused(2, "1.png", "data", "import", str(folder), "--name", "mine", "--size", "16")
    stack.refused(2, "no data set is known as cifar", "data", "get", "cifar")


def test_up_and_down(new_stack: Callable[[], Stack]) -> None:
    """A second stack beside the first: idempotent, private, examined, and gone without a trace."""
    stack = new_stack()
    stack.ok("up", "-d")
    assert "up already" in stack.ganctl("up", "-d").stderr
    secrets = [stack.state_dir / name for name in ("identity.json", "settings.json", "ray-token", "broker/broker.conf")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [stack.state_dir, *secrets])
    assert stack.ganctl("doctor").returncode == 0
    processes = stack.processes()
    for port in listening_ports(processes):
        assert port.startswith(("127.", "::ffff:127.")), port
    stack.ok("down")
    assert not [process for process in processes if process.is_running()]
    ill = stack.ganctl("doctor")
    assert ill.returncode == 1
    assert "run `ganctl up -d`" in ill.stdout


def listening_ports(processes: list[Any]) -> list[str]:
    return [
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    ]
