"""The first process of a container: it lays out what the container sees, gives up root and runs the command.

As a script it runs in new namespaces with a description in JSON, and loads nothing that takes time.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Of <sys/prctl.h> and <sys/mount.h>.
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, CAPABILITIES = 1, 24, 38, 41
# Signals that a container's first process passes on.
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)


def bind(source: str, target: str, *, read_only: bool = True) -> list[str]:
    """The command that shows a folder or file at another place too."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if not Path(target).exists():
        Path(target).mkdir() if Path(source).is_dir() else Path(target).touch()
    return ["mount", "--bind", *(["-o", "ro"] if read_only else []), source, target]


def main(description: dict[str, Any]) -> int:
    """Become the container of this description. Its command takes our place, or with an init has us as its parent."""
    root = description["root"]
    _run("mount", "--make-rprivate", "/")
    _run("mount", "--bind", root, root)
    _lay_out(root, description)
    socket.sethostname(description["hostname"])
    _join_network(description["address"])
    if description["read_only"]:
        _run("mount", "-o", "remount,bind,ro", root)
    os.chdir(root)
    _run("pivot_root", ".", ".")
    _run("umount", "-l", ".")
    os.chdir(description["workdir"])
    _give_up_root(description)
    return _run_to_its_end(description)


def _lay_out(root: str, description: dict[str, Any]) -> None:
    for source, target in description["binds"].items():
        _run(*bind(source, root + target))
    _run("mount", "-t", "proc", "proc", f"{root}/proc")
    _run("mount", "-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    for device in DEVICES:
        _run(*bind(f"/dev/{device}", f"{root}/dev/{device}", read_only=False))
    shared = Path(root, "dev") / "shm"
    shared.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"mode=1777,size={description['shm_size']}", "shm", str(shared))
    places: dict[str, Callable[[], None]] = {}
    for source, target, read_only in description["mounts"]:
        places[target] = partial(_show, source, root + target, read_only=read_only)
    for text in description["tmpfs"]:
        target, _, options = text.partition(":")
        places[target] = partial(_mount_memory, Path(root + target), options)
    # As an engine does: the outer ones first, so that none hides another.
    for target in sorted(places):
        places[target]()
    Path(root, "etc/hosts").write_text(description["hosts"])
    Path(root, "etc/resolv.conf").write_text("")


def _show(source: str, target: str, *, read_only: bool) -> None:
    _run(*bind(source, target, read_only=read_only))


def _mount_memory(place: Path, options: str) -> None:
    """As an engine does: root's, with the mode of the image's folder, and nothing there can be run."""
    mode = f"mode={place.stat().st_mode & 0o7777:o}" if place.exists() else ""
    place.mkdir(parents=True, exist_ok=True)
    _run(
        "mount",
        "-t",
        "tmpfs",
        "-o",
        ",".join(filter(None, ["nosuid,nodev,noexec", mode, options])),
        "tmpfs",
        str(place),
    )


def _join_network(address: str) -> None:
    while not any(name == "eth0" for _, name in socket.if_nameindex()):
        time.sleep(0.005)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")


def _give_up_root(description: dict[str, Any]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if description["drops_capabilities"]:
        for capability in range(CAPABILITIES):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setgid(description["gid"])
    os.setuid(description["uid"])
    # A new user is a new start for the kernel: who started us is to be asked for again.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if description["no_new_privileges"]:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _run_to_its_end(description: dict[str, Any]) -> int:
    command, started = description["command"], description["started"]
    child = os.fork() if description["init"] else 0
    if child == 0:
        if not description["init"]:
            os.write(started, b".")
        os.close(started)
        os.execvpe(command[0], command, description["environment"])  # noqa: S606 # no shell is wanted
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(child, number))
    os.write(started, b".")
    os.close(started)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            return os.waitstatus_to_exitcode(status) % 256


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
