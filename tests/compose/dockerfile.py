"""What a Dockerfile says of the image that it makes."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

# Of the images of Python.
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


# Where our images have what they install.
VENV = "/opt/ganservice"


@dataclass(frozen=True)
class Dockerfile:
    """The last stage of a Dockerfile, and what the stages before it install."""

    base: str
    environment: dict[str, str]
    user: str
    command: list[str]
    # Commands for a shell, in order.
    runs: list[str]
    # What is copied from another stage.
    copies: list[str]
    # The arguments of each `pip install` into what the image holds.
    installs: list[list[str]]


def read_dockerfile(path: Path, arguments: dict[str, str]) -> Dockerfile:
    """Read a Dockerfile; `arguments` are its build arguments. Raises ValueError for what we do not know."""
    base, environment, user, command = "", {"PATH": PATH}, "0", list[str]()
    runs, copies, installs = list[str](), list[str](), list[list[str]]()
    known = dict(arguments)
    for instruction, rest in _instructions(path.read_text()):
        text = _substitute(rest, {**known, **environment}) if instruction in ("FROM", "ENV", "COPY", "USER") else rest
        match instruction:
            case "FROM":
                base, environment, user, command = text.split()[0], {"PATH": PATH}, "0", []
                runs, copies = [], []
            case "ARG":
                name, _, value = text.partition("=")
                known.setdefault(name, value)
            case "ENV":
                environment |= dict(word.split("=", 1) for word in shlex.split(text))
            case "RUN":
                runs.append(text)
                installs += _installs(_substitute(text, known))
            case "COPY":
                copies.append(text)
            case "USER":
                user = text
            case "CMD":
                command = json.loads(text)
            case "WORKDIR" | "LABEL" | "SHELL":
                pass
            case _:
                raise ValueError(f"{path}: {instruction} is not known here")
    return Dockerfile(base, environment, user, command, runs, copies, installs)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def _substitute(text: str, known: dict[str, str]) -> str:
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: known.get(found[1] or found[2], found[0]), text)


def _installs(run: str) -> list[list[str]]:
    commands = [shlex.split(command) for command in run.split("&&")]
    return [words[2:] for words in commands if words[:2] == [f"{VENV}/bin/pip", "install"]]
