"""The library's client: what `ganctl` does with jobs, for programs and notebooks."""

import itertools
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import Field

from ganservice.arguments import Words, checked, one_of
from ganservice.artifacts import ArtifactStore
from ganservice.bundle import load
from ganservice.continuation import bound, resolved
from ganservice.doubts import doubts
from ganservice.errors import RequestError
from ganservice.evaluation import Evaluation
from ganservice.evaluation_request import evaluation_spec
from ganservice.job import Health, Job, State
from ganservice.job_end import await_end
from ganservice.job_handle import JobHandle, Which
from ganservice.job_list import ME, Wanted
from ganservice.job_search import locate_generator
from ganservice.queue import JobQueue
from ganservice.reports import Table, known_reports, report_table, stored_reports
from ganservice.settings import Settings
from ganservice.spans import span_s
from ganservice.spec import JobSpec, TrainSpec
from ganservice.spec_file import make_spec
from ganservice.submissions import once_key
from ganservice.sweep_handle import SweepHandle
from ganservice.sweep_request import make_sweep, resolved_sweep

if TYPE_CHECKING:
    from workers.generator import Generator

log = logging.getLogger(__name__)

E = TypeVar("E", bound=StrEnum)
# A job by its id, the beginning of one, a name, or what `Client.submit` returned.
JobRef = Annotated[str | JobHandle, one_of("the id or name of a job, or a JobHandle", str, JobHandle)]
Source = Annotated[
    str | os.PathLike[str] | JobHandle,
    one_of("the id or name of a job, a JobHandle, or a folder", str, os.PathLike, JobHandle),
]
# Values of each factor of a sweep, by dotted key.
Factors = Mapping[str, Sequence[Any]]
Spec = Annotated[
    str | os.PathLike[str] | Mapping[str, Any] | TrainSpec,
    one_of("a spec file, a dict or a TrainSpec", str, os.PathLike, Mapping, TrainSpec),
]


