"""What an attempt computes on: what its job asked for, or it ends."""

from collections.abc import Callable

import pytest
import torch

from ganservice.errors import LeaseLost
from ganservice.job import Pulse, Reason, State
from ganservice.spec import Resources, TrainSpec
from tests.integration.attempts.in_process import InProcess, at_images
from tests.integration.jobs import submit
from tests.specs import SHORT
from workers.attempt.process_group import run_worker


@pytest.mark.usefixtures("quick_bundles")
def test_an_attempt_tells_what_it_computes_on(service: InProcess, spec_file: Callable[..., str]) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    told: list[Pulse | None] = []

    def look() -> None:
        service.await_beats(job_id)
        told.append(service.job(job_id).pulse)

    with at_images(640, look):
        service.attempt(job_id)
    assert [pulse and pulse.device for pulse in told] == ["cpu"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_sees_none_of_its_gpus_gives_the_job_back(
    rank: int, service: InProcess, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    job_id = submit(service.queue(), spec, resources=Resources(workers=2, gpus_per_worker=1))
    lease = service.take(job_id)
    with pytest.raises(LeaseLost, match="sees none"):
        run_worker(service.settings, lease, rank, "127.0.0.1:1", "127.0.0.1", lambda: None)
    job = service.job(job_id)
    assert (job.state, job.reason, job.failures, job.troubles) == (State.QUEUED, Reason.NO_GPU, 0, 1)
    assert str(job.message).startswith(f"worker {rank} on ")
