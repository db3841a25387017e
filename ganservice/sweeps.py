"""Sweeps: what anyone may look at of the sweeps in Redis, and how their jobs stand.

{gan}:sweep:ID         hash    the fields of `Sweep`; times in ms
{gan}:sweep_jobs:ID    hash    the jobs of a sweep, by their places in it
{gan}:sweeps           zset    all sweeps, by the time of their submission
{gan}:live_sweeps      set     those that are not over
"""

import contextlib
from collections.abc import Sequence
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter

from ganservice.broker import ROOT
from ganservice.errors import JobNotFound, JobUnreadable, RequestError
from ganservice.evaluation import Evaluation, comparable
from ganservice.job import Job, State
from ganservice.job_list import WORD, JobList
from ganservice.job_records import are_numbers, pages
from ganservice.mistakes import one_line
from ganservice.model import JobId, Model, Name, Text, Time, cut
from ganservice.spec import MAX_SPEC_BYTES, TrainSpec
from ganservice.sweep import MAX_JOBS, Place, SweepSpec, places
from ganservice.sweep_plan import Child, Finding

# Of how the jobs of a sweep stood, as JSON, and of what was found of all of them, which is the most of that.
MAX_CHILDREN_BYTES = 4 * 1024 * 1024
MOST_FINDINGS = 40_000
# Sweeps that are told of at once.
MOST_SWEEPS = 1_000
_CHILDREN: TypeAdapter[tuple[Child, ...]] = TypeAdapter(Annotated[tuple[Child, ...], Field(max_length=MAX_JOBS)])


class Sweep(Model):
    """A submitted sweep and all that is known of it. Times are Unix times in s."""

    id: JobId
    spec: SweepSpec
    state: State  # running, or how it ended
    user: Name | None = None
    submitted_at: Time
    finished_at: Time | None = None
    cancel_requested: bool = False
    waiting_for: Text | None = None  # why its jobs are not submitted yet
    message: Text | None = None  # how it ended, in words
    measure: Name | None = None  # the number by which they compared then
    children: tuple[Child, ...] = ()  # how its jobs stood when one of them was last over


