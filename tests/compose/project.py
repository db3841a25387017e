"""All services of a Compose file: what `docker compose up`, `run`, `exec` and `down` do with them."""

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil

from tests.commands import Done
from tests.compose.composefile import Mount, Service, bind_mount, read_compose_file
from tests.compose.container import Container, Network
from tests.compose.image import Image, build, make_context, volume_like
from tests.compose.outside import make_outside
from tests.conftest import wait_until
from tests.lifetime import bound

RELAY = Path(__file__).with_name("relay.py")


class Project:
    """The services of one Compose file, its volumes and its network, all in one folder."""

    def __init__(
        self, file: Path, folder: Path, variables: dict[str, str], source: Path, absent: Sequence[str]
    ) -> None:
        """`absent` are services whose programs this machine lacks; `source` is what images are built of."""
        if os.getuid() != 0:
            raise RuntimeError("containers take namespaces and user ids of their own: run this as root")
        self.services = {name: each for name, each in read_compose_file(file, variables).items() if name not in absent}
        self.containers: dict[str, Container] = {}
        self._folder = folder
        self._source = source
        self._images: dict[str, Image] = {}
        self._numbers = itertools.count(2)
        self._relays: list[subprocess.Popen[bytes]] = []
        self.network = Network()
        self._addresses = {name: f"172.30.0.{next(self._numbers)}" for name in self._names()}

    def _names(self) -> list[str]:
        return [f"{each.name}-{n + 1}" for each in self.services.values() for n in range(each.replicas)]

    def image(self, service: Service) -> Image:
        """The image of a service, built at first use."""
        if service.image not in self._images:
            root = self._folder / "images" / service.image.partition("@")[0].replace("/", "-").replace(":", "-")
            if service.dockerfile:
                context = self._folder / "context"
                if not context.exists():
                    make_context(self._source, context)
                self._images[service.image] = build(service.dockerfile, service.build_arguments, context, root)
            else:
                self._images[service.image] = make_outside(service.image, root)
        return self._images[service.image]

    def up(self) -> None:
        """Start every service that belongs to no profile, each once what it depends on is as it asks."""
        for service in self.services.values():
            if not service.profiles:
                self._start(service)

    def _start(self, service: Service) -> None:
        if f"{service.name}-1" in self.containers:
            return
        for other, condition in service.depends_on.items():
            if other in self.services:
                self._start(self.services[other])
                self._await(other, condition)
        for number in range(service.replicas):
            container = self._container(service, f"{service.name}-{number + 1}")
            container.keep_up() if service.restart else container.start()
        for address, outside, inside in service.ports:
            target = self._addresses[f"{service.name}-1"]
            words = [sys.executable, "-I", str(RELAY), address, str(outside), target, str(inside)]
            self._relays.append(subprocess.Popen(self.network.command(*bound(words))))

    def _await(self, name: str, condition: str) -> None:
        container = self.containers[f"{name}-1"]
        if condition == "service_completed_successfully":
            assert container.process
            assert container.process.wait() == 0, f"{name} failed:\n{container.log.read_text()}"
        elif condition == "service_healthy":
            self.await_health(name)

    def await_health(self, name: str) -> None:
        """Wait until every container of a service is well."""
        for container in self.of(name):
            try:
                wait_until(container.is_healthy)
            except AssertionError:
                raise AssertionError(f"{container.name} does not get well:\n{container.log.read_text()}") from None

    def run(self, service: Service, command: Sequence[str], folder: str = "/") -> Done:
        """One container more of a service, for one command in a folder of it."""
        number = next(self._numbers)
        full = f"{service.name}-run-{number}"
        self._addresses[full] = f"172.30.0.{number}"
        container = self._container(service, full, folder)
        before = service.entrypoint if service.entrypoint is not None else container.image.entrypoint
        process = container.start([*before, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        del self.containers[full], self._addresses[full]
        container.remove()
        return Done(process.returncode, out.decode(), err.decode())

    def docker(self, words: Sequence[str], environment: Mapping[str, str]) -> Done:
        """`docker compose ...` as our scripts say it: `up`, `restart`, or `run` for one command."""
        options = argparse.ArgumentParser()
        options.add_argument("-f")
        commands = options.add_subparsers(dest="command", required=True)
        up, run, restart = (commands.add_parser(name) for name in ("up", "run", "restart"))
        for parser, flag in ((up, "--detach"), (up, "--build"), (run, "--rm")):
            parser.add_argument(flag, action="store_true", required=True)
        restart.add_argument("service")
        run.add_argument("-T", action="store_true")
        run.add_argument("-v", action="append", default=[])
        run.add_argument("--env", action="append", default=[])
        run.add_argument("--workdir", default="/")
        run.add_argument("--user", default="")
        run.add_argument("service")
        run.add_argument("rest", nargs=argparse.REMAINDER)
        assert words[0] == "compose"
        found = options.parse_args(words[1:])
        match found.command:
            case "run":
                service = self.services[found.service]
                given = {name: environment[name] for name in found.env}
                mounts = [*service.mounts, *map(bind_mount, found.v)]
                service = replace(
                    service, mounts=mounts, user=found.user or service.user, environment=service.environment | given
                )
                return self.run(service, found.rest, found.workdir)
            case "restart":
                for container in self.of(found.service):
                    container.restart()
            case "up":
                self.up()
        return Done(0, "", "")

    def of(self, name: str) -> list[Container]:
        """The containers of a service."""
        return [container for container in self.containers.values() if container.service.name == name]

    def on_the_machine(self, *command: str, **environment: str) -> Done:
        """Run a command outside all containers, where published ports are reached."""
        done = subprocess.run(
            self.network.command(*command),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _container(self, service: Service, name: str, folder: str = "/") -> Container:
        image = self.image(service)
        mounts = [(self._source_of(each, image), each.target, each.read_only) for each in service.mounts]
        hosts = ["127.0.0.1 localhost", *(f"{address} {each.rpartition('-')[0]} {each}"
                 for each, address in self._addresses.items())]  # fmt: skip
        container = Container(
            service, image, self.network, self._folder / "containers" / name, name, self._addresses[name],
            "\n".join(hosts) + "\n", mounts, folder,
        )  # fmt: skip
        self.containers[name] = container
        return container

    def _source_of(self, mount: Mount, image: Image) -> str:
        if not mount.is_volume:
            return mount.source
        volume = self._folder / "volumes" / mount.source
        if not volume.exists():
            volume.parent.mkdir(exist_ok=True)
            volume_like(image, mount.target, volume)
        return str(volume)

    def down(self) -> list[str]:
        """End everything, what depends on others first. Returns the containers that had to be killed."""
        killed = []
        levels = itertools.groupby(sorted(self.containers.values(), key=self._depth, reverse=True), key=self._depth)
        for _, level in levels:
            containers = list(level)
            with ThreadPoolExecutor(len(containers)) as pool:
                ended = list(pool.map(Container.stop, containers))
            killed += [each.name for each, well in zip(containers, ended, strict=True) if not well]
        for relay in self._relays:
            relay.terminate()
            relay.wait()
        self.network.close()
        return killed

    def _depth(self, container: Container) -> int:
        def depth(service: Service) -> int:
            return 1 + max(
                (depth(self.services[each]) for each in service.depends_on if each in self.services), default=0
            )

        return depth(container.service)

    def processes(self) -> list[psutil.Process]:
        """Every process of every container."""
        return [process for container in self.containers.values() for process in container.processes()]
