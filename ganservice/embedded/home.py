"""The state folder of an embedded stack: its ports and credentials, and the settings by which commands find it."""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ganservice.errors import RequestError, StackError
from ganservice.files import make_private_folder, write_private
from ganservice.metrics_server import METRICS_USER
from ganservice.model import Model
from ganservice.settings import Settings
from ganservice.stack_file import PREFIX, SETTINGS_FILE

HOST = "127.0.0.1"
BUCKET = "gan"
# Below the range from which systems take ports for outgoing connections; each stack has one block of them.
PORTS = range(20_000, 32_000)
BLOCK = 16
WEED_PORTS = ("s3", "master", "volume", "filer", "admin")
PORT_NAMES = (
    "supervisor", "broker", "ray", "exporter", *WEED_PORTS, *(f"{name}.grpc" for name in WEED_PORTS), "prometheus"
)  # fmt: skip
# Ray puts sockets below its folder, and a socket's path ends at 107 bytes; Ray's own part is 66 of them.
LONGEST_RAY_DIR = 40
RAY = "ray"
# What lies in a folder that nobody has put anything into: a disk of its own, or one that a desktop has looked at.
NOBODYS = {"lost+found", ".DS_Store"}
# What a stack makes in its folder, with what a process that was killed had half written: nothing else is deleted.
OWN = re.compile(
    r"((identity|settings|pids|restarts)\.json|lock|logs|guests|broker|store|prometheus|ray|ray-token|metrics-password"
    r"|\w+\.sock|\..+\.part)"
)


class Identity(Model):
    """Ports and credentials of one stack, made once and kept: the store's files know its ports."""

    ports: dict[str, int]
    broker_password: str
    store_access_key: str
    store_secret_key: str
    ray_token: str
    metrics_password: str = ""


class Home:
    """The state folder of a stack: its identity, and the file by which every command finds the stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Make the folder. Raises RequestError where none can be made or written to, or where it is another's."""
        if not self.holds("identity.json") and (others := self.others()):
            raise RequestError(
                f"{self.folder}: is no folder of a stack and holds {others[0]} already; set {PREFIX}STATE_DIR "
                "to one of its own"
            )
        for folder in (self.folder, self.folder / "logs"):
            make_private_folder(folder, f"{PREFIX}STATE_DIR")

    def holds(self, name: str = "") -> bool:
        """Whether a file in the folder, or the folder itself, is there. Raises RequestError if we may not see."""
        try:
            return (self.folder / name).exists()
        except OSError as error:  # another user's, or no name for a folder
            raise RequestError(
                f"{self.folder}: cannot be read ({error.strerror}); set {PREFIX}STATE_DIR to a folder of your own"
            ) from error

    def own(self) -> list[str]:
        """What of the stack's lies in the folder, by name."""
        return [name for name in self._names() if OWN.fullmatch(name)]

    def others(self) -> list[str]:
        """What lies in the folder and is none of the stack's, by name."""
        return [name for name in self._names() if name not in NOBODYS and not OWN.fullmatch(name)]

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except OSError:  # none is there, or none that we may look into
            return []

    def delete(self) -> None:
        """Delete what of the stack's can be deleted, and the folder if nothing else lies there."""
        if self.socket_dir != self.folder:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
        for path in [self.folder / name for name in self.own()]:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def prepare(self, external: Settings, *, monitored: bool = False) -> Settings:
        """Make what is missing, write the settings file and return the settings the stack's processes see.

        Only of a stack that is `monitored` do commands ask its Prometheus.
        """
        self.make()
        identity = self.identity()
        values: dict[str, Any] = {
            "broker_url": f"redis://:{identity.broker_password}@{HOST}:{identity.ports['broker']}/0",
            "store_url": f"http://{HOST}:{identity.ports['s3']}/{BUCKET}",
            "store_access_key": identity.store_access_key,
            "store_secret_key": identity.store_secret_key,
            "ray_address": f"{HOST}:{identity.ports['ray']}",
            "exporter_port": identity.ports["exporter"],
            "exporter_password": identity.metrics_password,
            # Whoever knows the password of a broker of our own is its user; another's may take jobs of others.
            "own_code": external.broker_url is None,
        }
        if monitored:
            account = f"{METRICS_USER}:{identity.metrics_password}"
            values["prometheus_url"] = f"http://{account}@{HOST}:{identity.ports['prometheus']}"
        if external.store_url:
            # An external store's credentials come from the environment, or from the AWS default chain.
            values = {name: value for name, value in values.items() if not name.startswith("store_")}
        write_private(self.folder / SETTINGS_FILE, json.dumps(values, indent=2))
        return Settings(state_dir=self.folder)

    def identity(self) -> Identity:
        """The stack's identity, made at the first call; what an older release did not know of is added.

        Raises:
            StackError: the file of it cannot be understood.
        """
        path = self.folder / "identity.json"
        try:
            identity = Identity.model_validate_json(path.read_text()) if path.exists() else _new_identity()
        except ValueError:  # which holds passwords; lost with the power
            raise StackError(
                f"{path}: is damaged, and with it the passwords of all parts; bring it back from a copy, or delete the "
                "stack with all that it keeps by `ganctl down --purge`"
            ) from None
        missing = [name for name in PORT_NAMES if name not in identity.ports]
        if missing or not identity.metrics_password:
            ports = identity.ports | (dict(zip(missing, _free_ports(), strict=False)) if missing else {})
            password = identity.metrics_password or secrets.token_urlsafe(24)
            identity = identity.model_copy(update={"ports": ports, "metrics_password": password})
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
    def socket_dir(self) -> Path:
        """The folder of sockets: the state folder, or one in the system's when that path is too long for sockets."""
        name = f"gan-{blake2b(os.fsencode(self.folder), digest_size=5).hexdigest()}"
        system = Path("/tmp") / name  # noqa: S108 # private, and short enough however long TMPDIR is
        candidates = (self.folder, Path(tempfile.gettempdir()) / name)
        return next((folder for folder in candidates if len(os.fsencode(folder / RAY)) <= LONGEST_RAY_DIR), system)

    @property
    def ray_dir(self) -> Path:
        """Ray's own folder."""
        return self.socket_dir / RAY


def _new_identity() -> Identity:
    return Identity(
        ports={},
        broker_password=secrets.token_urlsafe(24),
        store_access_key=secrets.token_hex(10),
        store_secret_key=secrets.token_urlsafe(30),
        ray_token=secrets.token_hex(32),
    )


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
