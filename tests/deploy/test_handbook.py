"""What docs/operating.md has operators and users of Kubernetes type fits the chart and the programs that are there."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from ganservice.cli import ganctl
from ganservice.settings import Settings
from ganservice.stack_file import PREFIX
from tests.deploy.chart import CHART, OPEN, of_kind, pods, render, values_of

SECTIONS = ("Kubernetes", "For users")
HANDBOOK = Path("docs/operating.md").read_text()
VALUES = values_of("values.yaml")
# What needs a cluster, an engine or a certificate; all that these name is looked up in what the chart makes.
NAMED = re.compile(r"(?:svc/|service |secret |statefulset[ /]|pvc )(\S+)")


def section(title: str) -> str:
    """A section of the handbook."""
    [text] = re.findall(rf"^## {title}$(.*?)(?=^## )", HANDBOOK, re.MULTILINE | re.DOTALL)
    return str(text)


def commands() -> Iterator[list[str]]:
    """Every command in the sections' blocks for a shell, and in their text."""
    for title in SECTIONS:
        blocks = re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        lines += re.findall(
            r"`((?:kubectl|helm|ganctl) [^`]+)`", re.sub(r"```.*?```", "", section(title), flags=re.DOTALL)
        )
        # What a command makes is a password here; whom it asks counts as a command, too.
        lines += re.findall(r"\$\((kubectl [^)|]+)", "\n".join(lines))
        told = (re.sub(r"\$\([^)]*\)", "password", line) for line in lines)
        yield from (words for line in told if (words := shlex.split(line, comments=True)))


def typed(program: str, *verbs: str) -> list[list[str]]:
    """The commands that begin so; there are some."""
    found = [words for words in commands() if words[: 1 + len(verbs)] == [program, *verbs]]
    assert found, (program, verbs)
    return found


def options(words: list[str], name: str) -> list[str]:
    """The values of an option, behind it or behind an equals sign."""
    behind = [after for word, after in pairwise(words) if word == name]
    return behind + [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]


def values_set(words: list[str]) -> dict[str, Any]:
    """The values that a command of helm gives, each of which the chart has."""
    values: dict[str, Any] = {}
    for path in options(words, "-f"):
        values |= yaml.safe_load(Path(path).read_text())
    for setting in options(words, "--set"):
        path, _, text = setting.partition("=")
        *folders, name = path.split(".")
        known = reduce(lambda found, folder: found[folder], folders, VALUES)
        assert name in known, f"{path} is no value of the chart"
        place = reduce(lambda found, folder: found.setdefault(folder, {}), folders, values)
        place[name] = text[1:-1].split(",") if text.startswith("{") else text
    return values


def test_every_command_is_one_that_these_tests_know() -> None:
    known = {
        "docker": {"build"},
        "kubectl": {"create", "delete", "get", "port-forward", "rollout"},
        "helm": {"install", "upgrade"},
    }
    # `for`, `openssl`, `sed` and `rm` are run below.
    for words in commands():
        assert words[0] in ("ganctl", "export", "for", "openssl", "sed", "rm") or words[1] in known[words[0]], words


def test_helm_installs_and_upgrades_to_something() -> None:
    for words in [*typed("helm", "install"), *typed("helm", "upgrade", "gan")]:
        assert Path(words[3]) == CHART
        assert words[2] == "gan"
        assert render(values_set(words))


