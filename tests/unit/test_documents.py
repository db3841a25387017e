"""What `-o json` prints, by its models."""

import pytest
from pydantic import ValidationError

from ganservice.documents import DOCUMENTS, LINES, EventDocument, JobDocument, LogDocument, job_document
from ganservice.documents.__main__ import schema_of_all
from ganservice.job import Event, EventKind, Health, Job, LogLine, Progress, Reason, State
from ganservice.job_heading import read_heading
from ganservice.judging import Judging
from ganservice.spec import EvaluateSpec, Subject, TrainSpec


@pytest.fixture
def job(spec: TrainSpec) -> Job:
    return Job(
        id="tiny-1", spec=spec.model_copy(update={"tags": ("a", "b")}), state=State.SUCCEEDED, priority=30,
        submitted_at=1.0, order=1, token=4711, reason=Reason.SUCCEEDED, progress=REPORT,
    )  # fmt: skip


REPORT = Progress(
    images=8, step=1, loss_g=0.7, loss_d=1.4, score_real=0.0, score_fake=0.0, health=Health.COLLAPSED, grad_norm_g=1.0,
    grad_norm_d=1.0, images_per_s=100.0, step_s=0.1,
)  # fmt: skip


def test_a_job_says_how_it_stands_and_no_secret_of_its_attempts(job: Job) -> None:
    plain = job_document(job).plain()
    assert plain["version"] == 1
    assert (plain["id"], plain["kind"], plain["priority"], plain["tags"]) == ("tiny-1", "train", 30, ["a", "b"])
    assert plain["reservation"] == {"kind": "collapsed", "text": "its samples were all alike"}
    assert plain["report"]["loss_g"] == 0.7
    assert plain["evaluation_jobs"] is None
    assert "4711" not in str(plain)
    assert plain["spec"] is None


def test_the_whole_spec_is_there_for_who_asks(job: Job) -> None:
    assert job_document(job, with_spec=True).plain()["spec"] == job.spec.model_dump(mode="json")


def test_an_evaluation_tells_what_it_judges(job: Job, spec: TrainSpec) -> None:
    subject = Subject(job_id="tiny-1", images=8, checkpoint="c")
    judged = EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())
    evaluation = job.model_copy(update={"id": "e-1", "spec": judged, "state": State.QUEUED})
    assert job_document(evaluation).plain()["of"] == {"job_id": "tiny-1", "images": 8, "checkpoint": "c"}
    row = ("queued", "ada", "2", "1000", "tiny-1", "8", None)
    heading = read_heading("e-1", row)
    assert heading
    listed = job_document(job, evaluation_jobs=[heading]).plain()["evaluation_jobs"]
    assert listed == [{"id": "e-1", "state": "queued", "images": 8}]


def test_entries_of_streams_name_their_job() -> None:
    event = Event(id="1-0", at=1.0, kind=EventKind.HEALTH, attempt=1, detail={"state": "ok", "images": 8})
    assert EventDocument.of("tiny-1", event).plain() == {
        "version": 1, "job_id": "tiny-1", "id": "1-0", "at": 1.0, "attempt": 1, "kind": "health",
        "text": "health is ok at 8 images", "detail": {"state": "ok", "images": 8},
    }  # fmt: skip
    refused = Event(id="2-0", at=1.0, kind=EventKind.STALE_WRITE_REFUSED, attempt=1, detail={"token": "4711"})
    assert EventDocument.of("tiny-1", refused).plain()["detail"] == {}
    line = LogDocument.of("tiny-1", LogLine(id="1-0", at=1.0, attempt=1, text="begins")).plain()
    assert (line["job_id"], line["text"]) == ("tiny-1", "begins")


def test_a_key_that_no_document_has_is_refused(job: Job) -> None:
    with pytest.raises(ValidationError, match="token"):
        JobDocument.model_validate(job_document(job).plain() | {"token": 1})


def test_every_document_is_whole_and_told() -> None:
    assert set(LINES) <= set(DOCUMENTS)
    for name, schema in schema_of_all()["$defs"].items():
        if name.endswith(("Document", "Section")):
            assert schema["description"].endswith("."), name
            assert set(schema["required"]) == set(schema["properties"]), f"{name}: every key is always there"
            assert schema["additionalProperties"] is False
            for key, field in schema["properties"].items():
                assert field["description"].endswith("."), f"{name}.{key}"
