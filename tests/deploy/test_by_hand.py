"""The handbook's chapter "By hand", as it stands: each block of commands on the machines that its first line names.

Machines are containers in a network of their own; their programs are those of an image of ours, and what Debian has.
"""

import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Done
from tests.compose.composefile import Mount, Service
from tests.compose.container import Container, Network
from tests.compose.dockerfile import PATH
from tests.compose.image import Image, build, make_context, place
from tests.compose.outside import outside_images
from tests.lifetime import bound

ROOT = Path(__file__).parents[2]
HANDBOOK = ROOT / "docs" / "operating.md"
# What the handbook leaves to its reader.
DRAWN = ("RAY_PASSWORD", "PASSWORD", "SECRET", "TOKEN", "KEY")
# How each block that does not end is known to work: a port of its machine. A node and a dispatcher have none.
PORTS = {
    "Redis": 6379,
    "the store": 8333,
    "Ray's head": 6379,
    "the exporter": 9464,
    "Prometheus": 9090,
    "Alertmanager": 9093,
}
ENDLESS = (*PORTS, "a node", "two dispatchers")
# A few seconds instead of an hour.
SHORT = "--set images=6400 --set report_every_images=640 --set checkpoints.every_images=640"
# The groups of rules that Prometheus has, and the rules in them: it says nothing of a file that is not there.
ASK_FOR_RULES = """
import json, urllib.request
groups = json.load(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/rules"))["data"]["groups"]
print(*(group["name"] for group in groups), *(rule["name"] for group in groups for rule in group["rules"]))
"""


@dataclass(frozen=True)
class Block:
    """Commands for a shell on some machines."""

    addresses: list[str]
    purpose: str
    script: str


def blocks() -> list[Block]:
    """All blocks of the chapter, with a word drawn for each that it leaves open."""
    chapter = HANDBOOK.read_text().partition("\n## By hand\n")[2].partition("\n## ")[0]
    for name in DRAWN:
        # Not a part of another name: GANSERVICE_STORE_SECRET_KEY is none of its reader's.
        chapter = re.sub(rf"(?<![A-Z_]){name}(?![A-Z_=])", secrets.token_hex(12), chapter)
    found = re.findall(r"^```sh\n# on ((?:[\d.]+ ?)+): (.*?)\n```$", chapter, re.MULTILINE | re.DOTALL)
    assert chapter.count("```sh") == len(found), "each block says where it belongs"
    return [
        Block(addresses.split(), re.split(r"[.:;,\n]| with the", text)[0], "# " + text) for addresses, text in found
    ]


class Machines:
    """The machines that the chapter speaks of, each up, with a checkout and the programs it takes for granted."""

    def __init__(self, folder: Path, addresses: set[str]) -> None:
        self._network = Network("10.0.0.254/24")
        image = build(
            ROOT / "deploy/images/worker.Dockerfile", {}, make_context(ROOT, folder / "context"), folder / "image"
        )
        for outside in outside_images().values():
            for name, path in outside.programs.items():
                assert path, f"no {name} on this machine"
                place(Path(path), folder / "programs" / name)
        checkout = [
            Mount(str(ROOT / name), f"/checkout/{name}", False, True) for name in ("deploy", "configs", "ganservice")
        ]
        image = replace(
            image, environment={"PATH": f"/opt/bin:/opt/ganservice/bin:{PATH}"},
            binds={**image.binds, str(folder / "programs"): "/opt/bin"},
        )  # fmt: skip
        hosts = "127.0.0.1 localhost\n" + "".join(f"{each} machine-{each.rpartition('.')[2]}\n" for each in addresses)
        self._machines = {each: self._machine(folder, image, each, hosts, checkout) for each in sorted(addresses)}
        self._started: list[subprocess.Popen[str]] = []

    def _machine(self, folder: Path, image: Image, address: str, hosts: str, mounts: list[Mount]) -> Container:
        name = f"machine-{address.rpartition('.')[2]}"
        service = Service(
            name, command=["sleep", "infinity"], init=True, shm_size="2g",
            # Servers with a folder in /var/lib are set up by root, all else by nobody in particular.
            user="0" if address in ("10.0.0.1", "10.0.0.2") else "10001",
            # Ray runs actors at niceness 15: beside other tests they would get a thirtieth of a core.
            environment={"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        found = [(each.source, each.target, each.read_only) for each in mounts]
        machine = Container(service, image, self._network, folder / name, name, address, hosts, found)
        machine.start()
        return machine

    def give(self, address: str, script: str) -> Done:
        """Give commands on a machine, and wait for their end."""
        return self._machines[address].execute(["sh", "-c", f"cd /checkout && {{ {script}\n}}"])

    def start(self, address: str, script: str) -> None:
        """Give commands that do not end."""
        command = self._machines[address].inside(["sh", "-c", f"cd /checkout && {{ {script}\n}}"])
        with (self._machines[address].folder / "started").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    bound(command), env=self._machines[address].environment, stdout=log, stderr=log, text=True
                )
            )

    def said(self) -> str:
        """What everything that was started has written."""
        logs = sorted(machine.folder / "started" for machine in self._machines.values())
        return "\n".join(f"== {log.parent.name}\n{log.read_text()[-3000:]}" for log in logs if log.exists())

    def close(self) -> None:
        """Take all machines off."""
        for machine in self._machines.values():
            machine.stop()
        for process in self._started:
            process.wait()
        self._network.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path, {address for block in blocks() for address in block.addresses})
    yield machines
    machines.close()


def test_the_commands_of_the_handbook_make_a_service_that_trains(
    machines: Machines, eventually: Callable[..., Any]
) -> None:
    given = blocks()
    assert {*ENDLESS} < {block.purpose for block in given}
    for block in given:
        for address in block.addresses:
            if block.purpose not in ENDLESS:
                continue
            machines.start(address, block.script)
            if port := PORTS.get(block.purpose):
                listens = f"ss -Hltn 'sport = :{port}' | grep -q ."
                eventually(lambda address=address, listens=listens: machines.give(address, listens).returncode == 0)
        if block.purpose in ENDLESS:
            continue
        for address in block.addresses:
            script = f"{block.script} {SHORT}" if "submit" in block.script else block.script
            done = machines.give(address, script)
            assert done.returncode == 0, done.stdout + done.stderr + machines.said()
    assert "succeeded" in done.stdout + done.stderr
    rules = machines.give("10.0.0.5", f"python -c {shlex.quote(ASK_FOR_RULES)}")
    assert {"ganservice-recording", "NoProgress"} <= set(rules.stdout.split()), rules.stdout + rules.stderr
