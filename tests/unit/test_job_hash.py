"""Reading a job from its hash in Redis."""

import pytest

from ganservice.errors import JobUnreadable
from ganservice.job import State
from ganservice.job_hash import read_job
from ganservice.spec import LONGEST_KNOWN_SPEC, TrainSpec, spec_text


def fields_of(text: str, **others: str) -> dict[str, str]:
    """The hash of a job with this spec."""
    whole = {"id": "tiny-1", "state": "queued", "priority": "50", "order": "1", "submitted_at": "1000", "spec": text}
    return whole | others


def test_a_spec_is_read_once_however_often_its_job_is(spec: TrainSpec) -> None:
    text = spec_text(spec)
    before, after = read_job(fields_of(text)), read_job(fields_of(text, state="running", id="tiny-2"))
    assert (before.state, after.state) == (State.QUEUED, State.RUNNING)
    assert before.spec == spec
    assert after.spec is before.spec


def test_long_specs_are_not_remembered(spec: TrainSpec) -> None:
    text = spec_text(spec)
    padded = text + " " * (LONGEST_KNOWN_SPEC + 1 - len(text))
    assert read_job(fields_of(padded)).spec == spec
    assert read_job(fields_of(padded)).spec is not read_job(fields_of(padded)).spec


@pytest.mark.parametrize("text", ["", "null", "{}", '{}, "user": "eve"', '{"kind": "evaluate"}'])
def test_a_damaged_spec_makes_its_job_unreadable_each_time(text: str) -> None:
    for _ in range(2):
        with pytest.raises(JobUnreadable, match="tiny-1"):
            read_job(fields_of(text))


def test_a_job_without_a_spec_is_unreadable(spec: TrainSpec) -> None:
    fields = fields_of(spec_text(spec))
    del fields["spec"]
    with pytest.raises(JobUnreadable):
        read_job(fields)
