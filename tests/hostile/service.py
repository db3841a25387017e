"""The embedded stack that hostile inputs are thrown at, in a private folder, and all that may be seen of it."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
from pydantic import SecretStr

from ganservice.artifacts import ArtifactStore
from ganservice.broker import ROOT
from ganservice.embedded.home import HOST, Home, Identity
from ganservice.metrics_server import basic_auth
from ganservice.queue import JobQueue
from ganservice.roles import Role, acl_line
from ganservice.settings import Settings
from ganservice.users import UserRecord, Users
from tests.lifetime import bound, last_will

GANCTL = (sys.executable, "-m", "ganservice.cli")
LEASE_S = 15
PARTS = ("supervisor", "broker", "store", "ray", "dispatcher", "exporter")
# Jobs of the watch, which come and go beside the inputs.
SOUND = "sound"
# A scrape that takes longer is none; the machine may be busy.
SCRAPE_S = 60.0
# What the stack, and the sound jobs beside, write by themselves below the root, whatever is asked of it.
OWN_KEYS = (
    "leader", "dispatchers", "cluster", "nodes", "totals", "token", "order", "probe:", "reply:", "users", "ready",
    "delayed", "queued_of:", "running_of:", "state:", "jobs", "ids", "aside", "ended",
)  # fmt: skip
MALLORY, WORKER, LEADER = "mallory", "gan-worker", "gan-dispatcher"

Say = Callable[[str], None]


class Service:
    """Broker, store, Ray, a dispatcher and an exporter; users of Redis with the rights of three roles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        # What a command may write to: nothing else of this machine.
        self.home, self.cache, self.work, self.scratch = (
            folder / name for name in ("home", "cache", "work", "scratch")
        )
        self.canary = folder / "canary"
        for place in (self.home, self.cache, self.work, self.scratch, self.canary):
            place.mkdir(mode=0o700)
        (self.canary / "bird").write_text("sings")
        self.environment = {
            "GANSERVICE_STATE_DIR": str(self.state),
            "GANSERVICE_CACHE_DIR": str(self.cache),
            "GANSERVICE_LEASE_S": str(LEASE_S),
            "GANSERVICE_HEARTBEAT_S": "0.3",
            "GANSERVICE_USER": "ada",
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": "1",
            # Ray runs actors at niceness 15: beside other work they would get a thirtieth of a core, and lose leases.
            "RAY_worker_niceness": "0",
        }
        # Held while a sound job is under way, or while what all jobs share is damaged.
        self.calm = threading.Lock()
        self._passwords = {name: os.urandom(12).hex() for name in (MALLORY, WORKER, LEADER)}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have everything up inside the block; it ends with this process, however that ends."""
        # Ray's sockets and what it leaves are no part of what is watched.
        environment = {**os.environ, **self.environment, "TMPDIR": "/tmp"}  # noqa: S108 # of the stack alone
        down = [*GANCTL, "down", "--purge", "--yes"]
        with ExitStack() as wills:
            wills.enter_context(last_will(down, environment))
            try:
                up = bound([*GANCTL, "up", "-d"])
                done = subprocess.run(up, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"the stack does not come up: {done.stderr}")
                self._enter_users()
                yield
            finally:
                subprocess.run(down, env=environment, capture_output=True, check=False)

    def _enter_users(self) -> None:
        roles = {MALLORY: Role.SUBMITTER, WORKER: Role.WORKER, LEADER: Role.DISPATCHER}
        with Users(self.settings) as users:
            for name, role in roles.items():
                users.grant(acl_line(name, role, self._passwords[name]))
            users.put(MALLORY, UserRecord())

    @property
    def settings(self) -> Settings:
        """Where all is, with every right."""
        return Settings(state_dir=self.state, cache_dir=self.cache, lease_s=LEASE_S, heartbeat_s=0.3, user="ada")

    def url_of(self, name: str) -> str:
        """The broker's address for one of the users of Redis."""
        return f"redis://{name}:{self._passwords[name]}@{HOST}:{self.identity.ports['broker']}/0"

    def settings_of(self, name: str) -> Settings:
        """Settings with the rights of one of the users of Redis."""
        return self.settings.model_copy(update={"broker_url": SecretStr(self.url_of(name)), "user": name})

    def client(self, name: str | None = None) -> redis.Redis:
        """A connection to Redis past all code of ours, of one of its users; without a name with every right."""
        url = self.url_of(name) if name else self.settings.require_broker()
        return redis.Redis.from_url(url, decode_responses=True, socket_timeout=30)

    def queue(self) -> JobQueue:
        """A client of the queue, with every right."""
        return JobQueue(self.settings)

    def store(self) -> ArtifactStore:
        """The bucket, with the keys that every user has."""
        return ArtifactStore(self.settings)

    @property
    def identity(self) -> Identity:
        """Ports and credentials of the stack."""
        return Home(self.state).identity()

    @property
    def secrets(self) -> list[str]:
        """Words that no command may ever print."""
        own = self.identity
        return [
            own.broker_password, own.store_secret_key, own.ray_token, own.metrics_password, *self._passwords.values(),
        ]  # fmt: skip

    def pids(self) -> dict[str, int]:
        """What runs, by the names of the parts."""
        recorded = json.loads((self.state / "pids.json").read_text())
        return {part: int(process["pid"]) for part, process in recorded.items() if part in PARTS}

    def restarts(self) -> str:
        """What the supervisor knows of parts that have ended: nothing, if none has."""
        try:
            return (self.state / "restarts.json").read_text()
        except FileNotFoundError:
            return ""

    def memory_mb(self, part: str) -> float:
        """Memory that a part and its children hold."""
        try:
            process = psutil.Process(self.pids()[part])
            return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 1e6
        except psutil.NoSuchProcess:
            return 0.0

    def logs(self) -> list[Path]:
        """The logs of all parts, and those of the gangs' workers."""
        return [*(self.state / "logs").glob("*.log*"), *self.state.glob("ray/session_2*/logs/worker-*.*")]

    def scrape(self) -> str:
        """The page of the exporter. Raises OSError where it does not come in time."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.identity.ports['exporter']}/metrics",
            headers={"Authorization": basic_auth(self.identity.metrics_password)},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SCRAPE_S) as answer:
            text: str = answer.read().decode()
        return text

    def held(self) -> dict[str, Any]:
        """What Redis and the bucket hold, but for what the stack and the watch write by themselves."""
        with closing(self.client()) as client:
            names = [key.removeprefix(ROOT) for key in client.scan_iter(match="*", count=1_000)]
        found: dict[str, Any] = {name: None for name in names if not name.startswith(OWN_KEYS) and SOUND not in name}
        for entry in self.store().objects.list_objects(""):
            if not entry.key.startswith("health/") and SOUND not in entry.key:
                found[f"s3:{entry.key}"] = entry.bytes
        return found

    def files(self) -> dict[str, int]:
        """Every file that commands could have written, with its size; what the stack writes is elsewhere."""
        places = (self.home, self.work, self.scratch, self.canary)
        found = {}
        for place in places:
            for path in place.rglob("*"):
                if path.is_symlink() or path.is_file():
                    found[str(path)] = path.lstat().st_size
        return found