def test_the_secret_has_every_key_that_the_chart_reads(tmp_path: Path) -> None:
    """Its block is run, with a program in the place of kubectl that writes down what it is given."""
    blocks = re.findall(r"```sh\n(.*?)```", HANDBOOK, re.DOTALL)
    [block] = [block for block in blocks if "secret generic ganservice" in block]
    lines = [line for line in block.splitlines(keepends=True) if not line.startswith("docker ")]
    script = "".join(lines).partition("helm install")[0]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open("{tmp_path}/said", "w"))\n')
    kubectl.chmod(0o755)
    users = tmp_path / "users.acl"
    script = re.sub(r"^rm .*$", "", script.replace(">users.acl", f">{users}"), flags=re.MULTILINE)
    script = script.replace("store-inner.key -out store-inner.pem", f"{tmp_path}/inner.key -out {tmp_path}/inner.pem")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", script], env=environment, check=True)
    given = json.loads((tmp_path / "said").read_text())
    made = dict(literal.split("=", 1) for literal in options(given, "--from-literal"))
    files = {option.partition("=")[0] for option in options(given, "--from-file")}
    assert given[:4] == ["create", "secret", "generic", VALUES["secrets"]["name"]]
    # Without those that may be missing.
    wanted = re.findall(r"\{'name': 'ganservice', 'key': '([\w.-]+)'\}", str(render(values_of("values-lab.yaml"))))
    assert {*made, *files} == set(wanted)
    for url in (url for name, url in made.items() if name.endswith("-url")):
        found = urlsplit(url)
        assert (found.hostname, str(found.port)) in services(render({}))
        if found.scheme == "redis":
            assert f"user {found.username} on >{found.password} " in users.read_text()
    assert "_PASSWORD" not in re.sub("^user ray .*$", "", users.read_text(), flags=re.MULTILINE)


def services(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {
        (each["metadata"]["name"], str(port["port"]))
        for each in of_kind(objects, "Service")
        for port in each["spec"]["ports"]
    }


def test_what_is_forwarded_looked_at_or_taken_away_is_there() -> None:
    objects = render(values_of(OPEN))
    for words in typed("kubectl", "port-forward"):
        assert (words[2].removeprefix("svc/"), words[3].rpartition(":")[2]) in services(objects)
    names = {each["metadata"]["name"] for each in objects} | {VALUES["secrets"]["name"]}
    for each in of_kind(objects, "StatefulSet"):
        [claim] = each["spec"]["volumeClaimTemplates"]
        names.add(f"{claim['metadata']['name']}-{each['metadata']['name']}-0")
    for words in [*typed("kubectl", "get"), *typed("kubectl", "delete"), *typed("kubectl", "rollout")]:
        [name] = NAMED.findall(" ".join(words))
        assert name in names, words


def test_certificates_are_made_by_the_names_that_helm_is_given() -> None:
    made = {words[4] for words in typed("kubectl", "create", "secret", "tls")}
    [words] = typed("helm", "upgrade", "gan")
    access = values_set(words)["access"]
    assert {access["redis"]["tlsSecret"], access["store"]["tlsSecret"]} == made
    volumes = [volume for pod in pods(render({"access": access})) for volume in pod.get("volumes", [])]
    mounted = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    assert mounted == {access["redis"]["tlsSecret"]}


def test_users_settings_are_those_of_ganctl() -> None:
    for words in typed("export"):
        for name, _, value in (word.partition("=") for word in words[1:]):
            setting = name.removeprefix(PREFIX).lower()
            assert setting in Settings.model_fields
            Settings(**{setting: value})


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "ganctl"], ids=" ".join)
def test_every_command_of_ganctl_is_one(words: list[str]) -> None:
    command, rest = ganctl.get_command(click.Context(ganctl), words[1]), words[2:]
    if isinstance(command, click.Group):
        command, rest = command.commands.get(rest[0]), rest[1:]
    assert command, words
    for option in (word for word in rest if word.startswith("--")):
        assert option in [each for parameter in command.params for each in parameter.opts], words


def test_every_value_that_is_named_is_one() -> None:
    named = re.findall(rf"`((?:{'|'.join(VALUES)})\.[A-Za-z.]+)", "".join(map(section, SECTIONS)))
    assert named
    for path in set(named) - {"networkPolicies.externalCidrs"}:  # told as what is gone
        found: Any = VALUES
        for name in path.split("."):
            assert name in found, path
            found = found[name]
