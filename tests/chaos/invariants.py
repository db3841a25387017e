"""Invariants: what must hold once a run has come to rest, read from the event streams, Redis, the store and Ray."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import boto3
import redis

from ganservice.artifacts import ArtifactStore
from ganservice.job import Event, EventKind, Job, Reason, State
from ganservice.manifest import MANIFEST
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from tests.chaos.service import CPUS, DISPATCHERS, Say, Service
from tests.chaos.users import Users, Wanted, weights_sha256
from tests.chaos.watch import Violation, course
from tests.chaos.workload import spec_of

# What is not free after so long is taken for a leak: seconds on an idle machine, and Ray's own count lags.
LEAK_S = 60.0
# A job that has not moved for so long will not: it takes seconds on an idle machine.
STILL_S = 180.0
OURS = {Reason.ERROR, Reason.DATA, Reason.DIVERGED, Reason.UNHEALTHY}
# From each state, the state to which an event of this kind leads.
STEPS: dict[tuple[str, str], str] = {
    ("", EventKind.SUBMITTED): "queued",
    ("queued", EventKind.LEASED): "running",
    ("queued", EventKind.CANCELLED): "cancelled",
    ("running", EventKind.REQUEUED): "queued",
    ("running", EventKind.SUCCEEDED): "succeeded",
    ("running", EventKind.FAILED): "failed",
    ("running", EventKind.CANCELLED): "cancelled",
    # What was published and whose outcome nobody told may be finished, or set aside, while it waits.
    ("queued", EventKind.SUCCEEDED): "succeeded",
    ("queued", EventKind.FAILED): "failed",
    ("failed", EventKind.RETRIED): "queued",
    ("cancelled", EventKind.RETRIED): "queued",
}


def ended_wrongly(service: Service, users: Users) -> Iterator[Violation]:
    """What is wrong with the jobs: their ends, their events, what they published."""
    store = ArtifactStore(service.settings)
    with JobQueue(service.settings) as queue:
        jobs = {job.id: job for job in queue.list_jobs()}
        wanted = {each.job_id: each for each in users.wanted}
        for job_id in wanted.keys() - jobs.keys():
            yield Violation("the job is gone", job_id)
        for job in jobs.values():
            endings = wanted[job.id].endings if job.id in wanted else {State.SUCCEEDED}
            if job.state not in endings:
                expected = " or ".join(sorted(endings))
                yield Violation(f"it is {job.state} ({job.reason}: {job.message}), expected {expected}", job.id)
            yield from events_wrong(job, queue.events(job.id))
            if job.training:
                yield from _published_wrongly(job, store, _expected_weights(job, wanted.get(job.id), users))
        yield from _unknown_objects(store, jobs, users)


def events_wrong(job: Job, events: list[Event]) -> Iterator[Violation]:
    """What is wrong with the story that the events of a job tell."""
    state, attempt = "", 0
    for event in events:
        if (state, event.kind) in STEPS:
            state = STEPS[state, event.kind]
        elif event.kind in {kind for _, kind in STEPS}:
            yield Violation(f"the event {event.kind} follows the state {state or 'of nothing'}", job.id)
        if event.kind == EventKind.LEASED:
            if event.attempt <= attempt:
                yield Violation(f"attempt {event.attempt} follows attempt {attempt}", job.id)
            attempt = event.attempt
        if event.detail.get("reason") in OURS:
            yield Violation(f"an attempt ended as {event.detail['reason']}: {event.detail.get('message')}", job.id)
    if state != job.state:
        yield Violation(f"its events end in {state or 'nothing'}, its state is {job.state}", job.id)


def _expected_weights(job: Job, wanted: Wanted | None, users: Users) -> str | None:
    if wanted is not None:
        return users.weights[wanted.wish.recipe]
    return next((users.weights[recipe] for recipe, twin in users.twins.items() if twin == job.id), None)


def _published_wrongly(job: Job, store: ArtifactStore, expected: str | None) -> Iterator[Violation]:
    manifests = [key for key in store.keys(job.id) if key.endswith(f"/generator/{MANIFEST}")]
    if job.state is State.SUCCEEDED and len(manifests) != 1:
        yield Violation(f"it published {len(manifests)} generators: {manifests}", job.id)
    if job.state is not State.SUCCEEDED and manifests:
        yield Violation(f"it is {job.state} and published {manifests}", job.id)
    for key in manifests:
        folder = key.removesuffix(MANIFEST)
        if job.generator != folder:
            yield Violation(f"it published {folder} and says {job.generator}", job.id)
        if (found := weights_sha256(store, folder)) != expected:
            yield Violation(f"its weights are {found[:12]}, those of its undisturbed twin {str(expected)[:12]}", job.id)


def _unknown_objects(store: ArtifactStore, jobs: dict[str, Job], users: Users) -> Iterator[Violation]:
    # What was submitted in a second that Redis lost may have begun before; nobody can know of it any more.
    lost = {job_id for wanted in users.wanted for job_id in wanted.lost_ids}
    found = {entry.key.split("/")[1] for entry in store.objects.list_objects("jobs/")}
    for job_id in sorted(found - jobs.keys() - lost):
        yield Violation("the store holds what it wrote, and Redis does not know it", job_id)
    for entry in store.objects.list_objects("health/"):
        yield Violation(f"{entry.key} was left behind")


def orphans(service: Service) -> Iterator[Violation]:
    """What belongs to nobody, in Redis, in the store and among processes."""
    client = redis.Redis.from_url(service.settings.require_broker(), decode_responses=True)
    known = {job_id for state in State for job_id in cast(list[str], client.zrange(f"{{gan}}:state:{state}", 0, -1))}
    for key in cast(Iterator[str], client.scan_iter(match="{gan}:*")):
        kind, _, rest = key.removeprefix("{gan}:").partition(":")
        if kind == "reply" and client.ttl(key) == -1:
            yield Violation(f"{key} never expires")
        if kind in {"job", "events", "logs", "evaluations", "evaluations_under_way"} and rest not in known:
            yield Violation(f"{key} is in Redis, and no such job is in any state")
        if kind == "evaluations_under_way":
            yield Violation(f"{key} says that jobs judge: {client.hgetall(key)}", rest)
    for upload in _uploads(service.settings):
        yield Violation(f"an upload in parts was never ended: {upload['Key']}")
    for process in [*service.gang_workers(), *service.strays()]:
        yield Violation(f"process {process.pid} is left: {' '.join(process.cmdline())[:120]}")


def tracebacks(service: Service) -> Iterator[Violation]:
    """Errors that a dispatcher or the exporter did not expect, each once."""
    found: dict[str, str] = {}
    for name in (*DISPATCHERS, "exporter"):
        is_inside = False
        for line in service.log(name).read_text(errors="replace").splitlines():
            if line.startswith("Traceback"):
                is_inside = True
            elif is_inside and line and not line[0].isspace():
                is_inside = False
                found.setdefault(line[:300], name)
    for line, name in found.items():
        yield Violation(f"{name} met what it did not expect: {line}")


def _uploads(settings: Settings) -> list[dict[str, Any]]:
    endpoint, _, bucket = settings.require_store().rpartition("/")
    secret = settings.store_secret_key
    assert secret
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=settings.store_access_key,
        aws_secret_access_key=secret.get_secret_value(),
        region_name=settings.store_region,
    )
    return cast(list[dict[str, Any]], client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def cluster(service: Service, within_s: float) -> dict[str, Any]:
    """What Ray holds as soon as all its nodes are there and it holds nothing, or so many seconds after that."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.cluster", service.ray_address, f"{within_s:g}", str(sum(CPUS))],
        env={**os.environ, **service.ray_environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"error": done.stderr[-500:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def held_by_nobody(service: Service, say: Say, ended_at: float) -> Iterator[Violation]:
    """What is still held in Ray after the last job, which ended at this moment by the steady clock."""
    passed_s = time.monotonic() - ended_at
    found = cluster(service, LEAK_S)
    if "error" in found:
        yield Violation(f"Ray cannot be asked: {found['error']}")
        return
    say(f"{found['free']:g} of {found['total']:g} CPUs are free {passed_s + found['after_s']:.0f} s after the last job")
    if found["total"] != sum(CPUS):
        yield Violation(f"the cluster has {found['total']:g} CPUs, expected {sum(CPUS)}")
    for group in found["groups"]:
        yield Violation(f"the placement group {group} belongs to no attempt", group.partition("/")[0])
    for actor in found["actors"]:
        yield Violation(f"the actor {actor} belongs to no attempt", actor.partition("/")[0])
    if found["free"] != found["total"]:
        yield Violation(f"{found['free']:g} of {found['total']:g} CPUs are free")


def large_job_starts(service: Service) -> Iterator[Violation]:
    """Submit a job as large as the cluster, and see that it comes to its end."""
    name = "as-large-as-the-cluster"
    spec = spec_of("pair", name)
    resources = spec.resources.model_copy(update={"workers": sum(CPUS)})
    recipe = spec.recipe.model_copy(update={"batch_size": 8 * sum(CPUS)})
    with JobQueue(service.settings) as queue:
        job_id, _ = queue.submit(spec.model_copy(update={"resources": resources, "recipe": recipe}))
        moved_at, job = time.monotonic(), queue.get(job_id)
        while not job.state.is_final and time.monotonic() - moved_at < STILL_S:
            time.sleep(0.5)
            before, job = job, queue.get(job_id)
            if course(before) != course(job):
                moved_at = time.monotonic()
    if job.state is not State.SUCCEEDED:
        yield Violation(f"a job as large as the cluster is {job.state}: {job.waiting_for or job.message}", job_id)
