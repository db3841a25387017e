"""Worker: one process of a gang, as a Ray actor.

Torch is imported by the actor alone: a dispatcher, which only names this class, needs none.
"""

import importlib
import logging
import os
import signal
import socket
import threading

import ray

from ganservice.errors import LeaseLost
from ganservice.job import Lease
from ganservice.logs import start_logging
from ganservice.plain_text import plain_line
from ganservice.settings import Settings

log = logging.getLogger(__name__)

# Threads of an actor beside the one of `run`: one for each method that must be answered while it runs.
CONCURRENCY_GROUPS = {"meeting": 1, "end": 1}


class Worker:
    """One worker of a gang, as a Ray actor: a process of its own. SIGTERM has the whole gang leave.

    Each method may be called again, by the next dispatcher: what has been done is not done twice.
    """

    def __init__(self, settings: Settings, lease: Lease, rank: int) -> None:
        self._settings = settings
        self._lease = lease
        self._rank = rank
        self._meeting_point = ""
        self._is_told = False  # to run
        self._ended = threading.Event()
        self._error = ""
        self._leaving = threading.Event()
        # Ray runs the constructor in the main thread, where alone a handler may be installed, and its own would end
        # the process at once. That thread looks for signals every 10 ms while others run the methods.
        signal.signal(signal.SIGTERM, lambda *_: self._leaving.set())

    @ray.method(concurrency_group="meeting")  # type: ignore[untyped-decorator]
    def meet(self) -> str:
        """host:port at which a process group may meet, always the same; the first worker's is used.

        Torch is imported here, which takes seconds, a minute on a busy machine: the dispatcher still holds the lease.
        """
        if not self._meeting_point:
            self._prepare()
            host: str = ray.util.get_node_ip_address()
            with socket.socket() as probe:
                probe.bind((host, 0))
                self._meeting_point = f"{host}:{probe.getsockname()[1]}"
        return self._meeting_point

    def run(self, meeting_point: str) -> None:
        """Run this worker's share of the attempt, once. A lost lease ends the process."""
        if self._is_told:
            return
        self._is_told = True
        start_logging()
        try:
            self._run_share(meeting_point)
        except LeaseLost as error:
            log.error("%s", error)
        except Exception as error:  # told to the dispatcher by wait_for_end
            log.exception("worker %d failed", self._rank)
            self._error = plain_line(f"worker {self._rank} failed: {type(error).__name__}: {error}")
        finally:
            self._ended.set()

    @ray.method(concurrency_group="end")  # type: ignore[untyped-decorator]
    def wait_for_end(self) -> str:
        """Return when `run` has: what went wrong outside the attempt's own outcome, or nothing."""
        self._ended.wait()
        return self._error

    def _prepare(self) -> None:
        importlib.import_module("workers.attempt.process_group")

    def _run_share(self, meeting_point: str) -> None:
        from workers.attempt.process_group import run_worker  # noqa: PLC0415 # torch, after the lease is known

        own_address = ray.util.get_node_ip_address()
        run_worker(self._settings, self._lease, self._rank, meeting_point, own_address, _end_process, self._leaving)


def _end_process() -> None:
    # Not an exception: the training thread may be deep in a kernel, and must not write a thing once it returns.
    log.error("the lease is lost: this worker ends here")
    os._exit(70)
