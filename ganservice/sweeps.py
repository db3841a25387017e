"""Sweeps: what anyone may look at of the sweeps in Redis, and how their jobs stand."""

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ganservice.broker import ROOT
from ganservice.errors import JobNotFound, JobUnreadable
from ganservice.evaluation import QUALITY_NUMBER, Evaluation, Protocol, comparable, full_name
from ganservice.job import Job, State
from ganservice.job_hash import FORMAT
from ganservice.job_list import WORD
from ganservice.job_records import PAGE_MEMBERS, are_numbers, job_key, pages
from ganservice.model import JobId, Model, Name, Text, Time
from ganservice.spec import MAX_SPEC_BYTES, TrainSpec
from ganservice.sweep import MAX_JOBS, Place, SweepSpec, places
from ganservice.sweep_list import SweepHeading, SweepList, known_state, sweep_jobs_key, sweep_key, unknown_sweep
from ganservice.sweep_plan import Child, Finding

# Of how the jobs of a sweep stood, as JSON, and of what was found of all of them, which is the most of that.
MAX_CHILDREN_BYTES = 4 * 1024 * 1024
MOST_FINDINGS = 40_000
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
    protocol: Name | None = None  # the digest of that by which its jobs compare, from the first finding on
    children: tuple[Child, ...] = ()  # how its jobs stood when one of them was last over

    @property
    def measure(self) -> str:
        """The full name of the number by which its jobs compare."""
        return full_name(QUALITY_NUMBER, self.spec.judging.network)

    @property
    def heading(self) -> SweepHeading:
        """What the list shows of it."""
        return SweepHeading(
            id=self.id,
            state=self.state,
            settings=len(self.spec.settings()),
            seeds=self.spec.seeds,
            submitted_at=self.submitted_at,
            finished_at=self.finished_at,
            user=self.user,
            cancel_requested=self.cancel_requested,
        )


