"""Images as folders: what Debian has, and ours by their Dockerfiles."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.compose.dockerfile import PATH, VENV, Dockerfile, read_dockerfile
from tests.compose.inside import LINKS, bind

PYTHON_HOME = Path(sys.base_prefix)
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "login.defs", "nsswitch.conf", "ssl", "alternatives")


@dataclass(frozen=True)
class Image:
    """A folder that every container of it gets a copy of, and what holds where a Compose file says nothing."""

    root: Path
    user: str = "0"
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    # Folders of this machine at the same or another place in each container, not to be written.
    binds: dict[str, str] = field(default_factory=dict)

    def ids(self, user: str | None) -> tuple[int, int]:
        """User and group of a process, of which a number or a name is given, or both as NUMBER:NUMBER."""
        name, _, group = (user or self.user).partition(":")
        for line in (self.root / "etc/passwd").read_text().splitlines():
            entry = line.split(":")
            if name in (entry[0], entry[2]):
                return int(entry[2]), int(group or entry[3])
        return int(name), int(group or 0)


def build(path: Path, arguments: dict[str, str], context: Path, root: Path) -> Image:
    """Build an image of ours: the `pip install` of its Dockerfile, then each RUN of its last stage."""
    dockerfile, venv = read_dockerfile(path, arguments), root.with_name(f"{root.name}.venv")
    lay_system(root)
    _install(dockerfile, context, venv)
    for run in dockerfile.runs:
        _run_in(root, run)
    assert dockerfile.copies == [f"--from=build {VENV} {VENV}"], "what an image holds beside its environment"
    return Image(root, dockerfile.user, dockerfile.environment, [], dockerfile.command, {str(venv): VENV})


def lay_system(root: Path) -> None:
    """What an image of Debian has beside /usr, which every container shares with this machine."""
    for folder in (
        "etc",
        "home",
        "opt",
        "proc",
        "dev",
        "sys",
        "run",
        "usr",
        "var/tmp",
        "var/lib",
        "var/log",
        "root",
        "tmp",
    ):
        (root / folder).mkdir(parents=True)
    for link in LINKS:
        if Path("/", link).is_symlink():
            (root / link).symlink_to(f"usr/{link}")
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    for name in ETC:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, root / "etc" / name)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/gshadow").write_text("root:*::\n")


def _install(dockerfile: Dockerfile, context: Path, venv: Path) -> None:
    """Give a virtual environment what the Dockerfile installs: from that of these tests, and what it lacks, by pip.

    The build of torch for GPUs comes from an index of its own, so this machine's build stands for it.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [site] = venv.glob("lib/python*/site-packages")
    extras = Requirement(f"ganservice{dockerfile.installs[-1][-1].removeprefix('.')}").extras
    for each in closure(extras):
        for file in each.files or []:
            if ".." not in file.parts:
                place(Path(str(file.locate())), site / file)
    for number, words in enumerate(dockerfile.installs):
        if "--extra-index-url" in words:
            index = words.index("--extra-index-url")
            del words[index : index + 2]
        command = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", *words]
        command += ["--report", str(venv / f"report-{number}"), "--quiet", "--no-warn-script-location"]
        subprocess.run(command, cwd=context, check=True)
    _write_scripts(site, venv)


def closure(extras: set[str]) -> list[Distribution]:
    """What these tests have installed of all that ganservice with these extras asks for, but itself."""
    wanted, seen, found = [("ganservice", extra) for extra in ("", *extras)], set[tuple[str, str]](), {}
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        with contextlib.suppress(PackageNotFoundError):  # pip will bring it
            found[name] = distribution(name)
            for line in found[name].requires or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    wanted += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    del found["ganservice"]
    return list(found.values())


def _write_scripts(site: Path, venv: Path) -> None:
    """The commands of all packages, as pip writes them where the environment will be."""
    for each in Distribution.discover(path=[str(site)]):
        for entry in each.entry_points.select(group="console_scripts"):
            module, _, name = entry.value.partition(" ")[0].partition(":")
            script = venv / "bin" / entry.name
            script.write_text(f"#!{VENV}/bin/python\nimport sys\nfrom {module} import {name}\nsys.exit({name}())\n")
            script.chmod(0o755)


def installed(image: Image) -> dict[str, str]:
    """The versions of all packages of an image of ours, by their names in lower case."""
    [site] = _venv(image).glob("lib/python*/site-packages")
    return {canonicalize_name(each.metadata["Name"]): each.version for each in Distribution.discover(path=[str(site)])}


def brought_by_pip(image: Image) -> set[str]:
    """What pip had to install itself while an image was built."""
    reports = [json.loads(path.read_text()) for path in _venv(image).glob("report-*")]
    return {canonicalize_name(each["metadata"]["name"]) for report in reports for each in report["install"]}


def _venv(image: Image) -> Path:
    [venv] = [Path(source) for source, target in image.binds.items() if target == VENV]
    return venv


def make_context(source: Path, folder: Path) -> Path:
    """What an engine sends to a build: the files that .dockerignore lets through."""
    lines = (source / ".dockerignore").read_text().split()
    shown = [line[1:] for line in lines if line.startswith("!")]
    hidden = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    assert lines[0] == "*", "only what is named shall reach an image"
    for name in shown:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=lambda _, names: _matching(names, hidden))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy2(source / name, folder / name)
    return folder


def _matching(names: list[str], patterns: list[str]) -> set[str]:
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def _run_in(root: Path, run: str) -> None:
    """Run a RUN as root in an image, where it sees nothing else of this machine but /usr."""
    prepare = " && ".join(shlex.join(bind(source, str(root) + target)) for source, target in system_binds().items())
    inner = f"mount --make-rprivate / && {prepare} && exec chroot {root} sh -ec {shlex.quote(run)}"
    subprocess.run(["unshare", "--mount", "sh", "-ec", inner], env={"PATH": PATH}, check=True)


def system_binds() -> dict[str, str]:
    """What containers share with this machine: its programs and libraries, and the Python of these tests."""
    shared = {"/usr": "/usr"}
    if not PYTHON_HOME.is_relative_to("/usr"):
        shared[str(PYTHON_HOME)] = str(PYTHON_HOME)
    return shared


def place(source: Path, target: Path) -> None:
    """A file at another place too, without a copy where that can be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def volume_like(image: Image, target: str, folder: Path) -> None:
    """A new volume as an engine makes it: like the image's folder at its place, else empty and root's."""
    origin = image.root / target.lstrip("/")
    if not origin.is_dir():
        folder.mkdir(mode=0o755)
        return
    shutil.copytree(origin, folder, symlinks=True)
    for path in (origin, *origin.rglob("*")):
        copy, status = folder / path.relative_to(origin), path.lstat()
        os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
