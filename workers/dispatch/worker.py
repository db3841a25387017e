"""Worker: one process of a gang, as a Ray actor. It has a place from its start, or waits for one: then it is warm.

Torch is imported by the actor alone: a dispatcher, which only names this class, needs none.
"""

import importlib
import logging
import os
import signal
import socket
import threading
from pathlib import Path

import ray

from ganservice.errors import LeaseLost
from ganservice.job import Lease
from ganservice.logs import start_logging
from ganservice.plain_text import plain_line
from ganservice.settings import Settings
from workers.dispatch import sources
from workers.dispatch.gpus import see

log = logging.getLogger(__name__)

# Threads of an actor beside the one of `run`: one for each method that must be answered while it runs.
CONCURRENCY_GROUPS = {"readiness": 1, "meeting": 1, "end": 1}


class Worker:
    """One worker of a gang, as a Ray actor: a process of its own. SIGTERM has the whole gang leave.

    Each method may be called again, by the next dispatcher: what has been done is not done twice.
    """

    # Without which no attempt begins.
    needed: tuple[str, ...] = ("workers.attempt.process_group",)
    # What else a warm worker imports: what the last files of a training take, torch's compiler among it.
    ahead: tuple[str, ...] = (
        "torch._dynamo",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "onnxscript.function_libs.torch_lib.ops",
    )

    def __init__(self) -> None:
        self._settings: Settings
        self._lease: Lease
        self._rank: int
        self._place = ""  # in a gang, as the dispatcher names it
        self._importing = threading.Lock()
        self._written: dict[Path, int] = {}  # when the code was, before it imported any ahead
        self._was_idle = False
        self._meeting_point = ""
        self._is_told = False  # to run
        self._ended = threading.Event()
        self._error = ""
        self._leaving = threading.Event()
        # Ray runs the constructor in the main thread, where alone a handler may be installed, and its own would end
        # the process at once. That thread looks for signals every 10 ms while others run the methods.
        signal.signal(signal.SIGTERM, lambda *_: self._leave())

    @ray.method(concurrency_group="readiness")  # type: ignore[untyped-decorator]
    def get_ready(self) -> str:
        """Import ahead what an attempt takes, until this worker has a place of a gang, and tell which it has then."""
        with self._importing:
            # Only once: the next dispatcher asks again, and what has changed meanwhile is not what was imported.
            self._written = self._written or sources.written()
            for module in (*self.needed, *self.ahead):
                if self._place:
                    break
                importlib.import_module(module)
            self._was_idle = True
        return self._place

    @ray.method(concurrency_group="meeting")  # type: ignore[untyped-decorator]
    def take(self, settings: Settings, lease: Lease, rank: int, visible: dict[str, str] | None = None) -> str:
        """Take a place of a gang, for good: nothing is returned, and nothing done, where it has another one, where the
        code has changed on disk since it was imported ahead, or where it was idle and does not see the place's GPUs,
        which are those that are `visible` there.

        Returns host:port at which a process group may meet, always the same; the first worker's is used. Torch is
        imported here, which takes seconds, a minute on a busy machine: the dispatcher still holds the lease.
        """
        place = f"{lease.job_id}/{lease.attempt}/{rank}"
        if self._place not in ("", place) or (not self._place and self._is_outdated()):
            return ""
        if not self._place:
            self._settings, self._lease, self._rank, self._place = settings, lease, rank, place
        if not self._meeting_point:
            # Not before `get_ready` has ended: Ray would take `run`, which comes next, out of the process' title.
            with self._importing:
                for module in self.needed:
                    importlib.import_module(module)
            if visible is not None:
                see(visible)
                if self._was_idle and not self._has_gpus():
                    return ""  # what it has imported has looked for some too early; one that is started now may see
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

    def _has_gpus(self) -> bool:
        """Whether torch sees any; with the first look CUDA begins in this process."""
        return bool(importlib.import_module("torch").cuda.is_available())

    def _is_outdated(self) -> bool:
        return bool(self._written) and sources.written() != self._written

    def _leave(self) -> None:
        if not self._place:
            os._exit(0)  # nobody waits for it, and its node may be waiting to end
        self._leaving.set()

    def _run_share(self, meeting_point: str) -> None:
        from workers.attempt.process_group import run_worker  # noqa: PLC0415 # torch, after the lease is known

        own_address = ray.util.get_node_ip_address()
        run_worker(self._settings, self._lease, self._rank, meeting_point, own_address, _end_process, self._leaving)


def _end_process() -> None:
    # Not an exception: the training thread may be deep in a kernel, and must not write a thing once it returns.
    log.error("the lease is lost: this worker ends here")
    os._exit(70)
