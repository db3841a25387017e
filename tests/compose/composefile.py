"""What a Compose file says of its services, as far as deploy/compose.yaml says anything."""

import os
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

# All that we model, and what only an engine can: limits, logs and networks of its own.
MODELLED = {
    "image", "build", "command", "entrypoint", "env_file", "environment", "volumes", "tmpfs", "shm_size", "user",
    "read_only", "init", "depends_on", "healthcheck", "ports", "stop_grace_period", "stop_signal", "profiles",
    "secrets", "cap_drop", "security_opt", "restart", "deploy",
}  # fmt: skip
LEFT_TO_AN_ENGINE = {"logging", "networks", "mem_limit", "cpus", "pids_limit"}


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine, or a named volume, at a place in a container."""

    source: str
    target: str
    is_volume: bool
    read_only: bool


@dataclass(frozen=True)
class Service:
    """One service, with everything resolved: variables, files of variables, anchors."""

    name: str
    image: str = ""
    dockerfile: Path | None = None
    build_arguments: dict[str, str] = field(default_factory=dict)
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    shm_size: str = "64m"
    user: str | None = None
    read_only: bool = False
    init: bool = False
    # service: condition
    depends_on: dict[str, str] = field(default_factory=dict)
    # As an engine takes it: CMD or CMD-SHELL first.
    healthcheck: list[str] | None = None
    # (address, port of the machine, port of the container)
    ports: list[tuple[str, int, int]] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    stop_grace_s: float = 10.0
    replicas: int = 1
    profiles: list[str] = field(default_factory=list)
    # Whether it is started again when it ends.
    restart: bool = False
    drops_capabilities: bool = False
    no_new_privileges: bool = False


def read_compose_file(path: Path, variables: dict[str, str] | None = None) -> dict[str, Service]:
    """All services of a file, by name. `variables` stand for the environment and the .env file beside it."""
    known = {**env_file(path.parent / ".env"), **(os.environ if variables is None else variables)}
    content = _interpolate(yaml.safe_load(path.read_text()), known)
    for name, entry in content["services"].items():
        if unknown := set(entry) - MODELLED - LEFT_TO_AN_ENGINE:
            raise ValueError(f"{path}: {name}: {sorted(unknown)} are not known here")
    return {name: _service(name, entry, content, path.parent) for name, entry in content["services"].items()}


def env_file(path: Path) -> dict[str, str]:
    """The variables of a file; none where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))


def _service(name: str, entry: dict[str, Any], content: dict[str, Any], folder: Path) -> Service:
    build = entry.get("build")
    environment: dict[str, str] = {}
    files = entry.get("env_file", [])
    for file in [files] if isinstance(files, str) else files:
        if not (folder / file).exists():
            raise ValueError(f"{name}: there is no {file}")
        environment |= env_file(folder / file)
    environment |= {key: str(value) for key, value in entry.get("environment", {}).items()}
    secrets = [Mount(str(folder / content["secrets"][each]["file"]), f"/run/secrets/{each}", False, True)
               for each in entry.get("secrets", [])]  # fmt: skip
    depends_on = entry.get("depends_on", {})
    if isinstance(depends_on, list):
        depends_on = {other: {"condition": "service_started"} for other in depends_on}
    return Service(
        name=name,
        image=entry["image"],
        dockerfile=folder / build["context"] / build["dockerfile"] if build else None,
        build_arguments=dict(build.get("args", {})) if build else {},
        command=_words(entry.get("command")),
        entrypoint=_words(entry.get("entrypoint")),
        environment=environment,
        mounts=[_mount(text, set(content.get("volumes", {})), folder) for text in entry.get("volumes", [])] + secrets,
        tmpfs=entry.get("tmpfs", []),
        shm_size=str(entry.get("shm_size", "64m")).removesuffix("b"),
        user=entry.get("user"),
        read_only=entry.get("read_only", False),
        init=entry.get("init", False),
        depends_on={other: each["condition"] for other, each in depends_on.items()},
        healthcheck=entry["healthcheck"]["test"] if "healthcheck" in entry else None,
        ports=[_port(text) for text in entry.get("ports", [])],
        stop_signal=entry.get("stop_signal", "SIGTERM"),
        stop_grace_s=_seconds(entry.get("stop_grace_period", "10s")),
        replicas=entry.get("deploy", {}).get("replicas", 1),
        profiles=entry.get("profiles", []),
        restart=entry.get("restart", "no") != "no",
        drops_capabilities=entry.get("cap_drop") == ["ALL"],
        no_new_privileges="no-new-privileges:true" in entry.get("security_opt", []),
    )


def _words(command: str | list[str] | None) -> list[str] | None:
    return shlex.split(command) if isinstance(command, str) else command


def bind_mount(text: str) -> Mount:
    """SOURCE:TARGET or SOURCE:TARGET:ro."""
    source, target, *options = text.split(":")
    return Mount(source, target, is_volume=False, read_only=options == ["ro"])


def _mount(text: str, volumes: set[str], folder: Path) -> Mount:
    mount = bind_mount(text)
    if mount.source in volumes:
        return replace(mount, is_volume=True)
    return replace(mount, source=str(folder / mount.source))


def _port(text: str) -> tuple[str, int, int]:
    address, outside, inside = text.rsplit(":", 2)
    return address, int(outside), int(inside)


def _seconds(text: str) -> float:
    [(minutes, seconds)] = re.findall(r"^(?:(\d+)m)?(?:(\d+)s)?$", text)
    return 60.0 * int(minutes or 0) + int(seconds or 0)


def _interpolate(value: Any, known: dict[str, str]) -> Any:
    """As Compose does: `$$` is a dollar, `${NAME:-default}` a variable."""
    if isinstance(value, dict):
        return {key: _interpolate(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [_interpolate(each, known) for each in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return known.get(found[1]) or found[2] or ""

    return re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}", replace, value)
