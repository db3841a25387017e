"""A container: one process in namespaces of its own, which see an image, volumes and a network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.commands import Done
from tests.compose.composefile import Service
from tests.compose.dockerfile import PATH
from tests.compose.image import Image, system_binds
from tests.conftest import wait_until
from tests.lifetime import bound

INSIDE = Path(__file__).with_name("inside.py")
SPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")


def network_of(pid: int | str) -> str:
    """The network that a process sees, by the kernel's name of it."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


@dataclass
class Network:
    """A network between containers, and this machine's place in it: nothing leads further."""

    # Of this machine in it.
    address: str = "172.30.0.1/24"
    holder: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.holder = subprocess.Popen(bound(["unshare", "--net", "sleep", "infinity"]))
        own = network_of("self")
        wait_until(lambda: network_of(self.holder.pid) != own)
        for words in (
            "link set lo up", "link add bridge0 type bridge", "link set bridge0 up",
            f"address add {self.address} dev bridge0",
        ):  # fmt: skip
            self.run("ip", *words.split())

    def command(self, *command: str) -> list[str]:
        """A command as it is given on this machine, from where published ports are reached."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def run(self, *command: str) -> None:
        """Run a command there that must succeed."""
        subprocess.run(self.command(*command), check=True)

    def plug(self, pid: int, name: str) -> None:
        """Give the network of a process an interface, eth0."""
        self.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self.run("ip", "link", "set", name, "master", "bridge0", "up")

    def close(self) -> None:
        """End it."""
        self.holder.kill()
        self.holder.wait()


@dataclass
class Container:
    """One of a service. `start` may be called again once it has ended, and finds what it has written."""

    service: Service
    image: Image
    network: Network
    folder: Path
    name: str
    address: str
    hosts: str
    # (source, target, read only)
    mounts: list[tuple[str, str, bool]]
    # Where its command starts.
    workdir: str = "/"
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        # A copy of the small part of the image: what a container writes beside its volumes is its own.
        subprocess.run(["cp", "-a", "--reflink=auto", self.image.root, self.folder / "root"], check=True)

    @property
    def log(self) -> Path:
        """What it has written to its standard streams."""
        return self.folder / "log"

    @property
    def environment(self) -> dict[str, str]:
        """What its command sees."""
        home = next((line.split(":")[5] for line in (self.image.root / "etc/passwd").read_text().splitlines()
                     if int(line.split(":")[2]) == self._ids[0]), "/")  # fmt: skip
        return {"HOSTNAME": self.name, "HOME": home, **self.image.environment, **self.service.environment}

    @property
    def _ids(self) -> tuple[int, int]:
        return self.image.ids(self.service.user)

    @property
    def command(self) -> list[str]:
        """The whole command: what comes before it, and itself."""
        before = self.service.entrypoint if self.service.entrypoint is not None else self.image.entrypoint
        words = self.service.command
        if words is None:
            words = [] if self.service.entrypoint is not None else self.image.command
        return [*before, *words]

    def describe(self, command: list[str]) -> dict[str, Any]:
        """What inside.py is told."""
        uid, gid = self._ids
        return {
            "root": str(self.folder / "root"), "hostname": self.name, "address": self.address, "hosts": self.hosts,
            "binds": {**system_binds(), **self.image.binds}, "mounts": self.mounts, "tmpfs": self.service.tmpfs,
            "shm_size": self.service.shm_size, "read_only": self.service.read_only, "init": self.service.init,
            "drops_capabilities": self.service.drops_capabilities, "uid": uid, "gid": gid,
            "no_new_privileges": self.service.no_new_privileges, "command": command, "environment": self.environment,
            "workdir": self.workdir,
        }  # fmt: skip

    def start(self, command: list[str] | None = None, **streams: Any) -> subprocess.Popen[bytes]:
        """Start it, and wait until its command does. Whoever wants other streams than its log names them."""
        ours, theirs = os.pipe()
        description = self.folder / "description.json"  # a command line could be read by everybody
        description.write_text(json.dumps(self.describe(command or self.command) | {"started": theirs}))
        words = [sys.executable, "-I", "-S", str(INSIDE), str(description)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                bound(["unshare", *SPACES, "--fork", "--kill-child", *words]), env={"PATH": PATH}, pass_fds=[theirs],
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **streams},
            )  # fmt: skip
        os.close(theirs)
        self.network.plug(self.first_pid(), f"veth{self.address.rpartition('.')[2]}-{self.starts}")
        os.read(ours, 1)
        os.close(ours)
        self.starts += 1
        return self.process

    def first_pid(self) -> int:
        """Its first process, by the number that this machine knows it by."""
        assert self.process
        process = psutil.Process(self.process.pid)
        own = network_of("self")

        def found() -> int:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            for child in process.children():
                if network_of(child.pid) != own:
                    return child.pid
            return 0

        return int(wait_until(found))

    def processes(self) -> list[psutil.Process]:
        """All processes in it, the first one first."""
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True) if self.is_up else []

    @property
    def is_up(self) -> bool:
        """Whether its command runs."""
        return self.process is not None and self.process.poll() is None

    def keep_up(self) -> None:
        """Start it, and again whenever it ends, until it is stopped."""
        self.start()

        def keep() -> None:
            while True:
                assert self.process
                self.process.wait()
                if self._stopping.wait(0.2):
                    return
                self.start()

        self._keeper = threading.Thread(target=keep, name=self.name)
        self._keeper.start()

    def inside(self, command: list[str]) -> list[str]:
        """The command for this machine that runs another one in it, as an engine does for `exec`."""
        uid, gid = self._ids
        spaces = ["nsenter", "--target", str(self.first_pid()), *SPACES]
        return [*spaces, "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", *command]

    def execute(self, command: list[str]) -> Done:
        """Run a command in it."""
        done = subprocess.run(self.inside(command), env=self.environment, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def is_healthy(self) -> bool:
        """Whether the check of its health succeeds; without one, whether it runs."""
        check = self.service.healthcheck
        if not self.is_up or check is None:
            return self.is_up
        words = ["sh", "-c", check[1]] if check[0] == "CMD-SHELL" else check[1:]
        return self.execute(words).returncode == 0

    def kill(self) -> None:
        """End it as a power cut would; it is not started again."""
        self._stopping.set()
        os.kill(self.first_pid(), signal.SIGKILL)
        assert self.process
        self.process.wait()

    def stop(self) -> bool:
        """End it by its signal, or after its time by force. Returns whether it ended by itself."""
        self._stopping.set()
        if self.is_up:
            os.kill(self.first_pid(), signal.Signals[self.service.stop_signal])
        ended = True
        if self.process:
            try:
                self.process.wait(self.service.stop_grace_s)
            except subprocess.TimeoutExpired:
                ended = False
                self.process.kill()
                self.process.wait()
        if self._keeper:
            self._keeper.join()
        return ended

    def restart(self) -> None:
        """End it, if it runs, and keep it up again."""
        self.stop()
        self._stopping.clear()
        self.keep_up()

    def remove(self) -> None:
        """Forget what it has written."""
        shutil.rmtree(self.folder)
