"""Watch: looks all the time whether a part of the stack has ended, failed or grown, and whether sound jobs succeed."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ganservice.errors import GanServiceError
from ganservice.job import Job
from ganservice.queue import JobQueue
from ganservice.spec_file import parse_spec
from tests.hostile.service import SOUND, Service

LOOK_S, SCRAPE_EVERY_S = 1.0, 10.0
SOUND_JOB_S = 600.0
# What the dispatcher and the exporter may hold at most, MB; both begin below 250.
MOST_MB = {"dispatcher": 1_000.0, "exporter": 600.0}
TROUBLE = re.compile(r"Traceback \(most recent call last\)|unforeseen|panic: |fatal error: |=== REDIS BUG REPORT")
SOUND_SPEC = {
    "name": SOUND,
    "images": 640,
    "report_every_images": 320,
    "recipe": {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.02},
        "latent_size": 4,
        "generator": {"kind": "mlp", "widths": [16]},
        "discriminator": {"kind": "mlp", "widths": [16]},
        "batch_size": 32,
    },
}


class Watch:
    """Samples of a run; `violations` are those of what must hold at every moment."""

    def __init__(self, service: Service, sound_every_s: float, now_is_fed: Callable[[], str]) -> None:
        self._service = service
        self._sound_every_s = sound_every_s
        self._now_is_fed = now_is_fed
        self._pids = service.pids()
        self._read: dict[Path, int] = {}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._look, name="watch"),
            threading.Thread(target=self._submit, name="sound jobs"),
        ]
        self.violations: dict[str, str] = {}  # what was fed when each was first seen
        self.memory_mb: dict[str, list[float]] = {part: [] for part in MOST_MB}
        self.scrapes, self.slowest_scrape_s, self.tracebacks, self.restarts = 0, 0.0, 0, 0
        self.sound: list[str] = []
        self._sound_runs = False

    def __enter__(self) -> Self:
        self._read_logs()  # what is said at a start is another matter
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self.look_once()

    def note(self, what: str) -> None:
        """Note what must not be, once."""
        self.violations.setdefault(what, self._now_is_fed())

    def _look(self) -> None:
        scraped_at = 0.0
        while not self._stopping.wait(LOOK_S):
            self.look_once()
            if time.monotonic() - scraped_at > SCRAPE_EVERY_S:
                scraped_at = time.monotonic()
                self._scrape()

    def look_once(self) -> None:
        """Look at processes, logs and memory."""
        if restarts := self._service.restarts():
            self.note(f"a part was started again: {restarts[:300]}")
        for part, pid in self._service.pids().items():
            if pid != self._pids.get(part):
                self._pids[part], self.restarts = pid, self.restarts + 1
                self.note(f"{part} is another process than before")
        for part, most in MOST_MB.items():
            self.memory_mb[part].append(self._service.memory_mb(part))
            if self.memory_mb[part][-1] > most:
                self.note(f"{part} holds more than {most:,.0f} MB")
        self._read_logs()

    def _scrape(self) -> None:
        if self._service.calm.locked() and not self._sound_runs:
            return  # what all jobs share is damaged for a moment, and the exporter may say so
        started = time.monotonic()
        try:
            page = self._service.scrape()
        except OSError as error:
            self.note(f"the exporter does not answer: {error}")
            return
        self.scrapes += 1
        self.slowest_scrape_s = max(self.slowest_scrape_s, time.monotonic() - started)
        if "broker_up 1.0" not in page and (self._sound_runs or not self._service.calm.locked()):
            self.note("a scrape says that the broker is down")

    def _read_logs(self) -> None:
        for path in self._service.logs():
            try:
                with path.open("rb") as log:
                    size = log.seek(0, 2)
                    log.seek(self._read.get(path, 0) if self._read.get(path, 0) <= size else 0)
                    lines = log.read().decode(errors="replace").splitlines()
                    self._read[path] = log.tell()
            except OSError:  # turned over meanwhile
                continue
            for place, line in enumerate(lines):
                if TROUBLE.search(line):
                    self.tracebacks += 1
                    told = "\n".join(lines[max(0, place - 1) : place + 40])
                    self.note(f"{path.name}: {told[:4_000]}")

    def _submit(self) -> None:
        while True:
            with self._service.calm:
                self._sound_job()
            if self._stopping.wait(self._sound_every_s):
                break
        with self._service.calm:
            self._sound_job()

    def _sound_job(self) -> None:
        self._sound_runs = True
        try:
            self._await_sound_job()
        finally:
            self._sound_runs = False

    def _await_sound_job(self) -> None:
        started = time.monotonic()
        try:
            with JobQueue(self._service.settings) as queue:
                job_id, _ = queue.submit(parse_spec(SOUND_SPEC, "the watch"))
                while not (job := queue.get(job_id)).state.is_final and time.monotonic() < started + SOUND_JOB_S:
                    time.sleep(0.5)
        except GanServiceError as error:
            self.note(f"a sound job: {error}")
            return
        self.sound.append(f"{job.state} after {time.monotonic() - started:.0f} s")
        if job.state != "succeeded":
            self.note(f"a sound job is {_standing(job)}")


def _standing(job: Job) -> str:
    return f"{job.id} {job.state} after {SOUND_JOB_S:.0f} s at most: {job.reason} {job.message} {job.waiting_for}"
