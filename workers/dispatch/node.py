"""A node of the Ray cluster that has its workers leave before it ends.

`python -m workers.dispatch.node ray start --block ...` runs a node. On SIGTERM, as of `docker stop` or of a machine
that is taken away, Ray takes no new work there, and every worker on it takes its gang to a checkpoint and gives its
job back; once they have left, or after RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, the node ends.

`python -m workers.dispatch.node` says the same to the node that is the purpose of this container, and waits for its
end: it is meant for a preStop hook.
"""

import contextlib
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psutil

# How long a gang may take to leave; Ray's own variable, and its default is 30 s.
DRAIN_VARIABLE, DRAIN_S = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", 90
# As Ray titles the processes of workers.
WORKER = "ray::Worker"


def main(command: list[str]) -> int:
    """Run a node by a command, or with none have the node of this container leave. Returns an exit code."""
    if not command:
        nodes = nodes_under(psutil.Process(1))
        for node in nodes:
            leave(node)
        psutil.wait_procs(nodes)
        return 0 if nodes else 1
    process = subprocess.Popen(command, env={DRAIN_VARIABLE: str(DRAIN_S), **os.environ})
    node = psutil.Process(process.pid)
    signal.signal(signal.SIGTERM, lambda *_: leave(node))
    return process.wait()


def leave(node: psutil.Process) -> None:
    """Tell a node that it ends, by its `ray start`, and the workers on it to leave."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = [process for process in node.children(recursive=True) if _is_worker(process)]
        # First the node, so that nothing is placed there again.
        for process in (node, *workers):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


def nodes_under(first: psutil.Process) -> list[psutil.Process]:
    """The nodes of a container, by its first process: that is a `ray start`, or a shell that was told to run one.

    Of a whole machine, whose first process is neither, there are none: its nodes may be others'.
    """
    if "ray start" not in " ".join(_command(first)).replace("/ray start", " ray start"):
        return []
    return [process for process in (first, *first.children(recursive=True)) if _is_node(process)]


def _is_worker(process: psutil.Process) -> bool:
    return any(WORKER in word for word in _command(process))


def _is_node(process: psutil.Process) -> bool:
    words = _command(process)
    # Not the shell that may have started it.
    return any(Path(word).name == "ray" and after == "start" for word, after in pairwise(words))


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.cmdline()
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