class Client:
    """A service, as a program or a notebook uses it. Safe to share between threads.

    A job is named by its id, the beginning of one, a name, which means its newest job, or `@last`; or by a `JobHandle`.

    Every method raises BrokerOutage or StoreOutage where Redis or the store does not do what it is asked, NotConfigured
    where it is not known where they are, JobNotFound where no job is meant, and RequestError where an argument is not
    what it is said to be. All of these, and what is listed with
    each method, are a `GanServiceError`: one line that says what was wrong and what to do.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Without settings those of the environment and of the stack that `ganctl up` has started; nothing is
        contacted yet.

        Raises:
            SettingsInvalid: a variable of the environment has an impossible value.
            NotConfigured: no broker is known.
        """
        self._settings = settings or Settings()
        self._queue = JobQueue(self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to Redis."""
        self._queue.close()

    @cached_property
    def _store(self) -> ArtifactStore:
        return ArtifactStore(self._settings)

    # What changes jobs

    @checked
    def submit(  # noqa: PLR0913 # by keyword, as the options of `ganctl submit`
        self,
        spec: Spec,
        *,
        name: str | None = None,
        tags: Words = (),
        note: str = "",
        set: Mapping[str, Any] | None = None,  # noqa: A002 # as `ganctl submit --set`
        origin: str | None = None,
        weights_only: bool = False,
        after: JobRef | None = None,
        idempotency_key: str | None = None,
        once: bool = False,
    ) -> JobHandle:
        """Put a training into the queue: a spec file, the same as a dict, or a `TrainSpec`.

        `name`, `tags` and `note` take the place of the spec's, `set` of any other of its values, by dotted key:
        `{"recipe.batch_size": 64}`. With `origin`, JOB, JOB@final, JOB@best or JOB@IMAGES, the training goes on from a
        checkpoint, with `weights_only` from its weights alone. It waits until the job `after` has succeeded, and is
        cancelled if that one fails or is cancelled. A second call with the same `idempotency_key`, or with `once` and
        the same spec, returns the job of the first.

        Raises:
            SpecInvalid: the spec has a mistake; the text names the key, what was found and what was expected.
            DataMissing: the store does not hold the data set.
            ArtifactMissing: there is no such checkpoint to go on from.
            RequestError: the request does not fit, or the quota allows no more, or `after` has failed or is cancelled.
        """
        if once and idempotency_key:
            raise RequestError("once: is a key of its own; leave it or idempotency_key out")
        if weights_only and not origin:
            raise RequestError("weights_only: expected together with origin")
        values: dict[str, Any] = {"name": name, "tags": list(tags) or None, "note": note or None}
        values = {key: value for key, value in values.items() if value is not None} | dict(set or {})
        made = self._made(spec, values, origin, weights_only=weights_only)
        predecessor = None if after is None else self._id(after)
        return self._submit(made, idempotency_key, once, predecessor)

    @checked
    def submit_all(
        self, specs: Sequence[Spec], *, idempotency_keys: Sequence[str] = (), once: bool = False
    ) -> list[JobHandle]:
        """Put many trainings into the queue as `submit` does one, in one round trip for each hundred of them. There are
        as many `idempotency_keys` as specs, or none.

        Raises:
            SpecInvalid, DataMissing: as `submit`; nothing is submitted.
            RequestError: one of them is refused, as by `submit`; all others are submitted.
        """
        if once and idempotency_keys:
            raise RequestError("once: is a key of its own; leave it or idempotency_keys out")
        if idempotency_keys and len(idempotency_keys) != len(specs):
            raise RequestError(
                f"idempotency_keys: found {len(idempotency_keys)}, expected {len(specs)}, as many as specs"
            )
        made = bound([make_spec(spec, {}) for spec in specs], self._store)
        for each in made:
            _tell_doubts(each)
        keys = [once_key(spec) for spec in made] if once else idempotency_keys
        submitted = self._queue.submit_all(list(itertools.zip_longest(made, keys)))
        return [JobHandle(self, job_id) for job_id, _ in submitted]

    @checked
    def sweep(  # noqa: PLR0913 # by keyword, as the options of `ganctl sweep`
        self,
        spec: Spec,
        *,
        grid: Factors | None = None,
        choice: Factors | None = None,
        uniform: Factors | None = None,
        log_uniform: Factors | None = None,
        trials: int | None = None,
        draw_seed: int = 0,
        seeds: int = 1,
        halving: int | None = None,
        budget: str | None = None,
        name: str | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 # as `ganctl sweep --set`
        origin: str | None = None,
        weights_only: bool = False,
        idempotency_key: str | None = None,
    ) -> SweepHandle:
        """Have a training run in many settings, each with several seeds, as `ganctl sweep` does.

        Factors are given by dotted key: `grid` and `choice` with their values, `uniform` and `log_uniform` with the
        least and the most. A grid has every combination; of the others `trials` settings are drawn. With `halving`,
        one of so many settings goes on from each rung of images; `budget` is "2M-images" or "1.5-GPU-hours". A
        repeat with the same `idempotency_key` gives the same sweep.

        Raises:
            SpecInvalid: it cannot be a sweep, or one of its jobs cannot be; nothing is submitted.
            DataMissing, ArtifactMissing: as `submit`.
            RequestError: the user has as many sweeps as may be, or the key belongs to another one or to a job.
        """
        values = ({"name": name} if name else {}) | dict(set or {})
        made = make_sweep(
            make_spec(spec, values),
            grid=grid,
            choice=choice,
            uniform=uniform,
            log_uniform=log_uniform,
            trials=trials,
            draw_seed=draw_seed,
            seeds=seeds,
            halving=halving,
            budget=budget,
        )
        found = resolved_sweep(made, self._queue, self._store, origin, weights_only=weights_only, tell=log.warning)
        sweep_id, _ = self._queue.submit_sweep(found, idempotency_key)
        return SweepHandle(self._queue, sweep_id)

    @checked
    def evaluate(
        self,
        source: Source,
        checkpoint: Which | int | None = None,
        *,
        cpus: int = 1,
        once: bool = False,
        **judging: Any,
    ) -> JobHandle:
        """Have a checkpoint of a training judged by a job, or the generator in a fetched folder.

        Without `checkpoint` the newest one; a number means images. `judging` are the keys of `judging:` in a spec:
        samples, measures, network, scaling, split, seed, truncation; and `weights` and `sha256` of the file of
        inception_v3 or onnx. What it finds is in `evaluations` of the training.

        Raises:
            ArtifactMissing: there is no such checkpoint.
            RequestError: what is asked for does not fit.
            DigestMismatch: the folder's files are not those that were published.
        """
        which = "" if checkpoint is None else str(checkpoint)
        spec = evaluation_spec(self._queue, self._store, _word(source), which, cpus=cpus, **judging)
        return self._submit(spec, None, once)

    @checked
    def cancel(self, ref: JobRef, *, now: bool = False) -> State:
        """Cancel a job: a running one stops after a checkpoint, or at once with `now`. Returns the state it is in."""
        return self._queue.cancel(self._id(ref), now=now)

    @checked
    def retry(self, ref: JobRef) -> None:
        """Put a failed or cancelled job back into the queue; it goes on from its last checkpoint.

        Raises:
            IllegalTransition: it is neither.
            RequestError: its user has as many jobs in the queue as the quota allows.
        """
        self._queue.retry(self._id(ref))

    def _made(
        self, spec: Spec, values: Mapping[str, Any], origin: str | None = None, *, weights_only: bool = False
    ) -> TrainSpec:
        """The spec of a training with these values, with what it names in the store; what is doubtful of it is told."""
        made = resolved(make_spec(spec, values), self._queue, self._store, origin, weights_only)
        _tell_doubts(made)
        return made

    def _submit(self, spec: JobSpec, idempotency_key: str | None, once: bool, after: str | None = None) -> JobHandle:
        job_id, _ = self._queue.submit(spec, once_key(spec, after) if once else idempotency_key, after=after)
        return JobHandle(self, job_id)

    # What tells of jobs

    @checked
    def job(self, ref: JobRef) -> JobHandle:
        """A handle to a job that is there already."""
        return JobHandle(self, self._id(ref))

    @checked
    def find_sweep(self, sweep_id: str) -> SweepHandle:
        """A handle to a sweep that is there already, by its id or the beginning of one."""
        found = self._queue.find_sweep(sweep_id)
        return SweepHandle(self._queue, self._queue.sweep(found or sweep_id).id)

    @checked
    def get(self, ref: JobRef) -> Job:
        """A job as it stands. Raises JobUnreadable where another version of ganservice wrote it."""
        return self._queue.get(self._id(ref))

    @checked
    def wait(self, ref: JobRef, timeout_s: float | None = None, *, healthy: bool = False) -> Job:
        """Wait until a job has succeeded, and return it. Outages of Redis are waited out.

        Raises:
            JobFailed, JobCancelled: it has not succeeded.
            JobReserved: with `healthy`, it has, and there is something to be said against it.
            NotInTime: after `timeout_s` it was not finished. It goes on.
        """
        return await_end(self._queue, self._id(ref), timeout_s, healthy)

    @checked
    def metrics(self, ref: JobRef) -> Table:
        """A row for each report of a training, in the order of `images`, whatever state it is in.

        Keys and units are those of `Progress`: images, step, loss_g, loss_d, ...; None of what was not measured. Of a
        training that runs, the reports since what it stored last are missing but for the newest.
        """
        job = self.get(ref)
        return report_table(known_reports(stored_reports(self._store, job.id, log.warning), job))

    @checked
    def evaluations(self, ref: JobRef) -> Sequence[Evaluation]:
        """All that was found of a training's checkpoints, in the order of their images."""
        return self._queue.evaluations(self._id(ref))

    @checked
    def grid(self, ref: JobRef) -> bytes | None:
        """The newest sample grid of a training, PNG; None before the first.

        Raises:
            DigestMismatch: it is damaged.
        """
        return self._store.latest_sample_grid(self._id(ref))

    # What a training made

    @checked
    def fetch(self, ref: JobRef, into: str | os.PathLike[str] | None = None, checkpoint: Which | None = None) -> Path:
        """Download a generator into a new folder, `./JOB` unless named, check every digest, and return the folder.

        It is the best that was evaluated, or else the last, unless `checkpoint` says which.

        Raises:
            ArtifactMissing: the job published none, or none such.
            ArtifactExists: the folder is there already.
            DigestMismatch, DiskFull: nothing was made.
        """
        job_id, key = locate_generator(self._settings, self._store, _word(ref), checkpoint)
        folder = Path(into or job_id)
        self._store.fetch_generator(key, folder)
        return folder

    @checked
    def load(self, ref: JobRef) -> "Generator":
        """A job's generator, ready to draw from; see `ganservice.load`."""
        return load(_word(ref), self._settings)

    @checked
    def list(  # noqa: PLR0913 # by keyword, as the options of `ganctl list`
        self,
        *,
        name: str | None = None,
        kind: Literal["train", "evaluate"] | None = None,
        states: Words = (),
        healths: Words = (),
        user: str | None = None,
        tags: Words = (),
        since: float | str | None = None,
        limit: Annotated[int, Field(ge=1)] = 50,
    ) -> Sequence[Job]:
        """The newest jobs, newest first; of what is given only such: with a name or id like "exp-*", in one of these
        states or of these healths, with all of these tags, of this `user`, where "me" is yourself,
        and submitted at the Unix time `since` or later, or so long ago at most: "2d".

        Raises:
            RequestError: there is no such kind, state or health; `since` is no time.
        """
        wanted = Wanted(
            pattern=name,
            kind=kind,
            user=self._queue.me() if user == ME else user,
            states=_members(State, states, "states"),
            since=_time(since) if isinstance(since, str) else since,
            healths=_members(Health, healths, "healths"),
            tags=frozenset(tags),
        )
        return self._queue.find(wanted, limit).jobs

    def _id(self, ref: JobRef) -> str:
        return ref.id if isinstance(ref, JobHandle) else self._queue.resolve(ref)


def _tell_doubts(spec: TrainSpec) -> None:
    for doubt in doubts(spec):
        log.warning("%s: %s", spec.name, doubt)


def _word(ref: Source) -> str:
    return ref.id if isinstance(ref, JobHandle) else os.fspath(ref)


def _members(kind: type[E], words: Iterable[E | str], name: str) -> frozenset[E]:
    """The members of a kind that are meant; without words all of them."""
    try:
        return frozenset(map(kind, words)) or frozenset(kind)
    except ValueError as error:
        raise RequestError(f"{name}: {error}; expected some of: {', '.join(kind)}") from error


def _time(since: str) -> float:
    try:
        return time.time() - span_s(since)
    except ValueError as error:
        raise RequestError(f"since: {error}, or a Unix time") from error
