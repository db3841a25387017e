"""What tests start ends with them, however they end: by SIGKILL too, of which no process is told.

As a script this is what stands between the tests and what they start; it loads nothing that takes time.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

LAUNCHER = (sys.executable, "-I", "-S", __file__)
# Of <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


def bound(command: Sequence[str]) -> list[str]:
    """A command for a child of this process, which the kernel kills when this process ends."""
    return [*LAUNCHER, "bound", str(os.getpid()), *command]


@contextmanager
def last_will(command: Sequence[str], environment: dict[str, str]) -> Iterator[None]:
    """Have `command` run if this process ends inside the block; for what is no child of ours, as a whole stack."""
    executor = subprocess.Popen(
        [*LAUNCHER, "last_will", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # no Ctrl-C for this one
    )
    try:
        yield
    finally:
        executor.communicate(b"revoked")


def _run_bound(parent: str, *command: str) -> None:
    # Tests that run in the background ignore it, and with them all that they start.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):  # else it has ended already
        os.execvp(command[0], command)  # noqa: S606 # no shell is wanted


def _run_last_will(*command: str) -> None:
    # The pipe ends without a word when the process at its other end does.
    if not sys.stdin.buffer.read():
        os.execvp(command[0], command)  # noqa: S606 # no shell is wanted


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"bound": _run_bound, "last_will": _run_last_will}
    roles[sys.argv[1]](*sys.argv[2:])
