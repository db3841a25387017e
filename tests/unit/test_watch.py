"""What `ganctl watch` says of a job as it stands, on a line and on a screen."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rich.console import Console

from ganservice.artifacts import ArtifactStore
from ganservice.cli.scene import Scene
from ganservice.cli.screen import Row, headline, rows
from ganservice.cli.watch import draw
from ganservice.cli.watched_picture import WatchedPicture
from ganservice.job import Activity, Event, EventKind, Health, Job, Progress, Pulse, Reason, State
from ganservice.judging import Judging
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from tests.integration.jobs import evaluation

REPORT = Progress(
    images=16, step=2, epochs=0.25, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4,
    diversity=0.9, grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6,
)  # fmt: skip
RUNNING = {"state": State.RUNNING, "heartbeat_at": 1_000.0}
TRAINING = Pulse(activity=Activity.TRAINING, images=24, images_per_s=8.0)
MEASURING = Pulse(activity=Activity.MEASURING, share_done=0.41, left_s=31.0)
WAITS = "the classifier of digits, which other-eval-123456 makes"


def make(spec: TrainSpec | EvaluateSpec, **stands: Any) -> Job:
    plain: dict[str, Any] = {"state": State.QUEUED, "priority": 50, "submitted_at": 0.0, "order": 1}
    return Job(id="tiny-abc", spec=spec, **(plain | stands))


def event(kind: str, attempt: int = 1, number: int = 1, **detail: Any) -> Event:
    return Event(id=f"{number}-0", at=0.0, kind=kind, attempt=attempt, detail=detail)


@pytest.fixture
def judging(spec: TrainSpec) -> EvaluateSpec:
    subject = Subject(job_id="tiny-abc", images=16, checkpoint=f"weights/{'0' * 64}.safetensors")
    return EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        ({"waiting_for": "8 CPUs; the cluster has 2 CPUs"}, "queued  waits for 8 CPUs; the cluster has 2 CPUs"),
        ({}, "queued  waits for its turn"),
        (RUNNING, "running  starting its workers"),
        (RUNNING | {"pulse": Pulse(activity=Activity.LOADING)}, "running  loading the data set  0 of 64 images"),
        (RUNNING | {"pulse": Pulse(activity=Activity.TRAINING, images=0)}, "running  0 of 64 images"),
        (RUNNING | {"pulse": TRAINING}, "running  24 of 64 images  8 images/s"),
        (RUNNING | {"pulse": TRAINING, "attempt": 2}, "running  attempt 2  24 of 64 images  8 images/s"),
        (
            RUNNING | {"pulse": TRAINING.model_copy(update={"waits_for": "the store (full)"})},
            "running  24 of 64 images  8 images/s  waits for the store (full)",
        ),
        (
            RUNNING | {"pulse": TRAINING.model_copy(update={"activity": Activity.PUBLISHING})},
            "running  publishing the generator  24 of 64 images",
        ),
        (  # as workers of earlier versions report
            RUNNING | {"progress": REPORT.model_copy(update={"epochs": None})},
            "running  health ok  16 of 64 images  100 images/s  loss G 0.700 D 1.300  D(x) 0.60 D(G(z)) 0.40",
        ),
        (
            RUNNING | {"pulse": TRAINING.model_copy(update={"report_age_s": 45.0, "report_every_s": 2.0})},
            "running  24 of 64 images  8 images/s  no report for 45 s; usually 2 s",
        ),
        (
            {"state": State.FAILED, "reason": Reason.DIVERGED, "message": "not finite"},
            "failed  health diverged  not finite",
        ),
    ],
)
def test_a_line_says_what_a_job_does(stands: dict[str, Any], expected: str, spec: TrainSpec) -> None:
    assert headline(make(spec, **stands)) == expected


def test_a_line_says_how_far_an_evaluation_is(judging: EvaluateSpec) -> None:
    line = headline(make(judging, **RUNNING, pulse=MEASURING))
    assert line == "running  generating and measuring pictures  41%  31s left  of tiny-abc at 16 images"
    waiting = MEASURING.model_copy(update={"waits_for": WAITS})
    assert f"waits for {WAITS}" in headline(make(judging, **RUNNING, pulse=waiting))


def test_a_line_tells_the_newest_evaluation(spec: TrainSpec) -> None:
    job = make(spec, **RUNNING, pulse=TRAINING, evaluation=evaluation("tiny-abc", 16, 28.4))
    assert headline(job).endswith("8 images/s  classifier_frechet_distance 28.4 at 16")


def test_a_queued_job_without_a_dispatcher_says_so(spec: TrainSpec) -> None:
    line = headline(make(spec), has_dispatcher=False)
    assert line == "queued  waits for a dispatcher: none is there; `ganctl doctor` tells more"


# The screen.


def texts_of(shown: Sequence[Row]) -> list[str]:
    return ["  ".join(piece.text for piece in row) for row in shown]


def collapsed(spec: TrainSpec, **also: Any) -> Scene:
    """A training of three attempts that is evaluated, collapses, and has not reported for a while."""
    pulse = TRAINING.model_copy(update={"report_age_s": 1.0, "report_every_s": 2.0, "still_s": 1.0})
    report = REPORT.model_copy(update={"health": Health.COLLAPSED, "diversity": 0.02})
    findings = [{"kind": "collapse", "message": "samples are 0.02 as diverse as the data"}]
    events = [
        event(EventKind.STARTED, images=0), event(EventKind.REQUEUED, reason="worker_died"),
        event(EventKind.STARTED, 2, images=8), event(EventKind.REQUEUED, 2, reason="stalled"),
        event(EventKind.STARTED, 3, images=16), event(EventKind.SAMPLES, 3, 9, images=16, key="k"),
        event(EventKind.HEALTH, 3, before="ok", state="collapsed", images=16, findings=findings),
    ]  # fmt: skip
    found = [evaluation("tiny-abc", 8, 28.4), evaluation("tiny-abc", 16, 310.2)]
    job = make(spec, **RUNNING, pulse=pulse, progress=report, attempt=3)
    reports = [REPORT.model_copy(update={"images": images, "loss_g": float(images)}) for images in range(1, 17)]
    plain: dict[str, Any] = {"events": events, "evaluations": found, "reports": reports, "now_s": 1_045.0}
    return Scene(job, **(plain | also))


def test_a_screen_tells_the_whole_story(spec: TrainSpec, judging: EvaluateSpec) -> None:
    evaluations = [
        make(judging, **RUNNING, pulse=MEASURING),
        make(judging, **RUNNING, pulse=Pulse(activity=Activity.LOADING, waits_for=WAITS)),
        make(judging, waiting_for="1 CPU to be free"),
    ]  # fmt: skip
    assert texts_of(rows(collapsed(spec, evaluation_jobs=evaluations, more_evaluation_jobs=2), 100)) == [
        "running  health collapsed  attempt 3",
        "no report for 46 s; usually 2 s",
        "since 16 images: samples are 0.02 as diverse as the data",
        "24 of 64 images  0.25 epochs  8 images/s",
        "loss G 0.700 ▁▁▂▂▃▃▄▄▅▅▆▆▇▇██  D 1.300 ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁",
        "D(x) 0.60 D(G(z)) 0.40  diversity 0.02 of the data's",
        "classifier_frechet_distance 310.2 at 16 images  best 28.4 at 8  ▁█",
        "evaluation of 16 images  generating and measuring pictures  41%  31s left",
        "evaluation of 16 images  loading the data set  0%  waits for the classifier of digits, which...",
        "evaluation of 16 images  queued  waits for 1 CPU to be free",
        "2 more in the queue",
        "attempt 2 ended because it stood still; attempt 3 went on at 16 images",
    ]


def test_colours_carry_health(spec: TrainSpec) -> None:
    styles = {piece.text: piece.style for row in rows(collapsed(spec), 100) for piece in row}
    assert styles["health collapsed"] == "bold red"
    assert styles["no report for 46 s; usually 2 s"] == "bold red"
    healthy = {piece.text: piece.style for row in rows(Scene(make(spec, progress=REPORT), 0.0), 100) for piece in row}
    assert healthy["health ok"] == "green"


def test_a_report_in_time_is_told_beside_the_state(spec: TrainSpec) -> None:
    [first, *_] = texts_of(rows(collapsed(spec, now_s=1_000.2), 100))
    assert first == "running  health collapsed  attempt 3  last report 1 s ago; usually every 2 s"


def test_a_screen_of_an_evaluation_says_what_it_waits_for(judging: EvaluateSpec) -> None:
    job = make(judging, **RUNNING, pulse=Pulse(activity=Activity.LOADING, waits_for=WAITS))
    assert texts_of(rows(Scene(job, 1_000.0), 80)) == [
        "running  loading the data set", "of tiny-abc at 16 images", f"waits for {WAITS}"
    ]  # fmt: skip


def test_letters_that_a_terminal_lacks_are_not_used(spec: TrainSpec) -> None:
    assert "".join(texts_of(rows(collapsed(spec), 80, is_ascii=True))).isascii()


@given(width=some.integers(20, 250))
def test_no_line_is_wider_than_the_screen(spec: TrainSpec, width: int) -> None:
    assert max(map(len, texts_of(rows(collapsed(spec), width)))) <= width


def shown(scene: Scene, size: tuple[int, int], settings: Settings, encoding: str = "utf-8") -> list[str]:
    """The lines that a terminal of a size gets, without colours."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)
    console = Console(file=file, width=size[0], height=size[1], force_terminal=True, no_color=True, color_system=None)
    console.print(draw(scene, WatchedPicture(ArtifactStore(settings), console), console))
    return raw.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("size", [(40, 10), (80, 24), (120, 40), (200, 50)])
def test_a_screen_fits_and_says_how_samples_are_seen(size: tuple[int, int], encoding: str, spec: TrainSpec) -> None:
    nowhere = Settings(store_url="http://127.0.0.1:9/gan", store_access_key="k", store_secret_key="s")
    lines = shown(collapsed(spec), size, nowhere, encoding)
    assert max(map(len, lines)) <= size[0]
    assert "tiny-abc" in lines[0]
    assert "38%" in lines[0]
    if size[1] > 10:
        assert len(lines) < size[1]
        assert "samples at 16 images: ganctl cp tiny-abc:grid ." in lines
