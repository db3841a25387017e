"""Commands about several jobs: names, `@last` and patterns, a line for each, and the worst exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ganservice.cli import ganctl
from ganservice.errors import GanServiceError, IllegalTransition, JobNotFound, RequestError
from ganservice.job import Health, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec
from tests.integration.broker import Broker
from tests.integration.conftest import Submitter
from tests.integration.jobs import (
    FAILURE,
    SUCCESS,
    evaluate,
    evaluation,
    finish_training,
    judge,
    lease,
    submit,
    submit_evaluation,
)

Give = Callable[..., Result]


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def give(settings: Settings) -> Give:
    """Give a command as ada, with a broker and no store."""
    assert settings.broker_url
    environment = {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value(), "GANSERVICE_USER": "ada"}

    def run(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(ganctl, arguments)

    return run


@pytest.fixture
def points() -> TrainSpec:
    """A training that learns a mixture in the plane."""
    return load_spec(Path("configs/ring2d.yaml"))


@pytest.fixture
def by_bob(settings: Settings, spec: TrainSpec) -> Callable[[], str]:
    """by_bob(): a job of somebody else."""

    def by_bob() -> str:
        with JobQueue(settings.model_copy(update={"user": "bob"})) as queue:
            return submit(queue, spec)

    return by_bob


def refusal(done: Result) -> GanServiceError:
    assert isinstance(done.exception, GanServiceError), done.output
    return done.exception


def documents(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def states(queue: JobQueue, *job_ids: str) -> list[State]:
    return [queue.get(job_id).state for job_id in job_ids]


# Which jobs are meant


def test_a_pattern_cancels_what_is_ones_own_and_can_be_cancelled(
    give: Give, queue: JobQueue, spec: TrainSpec, by_bob: Callable[[], str]
) -> None:
    done = finish_training(queue, spec)
    mine, other, bobs = submit(queue, spec), submit(queue, spec, name="other"), by_bob()
    given = give("cancel", "ti*")
    assert given.exit_code == 0, given.output
    assert given.stderr == f"{mine} is cancelled; `ganctl retry {mine}` takes it up again\n"
    assert states(queue, done, mine, other, bobs) == [
        State.SUCCEEDED, State.CANCELLED, State.QUEUED, State.QUEUED
    ]  # fmt: skip
    assert give("cancel", "*", "--user", "bob").exit_code == 0
    assert states(queue, other, bobs) == [State.QUEUED, State.CANCELLED]
    assert bobs in give("retry", "*", "--all-users").stderr
    assert states(queue, mine, bobs) == [State.QUEUED, State.QUEUED]


def test_a_pattern_that_matches_nothing_is_one_line_and_no_such_job(
    give: Give, queue: JobQueue, spec: TrainSpec, by_bob: Callable[[], str]
) -> None:
    submit(queue, spec)
    by_bob()
    for command, meant in (("cancel", "queued or running "), ("retry", "failed or cancelled "), ("show", "")):
        error = refusal(give(command, "fash*"))
        assert isinstance(error, JobNotFound)
        assert str(error) == f"fash*: matches no {meant}job of ada; --all-users takes everybody's"
    both = refusal(give("cancel", "t*", "--user", "bob", "--all-users"))
    assert isinstance(both, RequestError)


def test_last_is_ones_own_newest_job_and_no_evaluation_of_its_training(
    give: Give, queue: JobQueue, spec: TrainSpec, by_bob: Callable[[], str]
) -> None:
    assert "ada has no job in the queue" in str(refusal(give("show", "@last")))
    mine = submit(queue, spec)
    by_bob()
    assert json.loads(give("show", "@last", "-o", "json").stdout)["id"] == mine
    asked = submit_evaluation(queue, spec, mine, 64)
    judging = queue.get(asked).spec
    queue.submit(judging, idempotency_key="evaluate/jobs/tiny/c", for_user_of=mine)
    assert json.loads(give("show", "@last", "-o", "json").stdout)["id"] == asked, "he has asked for it"


# What comes of each


def test_each_job_has_a_line_and_the_worst_code_counts(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    failed, queued = submit(queue, spec, max_attempts=1), submit(queue, spec)
    queue.finish(lease(queue), FAILURE)
    given = give("retry", failed, queued, "nobody", "-o", "json")
    assert given.exit_code == IllegalTransition.exit_code
    first, second, third = documents(given)
    assert (first["id"], first["done"], first["state"], first["error"]) == (failed, True, "queued", None)
    assert (second["id"], second["done"], second["exit_code"]) == (queued, False, IllegalTransition.exit_code)
    assert (third["id"], third["exit_code"]) == ("nobody", 102)
    assert "error: no job has the id or name nobody" in given.stderr
    assert states(queue, failed) == [State.QUEUED]


def test_one_job_is_refused_as_ever(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    assert isinstance(refusal(give("retry", submit(queue, spec))), IllegalTransition)
    assert isinstance(refusal(give("cancel", "nobody")), JobNotFound)


def test_a_job_that_is_meant_twice_is_changed_once(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    assert len(documents(give("cancel", job_id, "tiny", "ti*", "-o", "json"))) == 1


def test_several_jobs_are_shown_one_after_the_other(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    first, second = submit(queue, spec), submit(queue, spec, name="other", tags=("paper",), note="for the thesis")
    shown = give("show", first, "oth*")
    assert shown.exit_code == 0, shown.output
    assert [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("id ")] == [first, second]
    assert "for the thesis" in shown.stdout
    assert "paper" in shown.stdout
    assert "generator:" not in shown.stdout, "the spec is told when it is asked for"
    assert "generator:" in give("show", first, "--spec").stdout
    assert [each["spec"] for each in documents(give("show", "*", "-o", "json"))] == [None, None]
    assert documents(give("show", first, "--spec", "-o", "json"))[0]["spec"]["name"] == "tiny"


# Priorities


def test_a_priority_is_given_by_number_or_word(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    given = give("set-priority", first, second, "high", "-o", "json")
    assert [(each["id"], each["before"], each["priority"]) for each in documents(given)] == [
        (first, 50, 75), (second, 50, 75)
    ]  # fmt: skip
    assert "has priority 7, and had 75" in give("set-priority", first, "7").stderr
    assert "has priority 7, as before" in give("set-priority", first, "7").stderr
    assert [queue.get(job_id).priority for job_id in (first, second)] == [7, 75]
    assert lease(queue).job_id == second
    for odd in ("101", "-1", "soon", "9" * 5_000):
        assert give("set-priority", first, "--", odd).exit_code == 2


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_changes_the_priority_of_his_own_jobs(
    submitter: Submitter, queue: JobQueue, spec: TrainSpec, broker: Broker, settings: Settings
) -> None:
    carol = submitter("carol")
    his, mine = submit(carol, spec), submit(queue, spec)
    url = broker.as_user("carol", settings).broker_url
    assert url
    runner = CliRunner(env={"GANSERVICE_BROKER_URL": url.get_secret_value()})
    assert runner.invoke(ganctl, ["set-priority", his, "75"]).exit_code == 0
    assert runner.invoke(ganctl, ["set-priority", mine, "75"]).exit_code != 0
    assert [queue.get(job_id).priority for job_id in (his, mine)] == [75, 50]


# Waiting


def test_a_success_with_a_reservation_is_told_and_counts_where_health_is_asked_for(
    give: Give, queue: JobQueue, spec: TrainSpec
) -> None:
    fine, ill = finish_training(queue, spec), finish_training(queue, spec, Health.COLLAPSED)
    given = give("wait", fine, ill)
    assert given.exit_code == 0
    assert given.stderr == f"{fine} has succeeded\n{ill} has succeeded, but collapsed: its samples were all alike\n"
    assert give("wait", fine, "--healthy").exit_code == 0
    assert give("wait", ill, "--healthy").exit_code == 104
    [told] = documents(give("wait", ill, "--healthy", "-o", "json"))
    assert (told["state"], told["exit_code"]) == ("succeeded", 104)
    assert told["reservation"] == {"kind": "collapsed", "text": "its samples were all alike"}


def test_what_evaluations_found_is_a_reservation_too(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = finish_training(queue, spec)
    for images, distance in ((32, 10.0), (64, 90.0)):
        judge(queue, spec, job_id, images, distance)
    given = give("wait", job_id, "--healthy")
    assert given.exit_code == 104
    assert "has succeeded, but far from its best: classifier_frechet_distance 90 at 64 images, 10 at 32" in given.stderr


def test_of_several_jobs_the_worst_end_counts(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    good = finish_training(queue, spec)
    bad = submit(queue, spec, max_attempts=1)
    queue.finish(lease(queue), FAILURE)
    stopped = submit(queue, spec)
    queue.cancel(stopped)
    assert give("wait", good, stopped).exit_code == 103
    assert give("wait", good, bad, stopped).exit_code == 100
    waits = submit(queue, spec)
    given = give("wait", good, waits, "--timeout", "0", "-o", "json")
    assert given.exit_code == 101
    assert [(each["id"], each["done"], each["exit_code"]) for each in documents(given)] == [
        (good, True, 0), (waits, False, 101)
    ]  # fmt: skip
    queue.finish(lease(queue), SUCCESS)
    assert give("wait", "ti*").exit_code == 100, "all of one's own, and the worst of them"


# Comparing


def test_what_cannot_be_compared_is_told_what_leads_on(
    give: Give, queue: JobQueue, spec: TrainSpec, points: TrainSpec
) -> None:
    mixture, waits, trained = submit(queue, points), submit(queue, spec), finish_training(queue, spec)
    assert "learned points in the plane, which no evaluation judges; `ganctl show" in str(
        refusal(give("compare", mixture))
    )
    assert f"{waits} is queued and has no checkpoint to evaluate" in str(refusal(give("compare", waits)))
    submit_evaluation(queue, spec, trained, 64)
    assert f"{trained}: its evaluation is in the queue yet" in str(refusal(give("compare", trained)))


def test_what_is_compared_is_named_as_commands_take_it(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    first, second = finish_training(queue, spec), finish_training(queue, spec)
    finish_training(queue, spec)
    judge(queue, spec, first, 64, 10.0)
    judge(queue, spec, second, 64, 20.0)
    table = give("compare", first, second)
    assert table.exit_code == 0, table.output
    assert table.stdout.splitlines()[0].split() == ["measure", "better", first, second]
    found = json.loads(give("compare", "ti*", "-o", "json").stdout)
    assert set(found["jobs"]) == {first, second}, "a pattern passes over what was never evaluated"


def test_where_judges_disagree_commands_say_so_and_whom_they_follow(
    give: Give, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id, alone = finish_training(queue, spec), finish_training(queue, spec)
    judge(queue, spec, alone, 64, 2.0)
    by_pixels = {64: 0.9, 128: 0.1, 192: 0.3, 256: 0.8}
    for images, distance in by_pixels.items():
        one = evaluation(job_id, images, 1000 / images)
        other = evaluation(job_id, images, distance, network="pixels", network_digest="p")
        evaluate(queue, spec, one, other.model_copy(update={"advisory": True}))
    told = (
        "judges disagree: by pixels_frechet_distance the best is at 128 images (0.1; 0.8 at 256, which was chosen), "
        "ranks of 4 checkpoints correlate by 0.00"
    )
    shown = give("show", job_id).stdout
    assert "at 256 images" in shown
    assert ", the best by classifier_frechet_distance" in shown
    assert told in shown
    [document] = [json.loads(line) for line in give("show", job_id, "-o", "json").stdout.splitlines()]
    assert (document["chosen_by"], document["disagreements"]) == ("classifier_frechet_distance", [told])
    table = give("compare", job_id, alone)
    assert "best by classifier_frechet_distance; protocol" in table.stderr
    assert f"warning: {job_id}: {told}" in table.stderr
    [row] = [line.split() for line in table.stdout.splitlines() if line.startswith("pixels_frechet_distance")]
    assert row == ["pixels_frechet_distance", "lower", "0.8"]
    found = json.loads(give("compare", job_id, alone, "-o", "json").stdout)
    assert found["chosen_by"] == "classifier_frechet_distance"
    assert found["disagreements"] == {job_id: [told], alone: []}


# What stops how


def test_only_a_training_is_said_to_stop_after_a_checkpoint(give: Give, queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    lease(queue)
    judging = submit_evaluation(queue, spec, training, 64)
    queue.take(judging)
    for job_id, after in ((training, ", after a checkpoint"), (judging, "")):
        said = give("cancel", job_id).stderr
        assert said == f"{job_id} stops within seconds{after}; `ganctl wait {job_id}` tells when\n"
