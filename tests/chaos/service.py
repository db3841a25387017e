"""The whole service in real processes, reached through proxies: what a chaos run strikes and keeps alive."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from pydantic import SecretStr

from ganservice.embedded.home import BUCKET, HOST, Home
from ganservice.embedded.parts import Part, embedded_parts
from ganservice.embedded.processes import Processes
from ganservice.errors import GanServiceError
from ganservice.settings import Settings
from ganservice.stack_file import PREFIX
from tests.chaos.machine import Clock, Disk
from tests.chaos.plan import LEASE_S
from tests.chaos.proxy import Proxy
from tests.chaos.wire import RedisWire, StoreWire
from tests.gang_workers import all_workers, gang_workers

# Of the head and of the other node.
CPUS = (2, 1)
DISPATCHERS = ("dispatcher-1", "dispatcher-2")
LOOK_S = 0.1
# As a supervisor does that never gives up and does not hurry.
RESTART_PAUSE_S = 1.0
STORE_DISK_MB, BROKER_DISK_MB = 1_536, 512

Say = Callable[[str], None]


class Service:
    """Broker, store, a Ray head and a node, two dispatchers and an exporter; whatever ends is started again."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self._say = say
        self._home = Home(folder)
        self._processes = Processes(self._home)
        nothing = Settings.from_environment().model_copy(update={"state_dir": folder})
        # For who checks: straight to the servers, past the proxies.
        self.settings = self._home.prepare(nothing)
        ports = self._home.identity().ports
        self.broker_proxy = Proxy(ports["broker"], RedisWire)
        self.store_proxy = Proxy(ports["s3"], StoreWire)
        self.clock = Clock(folder)
        self.store_disk = Disk(folder / "store" / "data", STORE_DISK_MB)
        self.broker_disk = Disk(folder / "broker", BROKER_DISK_MB)
        password = self._home.identity().broker_password
        self.proxied = {
            PREFIX + "BROKER_URL": f"redis://:{password}@{HOST}:{self.broker_proxy.port}/0",
            PREFIX + "STORE_URL": f"http://{HOST}:{self.store_proxy.port}/{BUCKET}",
            PREFIX + "LEASE_S": f"{LEASE_S:g}",
            PREFIX + "HEARTBEAT_S": "0.5",
            PREFIX + "CACHE_DIR": str(folder / "cache"),
        }
        # For users of the service: as its processes see it.
        self.users_settings = self.settings.model_copy(
            update={
                "broker_url": SecretStr(self.proxied[PREFIX + "BROKER_URL"]),
                "store_url": self.proxied[PREFIX + "STORE_URL"],
                "lease_s": LEASE_S,
                "heartbeat_s": 0.5,
            }
        )
        self._parts = {part.name: part for part in self._make_parts(nothing)}
        self._held: dict[str, int] = {}  # parts that a fault keeps from starting, by how many faults
        self._start_at: dict[str, float] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.restarts = 0

    @property
    def broker_folder(self) -> Path:
        """Where the broker's files are."""
        return self.folder / "broker"

    @property
    def ray_address(self) -> str:
        """host:port of the Ray head."""
        return self.settings.require_ray()

    @property
    def ray_environment(self) -> dict[str, str]:
        """What a driver of this cluster needs in its environment."""
        return self._parts["ray"].environment

    def log(self, name: str) -> Path:
        """The log of a part."""
        return self._home.log(name)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have everything up inside the block."""
        try:
            for part in self._parts.values():
                self._processes.start(part, self._stopping, self._say)
            self._supervisor.start()
            yield
        finally:
            self._stopping.set()
            if self._supervisor.ident:
                self._supervisor.join()
            self._thaw_all()
            self._processes.end_all()
            self.broker_proxy.close()
            self.store_proxy.close()

    def process(self, name: str) -> psutil.Process | None:
        """The process of a part, if it runs."""
        return self._processes.named(name)

    def workers(self) -> list[psutil.Process]:
        """The workers of all gangs, and warm ones."""
        return all_workers([*self.tree("ray"), *self.tree("node")])

    def gang_workers(self) -> list[psutil.Process]:
        """The workers of all gangs."""
        return gang_workers(self.workers())

    def tree(self, name: str) -> list[psutil.Process]:
        """The process of a part and all its descendants."""
        process = self.process(name)
        if process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [process, *process.children(recursive=True)]
        return []

    def strays(self) -> list[psutil.Process]:
        """Processes that the service started and that belong to no part that runs."""
        known = {process.pid for name in self._parts for process in self.tree(name)}
        return [process for process in self._processes.marked() if process.pid not in known]

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Keep a part from being started again inside the block."""
        with self._lock:
            self._held[name] = self._held.get(name, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._held[name] -= 1
                self._start_at[name] = 0.0

    def await_well(self, say: Say, limit_s: float = 600.0) -> bool:
        """Wait until every part works. False if one does not in all that time."""
        deadline, told_at = time.monotonic() + limit_s, time.monotonic()
        while trouble := self._trouble():
            if time.monotonic() > deadline:
                return False
            if time.monotonic() > told_at + 20:
                say(f"waits: {trouble}")
                told_at = time.monotonic()
            time.sleep(0.5)
        return True

    def _trouble(self) -> str:
        for part in self._parts.values():
            if self.process(part.name) is None:
                return f"{part.name} does not run"
            try:
                part.check()
            except (GanServiceError, OSError) as error:
                return f"{part.name}: {error}"
        return ""

    def _thaw_all(self) -> None:
        for process in self._processes.marked():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    os.kill(process.pid, signal.SIGCONT)

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for part in self._parts.values():
                with self._lock:
                    if self._held.get(part.name) or self.process(part.name) is not None:
                        self._start_at.pop(part.name, None)
                        continue
                    start_at = self._start_at.setdefault(part.name, time.monotonic() + RESTART_PAUSE_S)
                    if time.monotonic() < start_at:
                        continue
                    self._start_at[part.name] = time.monotonic() + RESTART_PAUSE_S
                    self.restarts += 1
                self._processes.launch(part)

    def _make_parts(self, external: Settings) -> Iterator[Part]:
        parts = {part.name: part for part in embedded_parts(self._home, external, self.settings, monitored=False)}
        broker, ray, dispatcher = parts["broker"], parts["ray"], parts["dispatcher"]
        # Ray runs actors at niceness 15: beside other work they would get a thirtieth of a core, and lose leases.
        environment = ray.environment | self.proxied | {
            "RAY_worker_niceness": "0",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        yield dataclasses.replace(broker, environment=self.clock.environment)
        yield parts["store"]
        head = tuple(word for word in ray.command if not word.startswith("--num-cpus"))
        yield dataclasses.replace(ray, command=(*head, f"--num-cpus={CPUS[0]}"), environment=environment)
        yield dataclasses.replace(
            ray,
            name="node",
            command=(
                sys.executable, str(Path(__file__).with_name("node.py")), "start", f"--address={self.ray_address}",
                f"--node-ip-address={HOST}", "--block", f"--num-cpus={CPUS[1]}",
                *(word for word in ray.command if word.startswith("--object-store-memory")), "--disable-usage-stats",
            ),
            environment=environment,
        )  # fmt: skip
        for name in DISPATCHERS:
            yield dataclasses.replace(dispatcher, name=name, environment=dispatcher.environment | environment)
        exporter = parts["exporter"]
        yield dataclasses.replace(exporter, environment=exporter.environment | self.proxied)
