"""`submit`: names, tags and notes, what it warns of, and what it says a training will take."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganservice.cli import ganctl
from ganservice.job import Capacity, Health
from ganservice.leadership import Cluster, Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from ganservice.spec_file import load_spec
from tests.commands import Command
from tests.integration.broker import Broker
from tests.integration.jobs import finish_training, submit

POINTS, PICTURES = "configs/ring2d.yaml", "configs/fashion-dcgan.yaml"
Give = Callable[..., Result]


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def points() -> TrainSpec:
    return load_spec(Path(POINTS))


@pytest.fixture
def give(settings: Settings) -> Give:
    """Give `submit` the spec of a mixture in the plane, with a broker and no store."""
    assert settings.broker_url
    environment = {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value(), "GANSERVICE_USER": "ada"}

    def run(*options: str) -> Result:
        return CliRunner(env=environment).invoke(ganctl, ["submit", POINTS, *options])

    return run


@pytest.fixture
def two_cpus(settings: Settings) -> Iterator[None]:
    """A cluster of two CPUs, as its leading dispatcher sees it."""
    two = Capacity(cpus=2, gpus=0)
    with Leadership(settings) as leadership:
        leadership.lead(Cluster(nodes=1, total=two, free=two))
        yield


# What is submitted


def test_a_job_has_the_name_the_tags_and_the_note_that_it_is_given(give: Give, queue: JobQueue) -> None:
    given = give("-n", "mine", "--tag", "paper", "-t", "gan-2", "--note", "beta: 0.5, else as before", "--once")
    assert given.exit_code == 0, given.output
    job = queue.get(given.stdout.strip())
    assert (job.name, job.spec.tags, job.user) == ("mine", ("paper", "gan-2"), "ada")
    assert job.spec.note == "beta: 0.5, else as before"


def test_tags_are_added_to_those_of_the_spec(give: Give, queue: JobQueue) -> None:
    given = give("--set", "tags=[old]", "--tag", "new", "--tag", "old")
    assert queue.get(given.stdout.strip()).spec.tags == ("old", "new")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-n", "Not So"), "name: found"),
        (("--tag", "a,b"), "tags.0: found"),
        (("--note", "x" * 501), "note: found"),
        (("--spec",), "--spec: expected together with --dry-run"),
    ],
)
def test_what_can_be_none_is_refused(give: Give, queue: JobQueue, options: tuple[str, ...], says: str) -> None:
    done = give(*options)
    assert says in str(done.exception)
    assert queue.list_ids() == set()


def test_a_job_waits_for_the_one_after_which_it_is_to_run(
    give: Give, queue: JobQueue, settings: Settings, points: TrainSpec
) -> None:
    assert settings.broker_url
    first = submit(queue, points)
    done = give("--after", "ring2d", "--note", "second")
    assert done.exit_code == 0, done.output
    follower = done.stdout.strip()
    assert queue.get(follower).after == first
    environment = {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value()}
    listed = CliRunner(env=environment).invoke(ganctl, ["list"]).stdout
    assert f"waits for {first} to succeed" in listed
    assert f"after      {first}" in CliRunner(env=environment).invoke(ganctl, ["show", follower]).stdout
    queue.cancel(first)
    refused = give("--after", first)
    assert str(refused.exception) == f"{first}, after which it is to run, is cancelled"


@pytest.mark.usefixtures("two_cpus")
def test_what_no_cluster_here_can_hold_is_said_as_the_dispatcher_says_it(give: Give, queue: JobQueue) -> None:
    given = give("--set", "resources.cpus_per_worker=64", "--set", "resources.gpus_per_worker=1")
    assert given.exit_code == 0
    need = "64 CPUs and 1 GPU; the cluster has 2 CPUs"
    assert f"warning: it would wait for {need}, until somebody adds to that" in given.stderr
    two = Capacity(cpus=2, gpus=0)
    assert queue.lease(two, two) is None
    assert queue.get(given.stdout.strip()).waits_for == need
    [warning] = json.loads(give("--set", "resources.cpus_per_worker=3", "-o", "json").stdout)["warnings"]
    assert "3 CPUs; the cluster has 2 CPUs" in warning
    assert "warning" not in give().stderr


def test_settings_that_cannot_work_are_submitted_with_a_warning(give: Give, queue: JobQueue) -> None:
    label = ("--set", "recipe.loss.real_label=1.2")
    given = give(*label)
    assert given.exit_code == 0
    assert "warning: recipe.loss.real_label: 1.2 is more than 1 in the mean" in given.stderr
    assert queue.get(given.stdout.strip())
    assert "warning: recipe.loss.real_label: 1.2" in give(*label, "--dry-run").stderr
    [warning] = json.loads(give(*label, "-o", "json").stdout)["warnings"]
    assert warning.startswith("recipe.loss.real_label: ")


@pytest.mark.parametrize(
    ("cpus", "gpus", "total", "need"),
    [
        (2, 0, (2, 0), None),
        (3, 0, (1, 0), "3 CPUs; the cluster has 1 CPU"),
        (1, 1, (2, 0), "1 CPU and 1 GPU; the cluster has 2 CPUs"),
        (1, 4, (2, 2), "1 CPU and 4 GPUs; the cluster has 2 CPUs and 2 GPUs"),
    ],
)
def test_both_say_what_is_waited_for_alike(
    queue: JobQueue, spec: TrainSpec, cpus: int, gpus: int, total: tuple[int, int], need: str | None
) -> None:
    capacity = Capacity(*map(float, total))
    resources = Resources(cpus_per_worker=cpus, gpus_per_worker=gpus)
    assert Cluster(nodes=1, total=capacity, free=capacity).cannot_hold(resources) == need
    job_id = submit(queue, spec, resources=resources)
    queue.lease(capacity, capacity)
    assert queue.get(job_id).waits_for == need


# What it would take


def test_a_plan_ends_with_the_time_and_cost_of_trainings_like_it(
    give: Give, queue: JobQueue, points: TrainSpec
) -> None:
    for _ in range(2):
        finish_training(queue, points)  # at 100 images/s
    submit(queue, points)
    *_, time, cost = give("--dry-run", "--set", "images=36_352").stdout.splitlines()
    recipe = "2 trainings with the same recipe, on as many CPUs and GPUs"
    assert time.split(maxsplit=1) == ["time", f"6m 4s at 100 images/s, the speed of {recipe}"]
    assert cost.split(maxsplit=1) == ["cost", "0.20 CPU hours"]
    estimate = json.loads(give("--dry-run", "-o", "json").stdout)["estimate"]
    assert (estimate["images_per_s"], estimate["jobs"]) == (100.0, 2)
    assert len(queue.list_ids()) == 3, "nothing is submitted"


def test_a_plan_says_so_where_nothing_like_it_has_run(give: Give) -> None:
    done = give("--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].split(maxsplit=1) == ["time", "not known: no training like it has run here"]


def test_a_plan_needs_no_broker() -> None:
    done = CliRunner(env={"GANSERVICE_BROKER_URL": "redis://127.0.0.1:9/0"}).invoke(
        ganctl, ["submit", POINTS, "--dry-run"]
    )
    assert done.exit_code == 0
    assert "how long it takes is not known: " in done.stderr


def test_a_plan_warns_of_a_data_set_that_the_store_lacks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ("submit", PICTURES, "--dry-run", "--set", "recipe.data.dataset=nothing")
    missing = "the store holds no data set nothing; run `ganctl data get nothing`"
    assert f"warning: {missing}" in command(*plan).err
    [warning] = json.loads(command(*plan, "-o", "json").out)["warnings"]
    assert warning.startswith(missing)
    monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:9/away")
    assert command(*plan).err == ""
    for name in ("URL", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"GANSERVICE_STORE_{name}")
    assert command(*plan).err == ""


@pytest.mark.parametrize(
    ("every_images", "told"),
    [(40_000, "2 and one at the end"), (120_000, "one at the end alone, ")],
)
def test_a_plan_says_when_a_death_would_cost_all(command: Command, every_images: int, told: str) -> None:
    """It said "0 and one at the end", which is easily read over."""
    asked = ("--set", "images=120000", "--set", f"checkpoints.every_images={every_images}", "--set", "evaluate=null")
    lines = command("submit", PICTURES, "--dry-run", *asked).out.splitlines()
    [checkpoints] = [line for line in lines if line.startswith("checkpoints")]
    assert checkpoints.split(maxsplit=1)[1].startswith(told)


@pytest.mark.parametrize(("also", "judges"), [("[pixels]", ", by each of 2 judges"), ("[]", "")])
def test_a_plan_tells_of_all_judges(command: Command, also: str, judges: str) -> None:
    asked = f"evaluate={{every_images: 40000, also: {also}}}"
    lines = command("submit", PICTURES, "--dry-run", "--set", "images=120000", "--set", asked).out.splitlines()
    [evaluations] = [line for line in lines if line.startswith("evaluations")]
    assert evaluations.split(maxsplit=1)[1] == f"2 and one at the end, at most{judges}"


def test_the_whole_spec_is_all_that_is_printed_where_it_is_asked_for(
    give: Give, points: TrainSpec, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.yaml"
    whole.write_text(give("--dry-run", "--spec").stdout)
    assert load_spec(whole) == points
    assert json.loads(give("--dry-run", "-o", "json").stdout)["spec"] is None
    assert json.loads(give("--dry-run", "--spec", "-o", "json").stdout)["spec"] == points.model_dump(mode="json")


# A store that is away


def test_show_needs_no_store(settings: Settings, queue: JobQueue, spec: TrainSpec) -> None:
    assert settings.broker_url
    environment = {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value()}
    job_id = finish_training(queue, spec, Health.COLLAPSED)
    done = CliRunner(env=environment).invoke(ganctl, ["show", job_id])
    assert done.exit_code == 0, done.output
    assert "succeeded, but collapsed: its samples were all alike" in done.stdout
    away = environment | {"GANSERVICE_STORE_URL": "http://127.0.0.1:9/bucket"}
    done = CliRunner(env=away).invoke(ganctl, ["show", job_id, "--artifacts"])
    assert done.exit_code == 0
    assert "its artifacts are not shown" in done.stderr
