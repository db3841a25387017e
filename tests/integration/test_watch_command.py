"""What `watch` reads of a job, and how it ends, on a real broker and a real store."""

import io
from dataclasses import replace
from typing import Any

import pytest
import redis
from rich.console import Console

from ganservice.artifacts import ArtifactStore
from ganservice.cli.scene import Lookout
from ganservice.cli.watch import Pace, draw, tell_end
from ganservice.cli.watched_picture import WatchedPicture
from ganservice.job import EventKind, Health, Lease, Outcome, Progress, Reason
from ganservice.queue import JobQueue, NewEvent
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.conftest import wait_until
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, TROUBLE, evaluation, lease, report, skip_delay, submit, submit_evaluation
from tests.integration.strangers import silent_server


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what scripts do is tested on both elsewhere."""
    return valkey


@pytest.fixture(autouse=True)
def always_looks_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.cli.scene.SIDE_LOOK_S", 0.0)


@pytest.fixture
def running(queue: JobQueue, spec: TrainSpec) -> Lease:
    submit(queue, spec)
    return lease(queue)


def lines_of(*images: int) -> bytes:
    return b"".join(report(each).model_dump_json().encode() + b"\n" for each in images)


def images_of(reports: Any) -> list[int]:
    return [each.images for each in reports]


def test_a_scene_has_what_came_since(queue: JobQueue, settings: Settings, running: Lease, spec: TrainSpec) -> None:
    lookout = Lookout(settings, running.job_id)
    before = lookout.look()
    assert before.newest_grid is None
    queue.heartbeat(running, progress=report(8), events=[NewEvent(EventKind.SAMPLES, {"images": 8, "key": "k"})])
    later, sooner = (submit_evaluation(queue, spec, running.job_id, images) for images in (16, 8))
    scene = lookout.look()
    assert len(scene.events) == len(before.events) + 1
    assert scene.newest_grid == (scene.events[-1].id, 8)
    assert images_of(scene.reports) == [8]
    assert [job.id for job in scene.evaluation_jobs] == [sooner, later]
    found = evaluation(running.job_id, 8, 28.4, by=sooner)
    queue.finish(queue.take(sooner), SUCCESS.model_copy(update={"evaluation": found}))
    scene = lookout.look()
    assert scene.evaluations == (found,)
    assert [job.id for job in scene.evaluation_jobs] == [later]


def test_of_many_evaluation_jobs_the_first_are_looked_at(
    queue: JobQueue, settings: Settings, running: Lease, spec: TrainSpec
) -> None:
    ids = [submit_evaluation(queue, spec, running.job_id, images) for images in (8, 16, 24, 32, 40)]
    scene = Lookout(settings, running.job_id).look()
    assert [job.id for job in scene.evaluation_jobs] == ids[:3]
    assert scene.more_evaluation_jobs == 2


def test_the_course_begins_with_the_reports_in_the_store(
    queue: JobQueue, settings: Settings, bucket: Settings, running: Lease
) -> None:
    store, lookout = ArtifactStore(bucket), Lookout(settings, running.job_id)
    store.put_metrics(running, 16, lines_of(8, 16))
    lookout.ask_for_earlier_reports(store).wait(10)
    queue.heartbeat(running, progress=report(24))
    assert images_of(lookout.look().reports) == [8, 16, 24]
    # A rollback, or a death, makes naught of what lay beyond.
    queue.heartbeat(running, progress=report(16))
    assert images_of(lookout.look().reports) == [8, 16]


@pytest.mark.parametrize("metrics", [b"not json\n", b"{}\n", b"\xff\xfe\n"])
def test_reports_that_cannot_be_read_are_done_without(
    metrics: bytes, settings: Settings, bucket: Settings, running: Lease
) -> None:
    store, lookout = ArtifactStore(bucket), Lookout(settings, running.job_id)
    store.put_metrics(running, 16, metrics)
    lookout.ask_for_earlier_reports(store).wait(10)
    assert lookout.look().reports == ()


def test_a_silent_store_hides_nothing_and_keeps_nobody_waiting(
    settings: Settings, bucket: Settings, running: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.cli.question.SILENCE_TOLD_S", 0.0)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system="truecolor")
    with silent_server() as port:
        silent = ArtifactStore(bucket.model_copy(update={"store_url": f"http://127.0.0.1:{port}/gan"}))
        lookout, picture = Lookout(settings, running.job_id), WatchedPicture(silent, console)
        lookout.ask_for_earlier_reports(silent)
        scene = lookout.look()
        assert scene.job.id == running.job_id
        assert scene.store_trouble == "the store has not answered yet"
        picture.look(scene)
        console.print(draw(replace(scene, store_trouble=""), picture, console))
        lookout.close()
        picture.close()
    assert "the store has not answered yet" in console.file.getvalue()  # type: ignore[attr-defined]


def test_an_outage_is_told_and_asked_about_again(
    settings: Settings, bucket: Settings, running: Lease, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.cli.question.OUTAGE_PAUSE_S", 0.05)
    store = ArtifactStore(bucket)
    store.put_metrics(running, 16, lines_of(8, 16))
    away = ArtifactStore(bucket.model_copy(update={"store_url": f"http://127.0.0.1:{unused_port}/gan"}))
    lookout = Lookout(settings, running.job_id)
    lookout.ask_for_earlier_reports(away)
    wait_until(lambda: "cannot be reached" in lookout.look().store_trouble)
    away.objects = store.objects
    wait_until(lambda: images_of(lookout.look().reports) == [8, 16])
    assert lookout.look().store_trouble == ""


def test_a_picture_is_drawn_again_when_it_or_the_job_takes_a_turn(
    queue: JobQueue, settings: Settings, bucket: Settings, running: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.cli.watch.PICTURE_S", 3600.0)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system="truecolor")
    store, lookout, pace = ArtifactStore(bucket), Lookout(settings, running.job_id), Pace()
    picture = WatchedPicture(store, console)
    assert [pace.is_due(lookout.look(), picture, console) for _ in range(2)] == [True, True], "nothing large is drawn"

    def draws(images: int) -> list[bool]:
        store.put_sample_grid(running, images, b"png")
        queue.heartbeat(running, progress=report(images), events=[NewEvent(EventKind.SAMPLES, {"images": images})])
        picture.look(lookout.look())
        picture.wait(lookout.look(), 10)
        return [pace.is_due(lookout.look(), picture, console) for _ in range(3)]

    assert draws(8) == [True, False, False]
    assert draws(16) == [True, False, False]
    queue.cancel(running.job_id)
    assert pace.is_due(lookout.look(), picture, console)


# The end.


def succeed(queue: JobQueue, held: Lease, progress: Progress) -> str:
    queue.heartbeat(held, progress=progress)
    queue.finish(held, SUCCESS)
    return held.job_id


def end_of(queue: JobQueue, job_id: str, capsys: pytest.CaptureFixture[str]) -> str:
    tell_end(queue, queue.get(job_id))
    return capsys.readouterr().err.replace(job_id, "JOB")


def evaluate(queue: JobQueue, spec: TrainSpec, job_id: str, images: int, distance: float, **found: Any) -> str:
    by = submit_evaluation(queue, spec, job_id, images)
    made = evaluation(job_id, images, distance, by).model_copy(update=found)
    queue.finish(queue.take(by), SUCCESS.model_copy(update={"evaluation": made}))
    return by


def test_a_sound_success_is_fetched_next(queue: JobQueue, running: Lease, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = succeed(queue, running, report(64))
    assert end_of(queue, job_id, capsys) == "JOB has succeeded; next: ganctl fetch JOB\n"


def test_a_collapsed_success_says_so_and_what_helps(
    queue: JobQueue, running: Lease, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = succeed(queue, running, report(64).model_copy(update={"health": Health.COLLAPSED}))
    assert end_of(queue, job_id, capsys).splitlines() == [
        "JOB has succeeded, with a reservation: collapsed: its samples were all alike",
        "its curves: ganctl report JOB",
        "to have the next one go back by itself: --set health.action=rollback",
    ]


@pytest.mark.parametrize(
    ("published", "advice"),
    [
        ({"generator": "jobs/x/generator"}, "its best, of 32 images: ganctl fetch JOB --checkpoint best"),
        ({}, "to go on from its best checkpoint: ganctl submit SPEC --from JOB@best"),
    ],
)
def test_a_success_far_from_its_best_leads_to_the_best(
    published: dict[str, str],
    advice: str,
    queue: JobQueue,
    running: Lease,
    spec: TrainSpec,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_id = succeed(queue, running, report(64))
    evaluate(queue, spec, job_id, 32, 10.0, **published)
    evaluate(queue, spec, job_id, 64, 90.0)
    said = end_of(queue, job_id, capsys)
    assert "with a reservation: far from its best: classifier_frechet_distance 90 at 64 images, 10 at 32" in said
    assert said.splitlines()[1:] == [advice, "its curves: ganctl report JOB"]


def test_an_evaluation_ends_with_what_it_found(
    queue: JobQueue, running: Lease, spec: TrainSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = succeed(queue, running, report(64))
    by = evaluate(queue, spec, job_id, 32, 10.0)
    tell_end(queue, queue.get(by))
    assert (
        capsys.readouterr().err == f"{by} has succeeded: classifier_frechet_distance 10; next: ganctl show {job_id}\n"
    )


def test_a_diverged_training_ends_with_where_its_curves_are(
    queue: JobQueue, running: Lease, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.finish(running, Outcome(reason=Reason.DIVERGED, message="not finite"))
    said = end_of(queue, running.job_id, capsys).splitlines()
    assert said[0].startswith("JOB: failed: not finite")
    assert said[1] == "its curves: ganctl report JOB"


def test_a_job_that_is_queued_again_is_still_watched(
    queue: JobQueue, settings: Settings, admin: redis.Redis, running: Lease
) -> None:
    lookout = Lookout(settings, running.job_id)
    lookout.look()
    queue.finish(running, TROUBLE)
    skip_delay(admin, running.job_id)
    scene = lookout.look()
    assert not scene.job.state.is_final
    assert not scene.has_dispatcher
    assert scene.events[-1].kind == EventKind.REQUEUED
