"""Prometheus exporter: a view of the queue, made anew at each scrape.

`python -m ganservice.exporter` serves it. A job has series while it waits among the first QUEUED_JOBS, while it runs,
and for FINISHED_JOB_SERIES_S after, a training also as long as an evaluation of it has; what was not measured has no
series. Of its own it keeps only what it last asked of the object store, and the jobs that have series, with what these
give, until Redis tells that they have changed.
"""

import os
import shutil
import threading
import time
from concurrent.futures import Future

from ganservice.errors import BrokerOutage, OutageKind
from ganservice.exporter.families import Families
from ganservice.exporter.job_series import JobSeries
from ganservice.exporter.quality_series import Qualities
from ganservice.exporter.service_series import add_dispatchers, add_outages, add_queue, add_release, add_store
from ganservice.job import Job, State
from ganservice.job_memory import JobMemory
from ganservice.leadership import Leadership
from ganservice.metrics import QUEUED_JOBS
from ganservice.probes import BrokerProbe, StoreProbe
from ganservice.settings import Settings
from ganservice.stack_file import SETTINGS_FILE
from ganservice.store_usage import StoreUsage

FINISHED_JOB_SERIES_S = 300.0
# The most impatient Prometheus here waits for 5 s.
LOOK_LIMIT_S = 4.0


class JobCollector:
    """All metrics of one queue."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = JobMemory(settings)
        self._leadership = Leadership(settings)
        self._broker_probe = BrokerProbe(settings)
        self._store_probe = StoreProbe(settings)
        self._store_usage = StoreUsage(settings)
        self._qualities = Qualities(self._jobs.evaluations_of)
        self._series = JobSeries()
        self._looking = threading.Lock()  # one look at a time
        # Only an embedded stack fills a disk of this machine.
        self._disk = settings.state_dir if os.access(settings.state_dir / SETTINGS_FILE, os.R_OK) else None

    def text(self) -> str:
        """Every metric, from one look at the queue, as Prometheus reads it."""
        started = time.perf_counter()
        outage: OutageKind | None = None
        try:
            families = self._look_in_time(started)
        except BrokerOutage as error:
            families, outage = Families(), error.kind
        families.add("broker_up", float(outage is None))
        add_release(families, self._settings)
        store = self._store_probe.look()
        add_store(families, store, self._store_usage.look())
        add_outages(families, broker=outage, store=store.outage)
        if self._disk:
            disk = shutil.disk_usage(self._disk)
            families.add("state_disk_free_bytes", disk.free)
            families.add("state_disk_size_bytes", disk.total)
        families.add("scrape_seconds", time.perf_counter() - started)
        return families.text

    def _look_in_time(self, started: float) -> Families:
        """What Redis knows. Raises BrokerOutage, of one that is silent before Prometheus waits no longer: it would hear
        nothing of all else, and take the exporter for down."""
        silence = BrokerOutage(f"Redis has not told all within {LOOK_LIMIT_S:g} s", OutageKind.UNREACHABLE)
        began = time.monotonic()
        if not self._looking.acquire(timeout=LOOK_LIMIT_S):
            raise silence
        found: Future[Families] = Future()

        def look() -> None:
            try:
                found.set_result(self._look(started))
            except BaseException as error:  # noqa: BLE001 # told by the future
                found.set_exception(error)
            finally:
                self._looking.release()

        threading.Thread(target=look, name="look", daemon=True).start()
        try:
            return found.result(max(0.0, LOOK_LIMIT_S - (time.monotonic() - began)))
        except TimeoutError:
            raise silence from None

    def _look(self, started: float) -> Families:
        """What Redis knows. Raises BrokerOutage."""
        families = Families()
        self._broker_probe.check()
        families.add("broker_round_trip_seconds", time.perf_counter() - started)
        now_s = self._jobs.now_s()
        jobs = self._jobs.list_jobs(tuple(State), now_s - FINISHED_JOB_SERIES_S, QUEUED_JOBS)
        jobs += self._jobs.read(_judged(jobs))
        self._jobs.forget()
        qualities = self._qualities.look(jobs)
        add_dispatchers(families, self._leadership, now_s)
        add_queue(families, self._jobs, jobs, now_s)
        self._series.add(families, jobs, qualities, now_s)
        return families


def _judged(jobs: list[Job]) -> list[str]:
    """The ids of trainings that are not among these jobs, and that evaluations among them judge: what is found of the
    quality of one may come long after its end."""
    known = {job.id for job in jobs}
    return sorted({job.subject.job_id for job in jobs if job.subject} - known)
