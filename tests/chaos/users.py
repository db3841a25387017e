"""Users: submit jobs through the proxies, cancel and retry them, and do again what a lost second of Redis undid."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self, TypeVar

from ganservice.artifacts import ArtifactStore
from ganservice.errors import GanServiceError, JobNotFound
from ganservice.job import State
from ganservice.job_keys import attempt_of
from ganservice.manifest import MANIFEST, WEIGHTS, GeneratorManifest
from ganservice.patience import wait_out
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, JobSpec, Subject, TrainSpec, evaluation_name
from tests.chaos.watch import Watch
from tests.chaos.workload import DATA_SET, EVALUATED, EVALUATION, Twist, Wish, spec_of

Result = TypeVar("Result")

LOOK_S = 0.3
PATIENCE_S = 3_600.0
# A lost second of Redis may undo what was submitted in it.
LOST_S = 30.0


@dataclass
class Wanted:
    """A wish, the job that it became, and what came of it so far."""

    wish: Wish
    job_id: str
    submitted_at: float
    is_cancelled: bool = False
    is_retried: bool = False
    lost_ids: list[str] = field(default_factory=list)

    @property
    def endings(self) -> set[State]:
        """The states in which it may end."""
        if self.wish.twist in (Twist.CANCEL, Twist.CANCEL_NOW):
            return {State.CANCELLED, State.SUCCEEDED}
        return {State.SUCCEEDED}


class Users:
    """Keep `backlog` jobs unfinished, and do to each what its wish says."""

    def __init__(self, settings: Settings, watch: Watch, wishes: Iterator[Wish], backlog: int) -> None:
        self._settings = settings
        self._queue = JobQueue(settings)
        self._watch = watch
        self._wishes = wishes
        self._wish: Wish | None = None  # whose submission is under way
        self._backlog = backlog
        self._closing = threading.Event()
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="users")
        self.at_least = 0
        self.wanted: list[Wanted] = []
        self.twins: dict[str, str] = {}
        self.weights: dict[str, str] = {}
        self.trouble = ""
        self._evaluation: EvaluateSpec

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._queue.close()

    def close(self, at_least: int) -> None:
        """Submit no more, once there were so many."""
        self.at_least = at_least
        self._closing.set()

    def lose(self) -> None:
        """Know that Redis has lost its last moments."""
        self._lost.set()

    def train_twins(self, say: Callable[[str], None], recipes: set[str]) -> None:
        """Train one job of each recipe undisturbed, and keep the digests of what they publish."""
        store = ArtifactStore(self._settings)
        for recipe in sorted(recipes):
            self.twins[recipe] = self._queue.submit(self._fitted(spec_of(recipe, f"twin-{recipe}")))[0]
        for recipe, job_id in self.twins.items():
            started = time.monotonic()
            while not (job := self._queue.get(job_id)).state.is_final:
                time.sleep(0.2)
                if time.monotonic() - started > 60:
                    say(f"waits for {job_id}: {job.state}, {job.waiting_for or job.message or ''}")
                    started = time.monotonic()
            if job.state is not State.SUCCEEDED or not job.generator:
                raise RuntimeError(f"{job_id} is {job.state} though nothing disturbed it: {job.message}")
            self.weights[recipe] = weights_sha256(store, job.generator)
            say(f"twin {job_id}: {self.weights[recipe][:12]}")
        if EVALUATED in self.twins:
            self._evaluation = self._evaluation_of(self.twins[EVALUATED])

    def _fitted(self, spec: TrainSpec) -> JobSpec:
        if spec.recipe.pictures is None:
            return spec
        return ArtifactStore(self._settings).find_data_set(DATA_SET).fit(spec)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self._look()
            except GanServiceError as error:
                self.trouble = str(error)
            except Exception as error:  # noqa: BLE001 # whatever a user meets is to be told
                self._watch.note(f"a user's command raised {type(error).__name__}: {error}")

    def _look(self) -> None:
        if self._lost.is_set():
            self._lost.clear()
            self._submit_again()
        for wanted in self.wanted:
            self._twist(wanted)
        unfinished = sum(1 for job in self._watch.unfinished)
        is_wanted = not self._closing.is_set() or len(self.wanted) < self.at_least
        if is_wanted and unfinished < self._backlog:
            self._wish = self._wish or next(self._wishes)
            self.wanted.append(Wanted(self._wish, self._submit(self._wish), time.time()))
            self._wish = None

    def _submit(self, wish: Wish) -> str:
        spec = self._spec(wish)
        return self._patiently(lambda: self._queue.submit(spec, wish.idempotency_key)[0])

    def _submit_again(self) -> None:
        for wanted in self.wanted:
            if time.time() - wanted.submitted_at < LOST_S:
                job_id = self._submit(wanted.wish)
                if job_id != wanted.job_id:
                    wanted.lost_ids.append(wanted.job_id)
                    wanted.job_id = job_id

    def _spec(self, wish: Wish) -> JobSpec:
        if wish.recipe != EVALUATION:
            return self._fitted(spec_of(wish.recipe, f"{wish.recipe}-{wish.number}", wish.priority))
        return self._evaluation.model_copy(update={"priority": wish.priority})

    def _evaluation_of(self, job_id: str) -> EvaluateSpec:
        store, spec = ArtifactStore(self._settings), self._queue.get(job_id).spec
        assert isinstance(spec, TrainSpec)
        assert spec.evaluate
        key = store.checkpoint_keys(job_id)[0]
        images = max(store.checkpoints(job_id))
        subject = Subject(job_id=job_id, images=images, attempt=attempt_of(key), checkpoint=key)
        name, judging = evaluation_name(spec.name), spec.evaluate.judging
        return EvaluateSpec(name=name, recipe=spec.recipe, subject=subject, judging=judging)

    def _twist(self, wanted: Wanted) -> None:
        twist = wanted.wish.twist
        if twist is Twist.NOTHING or wanted.is_retried:
            return
        job = next((job for job in self._watch.unfinished if job.id == wanted.job_id), None)
        if job is not None and not wanted.is_cancelled:
            if job.state is State.RUNNING or not wanted.wish.waits_until_running:
                now = twist is Twist.CANCEL_NOW
                self._patiently(lambda: self._queue.cancel(wanted.job_id, now=now))
                wanted.is_cancelled = True
        elif job is None and twist is Twist.CANCEL_AND_RETRY:
            wanted.is_retried = self._retry(wanted.job_id)

    def _retry(self, job_id: str) -> bool:
        """Retry a cancelled job; whether there is nothing more to do."""
        try:
            state = self._patiently(lambda: self._queue.get(job_id)).state
        except JobNotFound:
            return False
        if state is State.CANCELLED:
            with contextlib.suppress(GanServiceError):  # an answer that was lost makes the second try illegal
                self._patiently(lambda: self._queue.retry(job_id))
        return state is State.SUCCEEDED

    def _patiently(self, call: Callable[[], Result]) -> Result:
        return wait_out(call, PATIENCE_S, lambda _: None, self._stopping.wait)


def weights_sha256(store: ArtifactStore, folder: str) -> str:
    """The digest of the weights in a published generator's folder."""
    manifest = GeneratorManifest.model_validate_json(store.objects.get(folder + MANIFEST))
    return manifest.files[WEIGHTS].sha256
