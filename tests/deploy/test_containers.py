"""What stands for a container engine in tests does as one does, in what our deployment relies on."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.compose.composefile import Service
from tests.compose.container import Container, Network
from tests.compose.image import Image, lay_system, volume_like

SLEEPER = Service("sleeper", command=["sleep", "infinity"], user="10001", init=True, drops_capabilities=True)
ADDRESSES = ("172.30.0.2", "172.30.0.3")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image of Debian with a user of number 10001, who has a folder /home/gan."""
    lay_system(tmp_path / "image")
    home = tmp_path / "image/home/gan"
    home.mkdir()
    os.chown(home, 10001, 10001)
    return Image(tmp_path / "image")


@pytest.fixture
def new(image: Image, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Makes containers of a service, on one network."""
    network, made = Network(), list[Container]()

    def make(service: Service, mounts: tuple[tuple[str, str, bool], ...] = ()) -> Container:
        name, address = f"{service.name}-{len(made)}", ADDRESSES[len(made)]
        hosts = "127.0.0.1 localhost\n" + "".join(f"{each} host-{each[-1]}\n" for each in ADDRESSES)
        made.append(Container(service, image, network, tmp_path / name, name, address, hosts, list(mounts)))
        made[-1].start()
        return made[-1]

    yield make
    for container in made:
        container.stop()
    network.close()


def test_a_new_volume_takes_the_owner_of_the_folder_in_the_image_and_is_roots_without_one(
    image: Image, tmp_path: Path, new: Callable[..., Container]
) -> None:
    for name, place in (("known", "/home/gan"), ("unknown", "/home/gan/cache")):
        volume_like(image, place, tmp_path / name)
    container = new(
        SLEEPER, ((str(tmp_path / "known"), "/home/gan", False), (str(tmp_path / "unknown"), "/data", False))
    )
    assert container.execute(["touch", "/home/gan/file"]).returncode == 0
    assert "Permission denied" in container.execute(["touch", "/data/file"]).stderr
    assert (tmp_path / "known/file").stat().st_uid == 10001


def test_it_is_another_user_without_rights_on_a_root_that_cannot_be_written(new: Callable[..., Container]) -> None:
    container = new(replace(SLEEPER, read_only=True, tmpfs=["/run", "/home/gan:uid=10001,mode=0700"]))
    assert container.execute(["id", "-u"]).stdout == "10001\n"
    assert "Read-only file system" in container.execute(["touch", "/etc/file"]).stderr
    assert container.execute(["touch", "/home/gan/file"]).returncode == 0
    # A memory takes the mode of the folder in the image, and is root's, unless told otherwise.
    assert "Permission denied" in container.execute(["touch", "/run/file"]).stderr
    status = container.execute(["cat", "/proc/1/status"]).stdout
    assert {line for line in status.splitlines() if line.startswith("CapBnd")} == {"CapBnd:\t0000000000000000"}


def test_it_sees_its_own_processes_and_reaches_its_neighbours(new: Callable[..., Container]) -> None:
    first, second = new(SLEEPER), new(SLEEPER)
    assert first.first_pid() != second.first_pid()
    assert first.execute(["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).stdout.strip() < "9"
    ask = "import socket; print(socket.gethostname(), socket.gethostbyname('host-3'))"
    assert first.execute(["python3", "-c", ask]).stdout.split() == ["sleeper-0", "172.30.0.3"]


def test_a_first_process_that_handles_no_signal_is_killed_and_one_under_an_init_is_not(
    new: Callable[..., Container],
) -> None:
    assert new(SLEEPER).stop()
    assert not new(replace(SLEEPER, init=False, stop_grace_s=0.5)).stop()


def test_what_ends_is_started_again_until_it_is_stopped(new: Callable[..., Container], eventually: Any) -> None:
    container = new(SLEEPER)
    container.restart()
    os.kill(container.first_pid(), signal.SIGKILL)
    eventually(lambda: container.starts == 3 and container.is_healthy())


def test_it_ends_with_what_started_it(new: Callable[..., Container], eventually: Any) -> None:
    container = new(SLEEPER)
    first = psutil.Process(container.first_pid())
    assert container.process
    container.process.kill()
    eventually(lambda: not first.is_running())
