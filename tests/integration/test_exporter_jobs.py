"""What Prometheus is given of each job, in each of its states, from a real broker."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from ganservice.exporter import FINISHED_JOB_SERIES_S
from ganservice.exporter.quality_series import Qualities
from ganservice.job import (
    Activity,
    Capacity,
    Checkpoint,
    EventKind,
    Health,
    Job,
    Lease,
    Outcome,
    Progress,
    Pulse,
    Reason,
    State,
)
from ganservice.metrics import JOB, JOB_SERIES, MEASURES, PROTOCOLS, QUEUED_JOBS, SERVICE_SERIES
from ganservice.queue import JobQueue, NewEvent
from ganservice.spec import HealthWatch, Resources, TrainSpec
from tests.integration.jobs import (
    CLUSTER,
    FAILURE,
    SUCCESS,
    TROUBLE,
    evaluate,
    evaluation,
    lease,
    report,
    skip_delay,
    submit,
    submit_evaluation,
)
from tests.integration.scraping import Samples, Scrape

PROGRESS = Progress(
    images=640, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4, value=-1.3,
    d_accuracy_real=0.75, d_accuracy_generated=0.7, d_held_out_gap=0.02, augment_probability=0.25,
    modes=3, good_share=0.5, diversity=0.9, health=Health.SUSPECT, grad_norm_g=1.0, grad_norm_d=2.0,
    images_per_s=100.0, step_s=0.6, stall_s=0.25, used_cpus=1.5, memory_bytes=10**9, gpu_memory_bytes=10**8,
    gpu_busy=0.8,
)  # fmt: skip
PULSE = Pulse(
    activity=Activity.TRAINING, device="cuda", images=704, images_per_s=15.0, report_age_s=20.0, report_every_s=8.0,
    still_s=3.0,
)  # fmt: skip
# Of an attempt that runs, and of nothing else.
OF_ATTEMPTS = {
    "job_heartbeat_age_seconds", "job_report_age_seconds", "job_report_interval_seconds", "job_still_seconds",
    "job_checkpoint_age_seconds", "job_waits", "job_left_seconds", "job_device", "job_images_per_second",
    "job_used_cpus", "job_memory_bytes", "job_gpu_busy_ratio", "job_gpu_memory_bytes", "job_stall_seconds",
}  # fmt: skip


def train(queue: JobQueue, spec: TrainSpec) -> Lease:
    """A job that has done all a job can do, and still runs."""
    job_id = submit(queue, spec)
    held = queue.take(job_id)
    newest = Checkpoint(key="c", images=640, bytes=1_000, seconds=0.25)
    told = NewEvent(EventKind.CHECKPOINT, newest.model_dump())
    queue.heartbeat(held, PROGRESS, pulse=PULSE, trained_images=640, resumed_images=0, checkpoint=newest, events=[told])
    # More of all than is shown, so that the bound on series is held to the most there can be.
    for samples in range(PROTOCOLS + 1):
        found = evaluation(job_id, 640, 0.5, samples=samples)
        measures = found.measures | {f"classifier_{number}": 0.5 for number in range(MEASURES)}
        evaluate(queue, spec, found.model_copy(update={"measures": measures}))
    return held


def of_job(found: Samples, job_id: str) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of one job, by name and by their labels but its id."""
    jobs = {name: values for name, values in found.items() if name.startswith("job_")}
    own = {
        name: {labels[1:]: value for labels, value in values.items() if labels[0] == job_id}
        for name, values in jobs.items()
    }
    return {name: values for name, values in own.items() if values}


def state(found: Samples, job_id: str) -> str:
    """The state of a job by its series, of which one alone is 1."""
    [holds] = [state for (state,), value in of_job(found, job_id)["job_state"].items() if value == 1]
    return holds


