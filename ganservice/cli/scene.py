"""What `watch` looks at: a job with its events, evaluations and reports, read no more often than they change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ganservice.artifacts import ArtifactStore
from ganservice.cli.question import Question
from ganservice.errors import DigestMismatch, JobNotFound, JobUnreadable
from ganservice.evaluation import Evaluation
from ganservice.job import Event, EventKind, Job, Progress, State
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings

# How often is looked for what changes less often than the job itself.
SIDE_LOOK_S = 2.0
# Reports that are kept: far more than a line has letters.
MOST_REPORTS = 20_000
# Evaluation jobs that are looked at.
MOST_EVALUATION_JOBS = 3
# Of metrics that are read for their course alone; a larger file is left where it is.
METRICS_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Scene:
    """A job as it stands, and all that is shown beside it."""

    job: Job
    now_s: float  # by Redis' clock
    has_dispatcher: bool = True
    events: Sequence[Event] = ()
    evaluations: Sequence[Evaluation] = ()
    evaluation_jobs: Sequence[Job] = ()  # the first of those that are in the queue
    more_evaluation_jobs: int = 0
    reports: Sequence[Progress] = field(default=())
    store_trouble: str = ""  # why reports of earlier are not there

    @property
    def newest_grid(self) -> tuple[str, int] | None:
        """The id of the event that told of the newest sample grid, and its images, if there is one."""
        for event in reversed(self.events):
            if event.kind == EventKind.SAMPLES:
                images = event.detail.get("images")
                return event.id, images if isinstance(images, int) else 0
        return None


class Lookout:
    """Looks at a job again and again. Every method may raise BrokerOutage."""

    def __init__(self, settings: Settings, job_id: str) -> None:
        self._queue = JobQueue(settings)
        self._leadership = Leadership(settings)
        self._settings = settings
        self._job_id = job_id
        self._events: list[Event] = []
        self._evaluations: list[Evaluation] = []
        self._evaluated_at: float | None = None  # when those last changed
        self._evaluation_jobs: list[Job] = []
        self._more_evaluation_jobs = 0
        self._reports: list[Progress] = []
        self._earlier: Question[list[Progress]] | None = None
        self._side_looked_at = -SIDE_LOOK_S

    def look_at_job(self) -> Scene:
        """The job alone."""
        job = self._queue.get(self._job_id)
        # Who leads matters only to a job that nobody has taken yet.
        has_dispatcher = job.state is not State.QUEUED or self._leadership.leader() is not None
        return Scene(job, self._queue.now_s(), has_dispatcher)

    def look(self) -> Scene:
        """The job and all beside it."""
        bare = self.look_at_job()
        if time.monotonic() - self._side_looked_at >= SIDE_LOOK_S or bare.job.state.is_final:
            self._look_aside(bare.job)
            self._side_looked_at = time.monotonic()
        self._note(bare.job.progress)
        self._take_up_earlier_reports()
        return Scene(
            bare.job,
            bare.now_s,
            bare.has_dispatcher,
            tuple(self._events),
            tuple(self._evaluations),
            tuple(self._evaluation_jobs),
            self._more_evaluation_jobs,
            tuple(self._reports),
            self._earlier.trouble if self._earlier else "",
        )

    def ask_for_earlier_reports(self, store: ArtifactStore) -> Question[list[Progress]]:
        """Have the reports that the store has taken up when they are there; nobody waits for them."""
        self._earlier = Question(lambda: _earlier_reports(store, self._job_id))
        return self._earlier

    def close(self) -> None:
        """Ask the store no more."""
        if self._earlier:
            self._earlier.close()

    def _take_up_earlier_reports(self) -> None:
        if self._earlier and self._earlier.is_over and self._earlier.answer:
            since, self._reports, self._earlier = self._reports, self._earlier.answer, None
            for report in since:
                self._note(report)

    def _look_aside(self, job: Job) -> None:
        after = self._events[-1].id if self._events else "-"
        self._events += self._queue.events(self._job_id, after)
        if job.evaluated_at != self._evaluated_at:
            self._evaluations = self._queue.evaluations(self._job_id)
            self._evaluated_at = job.evaluated_at
        ids = self._queue.evaluation_jobs(self._job_id)
        self._evaluation_jobs = list(filter(None, map(self._job, ids[:MOST_EVALUATION_JOBS])))
        self._more_evaluation_jobs = len(ids[MOST_EVALUATION_JOBS:])

    def _job(self, job_id: str) -> Job | None:
        try:
            return self._queue.get(job_id)
        except (JobNotFound, JobUnreadable):
            return None

    def _note(self, report: Progress | None) -> None:
        """Take note of a report; it takes the place of those that a rollback, or a death, has made naught."""
        if report is None or (self._reports and self._reports[-1] == report):
            return
        while self._reports and self._reports[-1].images >= report.images:
            self._reports.pop()
        self._reports.append(report)
        del self._reports[:-MOST_REPORTS]


def _earlier_reports(store: ArtifactStore, job_id: str) -> list[Progress]:
    """The reports that the store has; none where they cannot be read, or are too many. Raises StoreOutage."""
    try:
        lines = store.metrics(job_id, METRICS_BYTES).splitlines()
        return [Progress.model_validate_json(line) for line in lines[-MOST_REPORTS:]]
    except (DigestMismatch, ValueError):
        return []
