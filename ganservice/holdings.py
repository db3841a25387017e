"""Holdings: what each user has of the service now, against which quotas are held."""

from collections import defaultdict
from collections.abc import Iterable
from typing import cast

from ganservice.broker import ROOT
from ganservice.job_records import PAGE_HASHES, JobRecords, are_numbers, job_key, pages
from ganservice.model import Model


class Holding(Model):
    """The jobs of one user that wait and run, and the CPUs and GPUs that those that run have."""

    jobs_queued: int = 0
    jobs_running: int = 0
    cpus: int = 0
    gpus: int = 0


class Holdings(JobRecords):
    """What users have in one Redis. Safe to share between threads."""

    def of_users(self, names: Iterable[str] = ()) -> dict[str, Holding]:
        """What each of `names` has, and whoever has a job that runs or may run."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(Holding.model_fields, 0))
        for ids in pages(self.leases(), PAGE_HASHES):
            rows = self._read(*(("HMGET", job_key(job_id), "user", "cpus", "gpus") for job_id in ids))
            for user, *amounts in filter(None, rows):
                if user:
                    cpus, gpus = (int(text) if are_numbers(text) else 0 for text in amounts)
                    counts[user]["jobs_running"] += 1
                    counts[user]["cpus"] += cpus
                    counts[user]["gpus"] += gpus
        with self._translated():
            waiting = cast(set[str], self._redis.smembers(ROOT + "ready_users"))
            for user in {*names, *waiting, *counts}:
                counts[user]["jobs_queued"] = int(self._redis.scard(f"{ROOT}queued_of:{user}"))
        return {user: Holding(**found) for user, found in sorted(counts.items())}
