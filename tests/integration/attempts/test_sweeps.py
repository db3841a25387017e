"""A sweep whose jobs really train: those that are let go on do so from where they halted, as if they never had."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ganservice.job import Reason, State
from ganservice.leadership import Leadership
from ganservice.spec import evaluation_name
from ganservice.spec_file import load_spec
from ganservice.sweep import SweepSpec
from ganservice.sweep_plan import Child
from tests.integration.attempts.in_process import InProcess
from tests.integration.jobs import submit_sweep
from tests.specs import SHORT
from workers.attempt import checkpoints
from workers.dispatch import sweeps
from workers.dispatch.sweeps import SweepWatch
from workers.dispatch.troubles import Troubles

pytestmark = pytest.mark.usefixtures("quick_bundles")
JUDGED = {"judging": {"network": "pixels", "samples": 200, "measures": ["frechet"]}}


@pytest.fixture
def watch(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """One look of a dispatcher at all sweeps."""
    monkeypatch.setattr(sweeps, "LOOK_SHARE", 1e9)
    with Leadership(service.settings) as leadership:
        token = leadership.lead()
        assert token
        yield lambda: SweepWatch(service.settings, Troubles()).advance(token)
        leadership.resign(token)


def halving(spec_file: Callable[..., str]) -> SweepSpec:
    base = load_spec(Path(spec_file("halved", **SHORT | {"evaluate": JUDGED})))
    rates = {"kind": "listed", "key": "recipe.optimiser_g.lr", "values": [2e-4, 1e-9, 1e-8]}
    return SweepSpec.model_validate({"base": base, "factors": [rates], "halving": 3})


def judge(service: InProcess, child: Child) -> None:
    for evaluation in service.queue().evaluation_jobs(child.job_id):
        assert service.finish(evaluation).state is State.SUCCEEDED


def test_who_goes_on_comes_to_the_weights_of_one_that_never_halted(
    service: InProcess, spec_file: Callable[..., str], watch: Callable[[], None]
) -> None:
    queue, spec = service.queue(), halving(spec_file)
    base = service.store.find_data_set("fashion-mnist", None).fit(spec.base)
    sweep_id = submit_sweep(queue, spec.model_copy(update={"base": base}))
    watch()
    for child in queue.children(queue.sweep(sweep_id)):
        job = service.attempt(child.job_id)
        assert (job.state, job.reason, job.halted, job.images) == (State.QUEUED, Reason.HALTED, True, 1_280)
        watch()
        assert queue.get(child.job_id).halted, "others are to be judged first"
        judge(service, child)
    watch()
    first, *others = queue.children(queue.sweep(sweep_id))
    assert {queue.get(child.job_id).state for child in others} == {State.CANCELLED}
    job = service.attempt(first.job_id)
    assert (job.state, job.attempt, job.resumed_images) == (State.SUCCEEDED, 2, 1_280)
    judge(service, first)
    watch()
    found = queue.sweep(sweep_id)
    assert found.state is State.SUCCEEDED
    assert found.children
    assert [(child.trained_images, len(child.findings)) for child in found.children] == [
        (3_840, 2),
        (1_280, 1),
        (1_280, 1),
    ]
    whole, _ = queue.submit(queue.get(first.job_id).spec.model_copy(update={"evaluate": None}))
    service.finish(whole)
    assert service.weights(first.job_id) == service.weights(whole)


def test_one_that_dies_between_its_checkpoint_and_its_evaluation_is_judged_all_the_same(
    service: InProcess, spec_file: Callable[..., str], watch: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, spec = service.queue(), halving(spec_file)
    base = service.store.find_data_set("fashion-mnist", None).fit(spec.base)
    sweep_id = submit_sweep(queue, spec.model_copy(update={"base": base}))
    watch()
    child = queue.children(queue.sweep(sweep_id))[0]
    name, deaths = evaluation_name, iter([torch.distributed.DistNetworkError("the machine is gone")])

    def die_first(training: str) -> str:
        for death in deaths:
            raise death
        return name(training)

    monkeypatch.setattr(checkpoints, "evaluation_name", die_first)
    job = service.attempt(child.job_id)
    assert (job.reason, queue.evaluation_jobs(child.job_id)) == (Reason.WORKER_DIED, [])
    job = service.attempt(child.job_id)
    assert (job.reason, job.resumed_images) == (Reason.HALTED, 1_280)
    assert len(queue.evaluation_jobs(child.job_id)) == 1
    queue.cancel_sweep(sweep_id)
    watch()
    assert queue.evaluation_jobs(child.job_id) == []
    watch()
    assert queue.sweep(sweep_id).state is State.CANCELLED