class Sweeps(JobList):
    """The sweeps of one Redis. Safe to share between threads."""

    def sweep(self, sweep_id: str) -> Sweep:
        """A sweep as it stands. Raises JobNotFound, and JobUnreadable of one that another version wrote."""
        [fields] = self._read(("HGETALL", ROOT + "sweep:" + sweep_id))
        if not fields:
            raise JobNotFound(f"no sweep has the id {one_line(cut(sweep_id, 100))}; see `ganctl sweeps`")
        return _sweep(sweep_id, fields)

    def find_sweep(self, reference: str) -> str | None:
        """The id of the sweep that a word means, its id or the beginning of one; None where it means none.

        Raises:
            RequestError: several sweeps begin so.
        """
        if not reference or not WORD.fullmatch(reference):
            return None
        with self._translated():
            if self._redis.exists(ROOT + "sweep:" + reference):
                return reference
            if self._redis.exists(f"{ROOT}job:{reference}", f"{ROOT}named:{reference}"):
                return None
        found = [each for each in self.sweep_ids() if each.startswith(reference)]
        if len(found) > 1:
            raise RequestError(
                f"{reference} is the beginning of several sweeps: {', '.join(found[:5])}; give more of the id"
            )
        return found[0] if found else None

    def sweep_ids(self) -> list[str]:
        """The ids of the newest sweeps, newest first."""
        with self._translated():
            ids = cast(list[str], self._redis.zrevrange(ROOT + "sweeps", 0, MOST_SWEEPS - 1))
            with self._redis.pipeline(transaction=False) as pipeline:
                for each in ids:
                    pipeline.exists(ROOT + "sweep:" + each)
                return [each for each, is_there in zip(ids, pipeline.execute(), strict=True) if is_there]

    def sweeps(self) -> list[Sweep]:
        """The newest sweeps, newest first, less those that another version wrote."""
        found = []
        for sweep_id in self.sweep_ids():
            with contextlib.suppress(JobUnreadable, JobNotFound):
                found.append(self.sweep(sweep_id))
        return found

    def live_sweep_ids(self) -> list[str]:
        """The ids of the sweeps that are not over."""
        [ids] = self._read(("SMEMBERS", ROOT + "live_sweeps"))
        return sorted(ids or ())

    def live_sweep_bases(self) -> dict[str, TrainSpec | None]:
        """What the sweeps that are not over train in their settings, by their ids; None of one that another version
        wrote."""
        found: dict[str, TrainSpec | None] = {}
        for sweep_id in self.live_sweep_ids():
            with contextlib.suppress(JobNotFound):
                try:
                    found[sweep_id] = self.sweep(sweep_id).spec.base
                except JobUnreadable:
                    found[sweep_id] = None
        return found

    def children(self, sweep: Sweep) -> tuple[Child, ...]:
        """How its jobs stand, in the order of their places; of a sweep that is over, and of jobs that are gone, as they
        stood then.

        Raises:
            JobUnreadable: another version wrote one of them.
        """
        if sweep.state.is_final:
            return sweep.children
        [fields] = self._read(("HGETALL", ROOT + "sweep_jobs:" + sweep.id))
        ids = _places(sweep.spec, fields or {})
        jobs = {job.id: job for job in self.read(ids.values())}
        for job_id in ids.values():
            if job_id not in jobs and self.knows(job_id):
                raise JobUnreadable(f"{job_id}: another version of ganservice wrote this job of {sweep.id}")
        found = self.evaluations_of(jobs)
        findings = _findings(comparable([evaluation for each in found.values() for evaluation in each]))
        under_way = self._under_way(list(jobs))
        gone = {child.job_id: child for child in sweep.children if child.is_over}
        children = [
            _child(place, jobs[job_id], findings.get(job_id, ()), under_way[job_id])
            if job_id in jobs
            else gone.get(job_id, Child(place=place, job_id=job_id))
            for place, job_id in ids.items()
        ]
        return tuple(sorted(children, key=lambda child: (child.place.setting, child.place.seed)))

    def look_at_sweep(self, sweep_id: str) -> tuple[Sweep, tuple[Child, ...], str | None]:
        """A sweep, how its jobs stand, and the full name of the number by which they compare."""
        sweep = self.sweep(sweep_id)
        children = self.children(sweep)
        return sweep, children, sweep.measure or self.measure(children)

    def measure(self, children: Sequence[Child]) -> str | None:
        """The full name of the number by which the jobs of a sweep compare; None before any was found."""
        found = self.evaluations_of(child.job_id for child in children)
        alike = comparable([evaluation for each in found.values() for evaluation in each])
        return alike[0].quality_name if alike else None

    def _under_way(self, ids: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for page in pages(ids, 100):
            rows = self._read(*(("HLEN", f"{ROOT}evaluations_under_way:{job_id}") for job_id in page))
            counts |= {job_id: row or 0 for job_id, row in zip(page, rows, strict=True)}
        return counts


def children_text(children: Sequence[Child]) -> str:
    """How the jobs of a sweep stand, as Redis keeps it: of findings, where there are very many, the best of each job
    and some between."""
    most = MOST_FINDINGS // max(len(children), 1)
    kept = (child.model_copy(update={"findings": _thinned(child.findings, most)}) for child in children)
    return _CHILDREN.dump_json(tuple(kept), exclude_defaults=True).decode()


def _thinned(findings: tuple[Finding, ...], most: int) -> tuple[Finding, ...]:
    """The best of these, and every so manieth, up to one more than `most`."""
    if len(findings) <= most:
        return findings
    best, stride = min(findings, key=lambda each: each.quality), -(-len(findings) // most)
    return tuple(each for at, each in enumerate(findings) if each is best or at % stride == 0)


def _places(spec: SweepSpec, fields: dict[str, str]) -> dict[Place, str]:
    """Jobs by place; what another hand has put there is left out."""
    texts = {str(place): place for place in places(spec)}
    return {texts[text]: job_id for text, job_id in fields.items() if text in texts and WORD.fullmatch(job_id)}


def _findings(alike: Sequence[Evaluation]) -> dict[str, tuple[Finding, ...]]:
    """What was found of each job, by its id."""
    found: dict[str, list[Finding]] = {}
    for each in alike:
        found.setdefault(each.job_id, []).append(Finding(images=each.images, quality=each.quality))
    return {job_id: tuple(findings) for job_id, findings in found.items()}


def _child(place: Place, job: Job, findings: tuple[Finding, ...], under_way: int) -> Child:
    training = job.training
    if training is None:
        raise JobUnreadable(f"{job.id}: a job of a sweep is a training")
    return Child(
        place=place,
        job_id=job.id,
        state=job.state,
        halted=job.halted,
        has_begun=job.attempt > 0,
        until_images=job.until_images or training.images,
        step_images=training.recipe.images_per_step,
        images=job.images,
        trained_images=job.images_trained,
        gpu_s=job.leased_s * training.resources.gpus + job.evaluations_gpu_s,
        under_way=under_way,
        findings=findings,
    )


def _sweep(sweep_id: str, fields: dict[str, str]) -> Sweep:
    try:
        children, values = fields.get("children"), dict[str, Any]()
        if len(fields["spec"]) > MAX_SPEC_BYTES or len(children or "") > MAX_CHILDREN_BYTES:
            raise ValueError("more is kept of it than any sweep has")
        for name in ("submitted_at", "finished_at"):
            if name in fields:
                if not are_numbers(fields[name]):
                    raise ValueError(f"{name} is no time")
                values[name] = int(fields[name]) / 1000
        spec = SweepSpec.model_validate_json(fields["spec"])
        stood = () if children is None else _CHILDREN.validate_json(children)
        if stood and not {child.place for child in stood} <= set(places(spec)):
            raise ValueError("a job has a place that the sweep has not")
        return Sweep(
            id=sweep_id,
            spec=spec,
            state=State(fields["state"]),
            user=fields.get("user"),
            cancel_requested=fields.get("cancel_requested") == "1",
            waiting_for=fields.get("waiting_for"),
            message=fields.get("message") or None,
            measure=fields.get("measure"),
            children=stood,
            **values,
        )
    except (KeyError, ValueError, RecursionError) as error:
        raise JobUnreadable(
            f"{sweep_id}: another version of ganservice wrote this sweep, which this one cannot read"
        ) from error