class Sweeps(SweepList):
    """The sweeps of one Redis. Safe to share between threads."""

    def sweep(self, sweep_id: str) -> Sweep:
        """A sweep as it stands. Raises JobNotFound, and JobUnreadable of one that another version wrote."""
        [fields] = self._read(("HGETALL", sweep_key(sweep_id)))
        if fields is not None and not fields:
            raise JobNotFound(unknown_sweep(sweep_id))
        return _sweep(sweep_id, fields or {})

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

        One that cannot be read stands as its state says; it ends as any job does, but for one that has halted.
        """
        if sweep.state.is_final:
            return sweep.children
        [fields] = self._read(("HGETALL", sweep_jobs_key(sweep.id)))
        ids = _places(sweep.spec, fields or {})
        jobs = {job.id: (job, job.training) for job in self.read(ids.values()) if job.training}
        unread = self._unreadable([job_id for job_id in ids.values() if job_id not in jobs])
        there = [job_id for job_id in ids.values() if job_id in jobs or job_id in unread]
        # In this order: an evaluation that ends in between is in one of them at least.
        under_way = self._under_way(there)
        findings = self._findings(sweep, there)
        gone = {child.job_id: child for child in sweep.children if child.is_over}
        children = [
            _child(place, *jobs[job_id], findings.get(job_id, ()), under_way[job_id])
            if job_id in jobs
            else unread[job_id].child(place, sweep.spec, findings.get(job_id, ()), under_way[job_id])
            if job_id in unread
            else gone.get(job_id, Child(place=place, job_id=job_id))
            for place, job_id in ids.items()
        ]
        return tuple(sorted(children, key=lambda child: (child.place.setting, child.place.seed)))

    def _unreadable(self, ids: Sequence[str]) -> dict[str, "_UnreadableJob"]:
        """Those of these jobs that are there."""
        found: dict[str, _UnreadableJob] = {}
        for page in pages(ids, PAGE_MEMBERS):
            rows = self._read(
                *(("EXISTS", job_key(job_id)) for job_id in page),
                *(("HMGET", job_key(job_id), *UNREADABLE_FIELDS) for job_id in page),
            )
            for job_id, is_there, row in zip(page, rows[: len(page)], rows[len(page) :], strict=True):
                if is_there:
                    found[job_id] = _UnreadableJob(job_id, *(row or [None] * len(UNREADABLE_FIELDS)))
        return found

    def look_at_sweep(self, sweep_id: str) -> tuple[Sweep, tuple[Child, ...]]:
        """A sweep, and how its jobs stand."""
        sweep = self.sweep(sweep_id)
        return sweep, self.children(sweep)

    def protocol_of(self, sweep: Sweep) -> str | None:
        """The digest of the protocol by which its jobs compare, once anything was found of them under it."""
        if sweep.protocol is None:
            alike = self._comparable(sweep, self.sweep_jobs(sweep.id))
            return alike[0].protocol.digest if alike else None
        return sweep.protocol

    def _findings(self, sweep: Sweep, job_ids: Iterable[str]) -> dict[str, tuple[Finding, ...]]:
        """What was found of each job, by its id."""
        found: dict[str, list[Finding]] = {}
        for each in self._comparable(sweep, job_ids):
            found.setdefault(each.job_id, []).append(Finding(images=each.images, quality=each.quality))
        return {job_id: tuple(findings) for job_id, findings in found.items()}

    def _comparable(self, sweep: Sweep, job_ids: Iterable[str]) -> list[Evaluation]:
        """Those of the evaluations of its jobs that were done as the sweep asks, and compare."""
        found = itertools.chain.from_iterable(self.evaluations_of(job_ids).values())
        asked = [evaluation for evaluation in found if _is_as_asked(evaluation.protocol, sweep.spec)]
        if sweep.protocol is None:
            return comparable(asked)
        return [each for each in asked if each.has_quality and each.protocol.digest == sweep.protocol]

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


def _is_as_asked(protocol: Protocol, spec: SweepSpec) -> bool:
    """Whether an evaluation was done as the sweep says, and not as somebody has asked for it besides."""
    judging = spec.judging
    samples = min(judging.samples, protocol.real) if spec.base.recipe.super_resolution else judging.samples
    of_file = judging.weights is None or judging.weights.sha256 == protocol.network_digest
    asked = (judging.network, judging.split, judging.seed, judging.truncation, samples)
    return of_file and asked == (
        protocol.network, protocol.split, protocol.seed, protocol.truncation, protocol.samples,
    )  # fmt: skip


UNREADABLE_FIELDS = ("state", "format", "halted", "attempt", "until_images", "images_trained")


@dataclass(frozen=True)
class _UnreadableJob:
    """What is taken from a job that another version wrote, or another hand has damaged."""

    id: str
    state: str | None
    format: str | None
    halted: str | None
    attempt: str | None
    until_images: str | None
    images_trained: str | None

    def child(self, place: Place, spec: SweepSpec, findings: tuple[Finding, ...], under_way: int) -> Child:
        """How it stands. One of a newer release has not halted: that release lets it go on."""
        is_newer = (_number(self.format) or 1) > FORMAT
        return Child(
            place=place,
            job_id=self.id,
            state=known_state(self.state) or State.FAILED,
            unreadable=True,
            halted=self.halted == "1" and not is_newer,
            has_begun=bool(_number(self.attempt)),
            until_images=_number(self.until_images) or spec.base.images,
            step_images=spec.base.recipe.images_per_step,
            trained_images=_number(self.images_trained) or 0,
            under_way=under_way,
            findings=findings,
        )


def _number(text: str | None) -> int | None:
    return int(text) if text and are_numbers(text) else None


def _child(place: Place, job: Job, training: TrainSpec, findings: tuple[Finding, ...], under_way: int) -> Child:
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
            protocol=fields.get("protocol"),
            children=stood,
            **values,
        )
    except (KeyError, ValueError, RecursionError) as error:
        raise JobUnreadable(
            f"{sweep_id}: another version of ganservice wrote this sweep, which this one cannot read; it can be "
            "cancelled and deleted all the same"
        ) from error