def test_every_metric_of_a_job_is_given_and_no_other(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = train(queue, spec).job_id
    queue.finish(train(queue, spec), SUCCESS)
    submit(queue, spec, health=HealthWatch(action="rollback", max_rollbacks=3))
    found = scrape()
    assert list(found["job_rollbacks_left"].values()) == [3]
    names = {metric.name if metric.kind != "counter" else f"{metric.name}_total" for metric in JOB}
    assert {name for name in found if name.startswith("job_")} == names
    job = of_job(found, job_id)
    assert job["job_loss"] == {("generator",): 0.7, ("discriminator",): 1.3}
    assert {state: value for (state,), value in job["job_health"].items()} == {
        "ok": 0, "suspect": 1, "collapsed": 0, "diverged": 0
    }  # fmt: skip
    assert job["job_trained_images_total"] == {(): 640}
    assert (job["job_images"], job["job_images_per_second"]) == ({(): 704}, {(): 15.0})
    assert job["job_checkpoint_age_seconds"][()] < 60
    assert found["queue_wait_seconds_count"] == {(): 2 * (PROTOCOLS + 2)}
    assert found["start_seconds_bucket"][("+Inf",)] == found["start_seconds_count"][()] == 2
    assert (found["checkpoints_total"][()], found["checkpoints_bytes_total"][()]) == (2, 2_000)
    assert found["checkpoints_seconds_total"][()] == 0.5
    assert found["evaluations_total"][()] == 2 * (PROTOCOLS + 1)


def test_the_number_of_series_is_bounded(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, eventually: Callable[..., Any]
) -> None:
    train(queue, spec)
    for priority in range(101):
        submit(queue, spec, priority=priority)
    found = eventually(lambda: (seen := scrape()) and {"store_bytes", "store_up"} <= set(seen) and seen)
    series = Counter("job" if name.startswith("job_") else "service" for name in found for _ in found[name])
    assert 0.8 * SERVICE_SERIES < series["service"] <= SERVICE_SERIES, "the bound is no wild guess"
    per_job = Counter(labels[0] for name in found if name.startswith("job_") for labels in found[name])
    assert 0.8 * JOB_SERIES < max(per_job.values()) <= JOB_SERIES


def test_what_was_not_measured_has_no_series(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    held = lease(queue)
    assert "job_loss" not in scrape()
    plain = PROGRESS.model_copy(update={"d_real": None, "d_fake": None, "diversity": None, "gpu_busy": None})
    queue.heartbeat(held, plain)
    found = scrape()
    for name in ("job_discriminator_probability", "job_diversity_ratio", "job_gpu_busy_ratio", "job_quality"):
        assert name not in found
    assert found["job_images"] == {(held.job_id,): 640}


def test_a_job_is_found_by_its_user_its_tags_and_the_training_that_it_judges(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec, tags=("mnist", "first-try"))
    judge = submit_evaluation(queue, spec, job_id, 640)
    kind, name, of, priority, tags, user = range(1, 7)
    found = {labels[0]: labels for labels in scrape()["job_info"]}
    assert (found[job_id][kind], found[job_id][name], found[job_id][priority]) == ("train", "tiny", "50")
    assert (found[job_id][tags], found[job_id][user], found[job_id][of]) == (",mnist,first-try,", "ada", "")
    assert (found[judge][kind], found[judge][tags], found[judge][of]) == ("evaluate", "", job_id)


# Jobs that wait


def test_a_queued_job_has_series(scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    job_id = submit(queue, spec)
    admin.hset("{gan}:job:" + job_id, "ready_at", int((queue.now_s() - 40) * 1000))
    found = scrape()
    assert state(found, job_id) == "queued"
    job = of_job(found, job_id)
    assert job["job_queue_wait_seconds"][()] == pytest.approx(40, abs=10)
    assert job["job_submitted_timestamp_seconds"][()] == pytest.approx(queue.now_s(), abs=60)
    assert (job["job_attempts"], job["job_unplaceable"]) == ({(): 0}, {(): 0})
    assert not OF_ATTEMPTS & set(job)
    assert not {"job_health", "job_images", "job_finished_timestamp_seconds", "job_reservation"} & set(job)


def test_the_series_of_a_job_that_is_tried_again_go_on(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    held = train(queue, spec)
    queue.finish(held, TROUBLE)
    found = scrape()
    assert state(found, held.job_id) == "queued", "it waits for its retry"
    job = of_job(found, held.job_id)
    assert job["job_queue_wait_seconds"] == {(): 0}
    assert (job["job_attempts"], job["job_checkpoint_images"]) == ({(): 1}, {(): 640})
    assert {"job_loss", "job_health", "job_images", "job_quality"} <= set(job)
    assert not OF_ATTEMPTS & set(job)
    skip_delay(admin, held.job_id)
    again = lease(queue)
    assert state(scrape(), held.job_id) == "running"
    queue.finish(again, Outcome(reason=Reason.DIVERGED))
    assert state(scrape(), held.job_id) == "failed"
    queue.retry(held.job_id)
    found = scrape()
    assert state(found, held.job_id) == "queued", "its user tries it again"
    assert of_job(found, held.job_id)["job_images"] == {(): 640}


def test_of_queued_jobs_the_first_have_series(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert QUEUED_JOBS == 200
    monkeypatch.setattr("ganservice.exporter.QUEUED_JOBS", 3)
    retried = submit(queue, spec, priority=60)
    queue.finish(lease(queue), TROUBLE)
    low, high, middle = (submit(queue, spec, priority=priority) for priority in (0, 100, 50))
    assert {labels[0] for labels in scrape()["job_info"]} == {high, retried, middle}
    assert scrape()["jobs"][("queued",)] == 4
    for job_id in (high, middle, retried):
        queue.cancel(job_id)
    assert state(scrape(), low) == "queued"


@pytest.mark.parametrize(("resources", "is_unplaceable"), [({"workers": 4}, 0), ({"cpus_per_worker": 64}, 1)])
def test_a_job_that_the_cluster_could_never_hold_is_unplaceable(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, resources: dict[str, int], is_unplaceable: int
) -> None:
    job_id = submit(queue, spec, resources=Resources(**resources))
    nothing = Capacity(cpus=0, gpus=0)
    assert queue.lease(nothing, CLUSTER) is None
    assert of_job(scrape(), job_id)["job_unplaceable"] == {(): is_unplaceable}
    assert ("the cluster has" in str(queue.get(job_id).waits_for)) == is_unplaceable
    # The cluster grows.
    assert queue.lease(nothing, Capacity(cpus=64, gpus=0)) is None
    assert of_job(scrape(), job_id)["job_unplaceable"] == {(): 0}
    assert queue.lease(nothing, CLUSTER) is None
    queue.take(job_id)
    assert not queue.get(job_id).unplaceable


# Jobs that run


def test_how_an_attempt_stands_is_told(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec, images=6_400)
    held = lease(queue)
    queue.heartbeat(held, report(640), pulse=PULSE)
    job = of_job(scrape(), job_id)
    report_age_s, still_s, beat_age_s = (
        job[f"job_{name}_seconds"][()] for name in ("report_age", "still", "heartbeat_age")
    )
    assert [report_age_s - beat_age_s, still_s - beat_age_s] == pytest.approx([20, 3])
    assert job["job_report_interval_seconds"] == {(): 8}
    assert job["job_left_seconds"] == {(): pytest.approx((6_400 - 704) / 15)}
    assert job["job_device"] == {("cuda",): 1}


def test_an_evaluation_has_progress(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit_evaluation(queue, spec, submit(queue, spec), 64)
    held = queue.take(job_id)
    queue.heartbeat(held, pulse=Pulse(activity=Activity.MEASURING, share_done=0.25, left_s=90.0, still_s=1.0))
    job = of_job(scrape(), job_id)
    assert (job["job_progress_ratio"], job["job_left_seconds"]) == ({(): 0.25}, {(): 90})
    assert "job_still_seconds" in job


def test_a_job_that_waits_for_its_servers_says_so(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held, seen = lease(queue), []
    for waits_for in (None, "the store (full)"):
        queue.heartbeat(held, pulse=PULSE.model_copy(update={"waits_for": waits_for}))
        seen.append(scrape()["job_waits"])
    assert seen == [{(job_id,): 0}, {(job_id,): 1}]


# Jobs that have ended


@pytest.mark.parametrize(
    ("outcome", "final"),
    [
        (SUCCESS, State.SUCCEEDED),
        (Outcome(reason=Reason.DIVERGED), State.FAILED),
        (Outcome(reason=Reason.CANCELLED), State.CANCELLED),
    ],
)
def test_of_a_job_that_has_ended_nothing_goes_on(
    outcome: Outcome, final: State, scrape: Scrape, queue: JobQueue, spec: TrainSpec
) -> None:
    held = train(queue, spec)
    assert set(of_job(scrape(), held.job_id)) >= OF_ATTEMPTS
    queue.finish(held, outcome)
    found = scrape()
    assert state(found, held.job_id) == final
    job = of_job(found, held.job_id)
    assert not OF_ATTEMPTS & set(job)
    assert job["job_finished_timestamp_seconds"][()] == pytest.approx(queue.now_s(), abs=60)


def test_a_job_that_has_ended_leaves_after_a_while(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, PROGRESS, pulse=PULSE, trained_images=640)
    queue.finish(held, SUCCESS)
    found = scrape()
    assert state(found, job_id) == "succeeded"
    assert found["job_images"] == {(job_id,): 640}
    gone_ms = (queue.now_s() - FINISHED_JOB_SERIES_S - 1) * 1000
    admin.zadd("{gan}:state:succeeded", {job_id: gone_ms})
    found = scrape()
    assert not [name for name in found if name.startswith("job_")]
    assert found["images_total"] == {(): 640}, "what was counted stays counted"


def test_what_an_evaluation_finds_long_after_the_end_of_a_training_is_told(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = submit(queue, spec)
    queue.finish(lease(queue), SUCCESS)
    evaluate(queue, spec, evaluation(job_id, 32, 1.0))
    late = submit_evaluation(queue, spec, job_id, 64)
    long_ago_ms = (queue.now_s() - FINISHED_JOB_SERIES_S - 1) * 1000
    admin.zadd("{gan}:state:succeeded", {job_id: long_ago_ms})
    assert scrape()["job_reservation"][job_id, "none"] == 1, "while an evaluation of it waits"
    queue.finish(queue.take(late), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(job_id, 64, 9.0)))
    assert scrape()["job_reservation"][job_id, "far from its best"] == 1


@pytest.mark.parametrize(
    ("health", "distances", "reservation"),
    [
        (Health.OK, [9.0, 8.0], "none"),
        (Health.COLLAPSED, [9.0, 8.0], "collapsed"),
        (Health.OK, [1.0, 8.0], "far from its best"),
    ],
)
def test_what_is_to_be_said_against_a_success_is_told(
    health: Health, distances: list[float], reservation: str, scrape: Scrape, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, PROGRESS.model_copy(update={"health": health}))
    for place, distance in enumerate(distances):
        evaluate(queue, spec, evaluation(job_id, 64 * place, distance))
    assert "job_reservation" not in of_job(scrape(), job_id)
    queue.finish(held, SUCCESS)
    told = of_job(scrape(), job_id)["job_reservation"]
    assert [kind for (kind,), value in told.items() if value == 1] == [reservation]


# Quality


def test_the_newest_evaluation_of_every_network_and_protocol_is_told(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    found = [
        evaluation(job_id, 64, 30.0),
        evaluation(job_id, 128, 20.0),
        evaluation(job_id, 128, 5.0, network="inception_v3").model_copy(update={"advisory": True}),
        evaluation(job_id, 64, 28.0, samples=2_000),
    ]
    evaluate(queue, spec, *found)
    job = of_job(scrape(), job_id)
    one, other, few = (found[place].protocol.digest for place in (1, 2, 3))
    assert job["job_quality"] == {
        ("classifier_frechet_distance", "classifier", one): 20.0,
        ("fid", "inception_v3", other): 5.0,
        ("classifier_frechet_distance", "classifier", few): 28.0,
    }
    assert job["job_quality_images"] == {
        ("classifier", one): 128,
        ("inception_v3", other): 128,
        ("classifier", few): 64,
    }
    assert job["job_protocol"] == {(one,): 1, (other,): 0, (few,): 1}


@pytest.mark.parametrize(
    ("distances", "best", "best_images"),
    [([40.0, 28.0], 28.0, 128), ([300.0, 200.0, 400.0], 200.0, 128), ([200.0, 300.0], 200.0, 64)],
)
def test_the_first_evaluation_and_the_best_that_came_no_earlier_are_told(
    distances: list[float],
    best: float,
    best_images: int,
    scrape: Scrape,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    found = [evaluation(job_id, 64 * (place + 1), distance) for place, distance in enumerate(distances)]
    evaluate(queue, spec, *reversed(found))
    job = of_job(scrape(), job_id)
    labels = ("classifier", found[0].protocol.digest)
    assert (job["job_first_quality"], job["job_best_quality"]) == ({labels: distances[0]}, {labels: best})
    assert job["job_best_quality_images"] == {labels: best_images}


def test_evaluations_are_read_again_only_when_there_is_a_new_one(queue: JobQueue, spec: TrainSpec) -> None:
    reads: list[list[str]] = []

    def read(job_ids: Any) -> Any:
        reads.append(list(job_ids))
        return queue.evaluations_of(reads[-1])

    def look() -> list[Job]:
        jobs = queue.list_jobs([State.RUNNING])
        qualities.look(jobs)
        return jobs

    qualities = Qualities(read)
    evaluated, other = submit(queue, spec), submit(queue, spec)
    for job_id in (evaluated, other):
        queue.take(job_id)
    evaluate(queue, spec, evaluation(evaluated, 64, 9.0))
    for _ in range(3):
        jobs = look()
    evaluate(queue, spec, evaluation(evaluated, 128, 8.0))
    look()
    assert reads == [[evaluated], [], [], [evaluated]]
    assert set(qualities.look(jobs[1:])) == set(), "a job without series is forgotten"
    look()
    assert reads[-1] == [evaluated]


def test_what_evaluations_hold_is_charged_to_their_training(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = submit(queue, spec, resources=Resources(workers=2))
    held = lease(queue)
    judge = queue.take(submit_evaluation(queue, spec, job_id, 64))
    for name, ago_s in ((job_id, 20), (judge.job_id, 10)):
        admin.hset("{gan}:job:" + name, "heartbeat_at", int((queue.now_s() - ago_s) * 1000))
    queue.heartbeat(held)
    queue.finish(judge, FAILURE)
    found = scrape()
    told = of_job(found, job_id)["job_held_cpu_seconds"]
    assert told == {("training",): pytest.approx(40, abs=10), ("evaluation",): pytest.approx(10, abs=10)}
    assert of_job(found, job_id)["job_held_gpu_seconds"] == {("training",): 0, ("evaluation",): 0}
    assert "job_held_cpu_seconds" not in of_job(found, judge.job_id), "nothing is charged twice"


def test_a_training_that_is_forgotten_is_charged_nothing(queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    judge = queue.take(submit_evaluation(queue, spec, "tiny-gone", 64))
    admin.hset("{gan}:job:" + judge.job_id, "heartbeat_at", int((queue.now_s() - 10) * 1000))
    queue.heartbeat(judge)
    assert not queue.knows("tiny-gone")
