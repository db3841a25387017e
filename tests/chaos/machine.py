"""What a run bends of the machine, for its own processes alone: the broker's clock, and the size of a disk."""

import ctypes
import os
import struct
import subprocess
from pathlib import Path

from tests.preload import build

CLOCK_SOURCE = Path(__file__).with_name("clock.c")
# Of <sched.h> and <sys/mount.h>.
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class Clock:
    """The wall clock of one server, which can be set at any moment while it runs."""

    def __init__(self, folder: Path) -> None:
        """Build what a server loads. Raises RuntimeError where there is no C compiler."""
        self._step = folder / "clock-step"
        self.step_ms(0)
        self.environment = {"LD_PRELOAD": str(build(CLOCK_SOURCE, folder)), "CHAOS_CLOCK": str(self._step)}

    def step_ms(self, step: int) -> None:
        """Let it differ from this machine's by so much from now on."""
        mode = "r+b" if self._step.exists() else "wb"
        with self._step.open(mode) as file:
            file.write(struct.pack("q", step))


class Disk:
    """A file system of its own for one folder, which can be filled to the last byte."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "chaos", str(folder)]
        self.is_own = subprocess.run(command, check=False, capture_output=True).returncode == 0

    def fill(self) -> bool:
        """Leave no room. False where the folder has no file system of its own, which is then left as it is."""
        if not self.is_own:
            return False
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return True

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


def take_own_mounts() -> bool:
    """Have mounts that end with this process and what it starts; before any thread. False where none are allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return bool(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0)
