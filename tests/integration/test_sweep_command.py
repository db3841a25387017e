"""`sweep`, and what other commands and the library do with sweeps."""

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from ganservice import Client, SweepNotInTime
from ganservice.artifacts import ArtifactStore
from ganservice.cli import ganctl
from ganservice.errors import DataMissing, GanServiceError, IllegalTransition, JobNotFound, RequestError, SpecInvalid
from ganservice.job import State
from ganservice.judging import Judging
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.spec_file import dump_spec
from tests.commands import Command
from tests.integration.broker import Broker
from tests.integration.jobs import CLUSTER, SUCCESS, evaluate, evaluation, report
from tests.integration.store import put_digits
from workers.dispatch.sweeps import SweepWatch
from workers.dispatch.troubles import Troubles

# Where nobody listens.
NOBODY = "redis://127.0.0.1:1/0"
GRID = ("--grid", "recipe.optimiser_g.lr=1e-4,2e-4", "--grid", "recipe.d_steps=1,2")


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def path(spec: TrainSpec, tmp_path: Path) -> str:
    """A spec that has itself evaluated."""
    file = tmp_path / "spec.yaml"
    file.write_text(
        dump_spec(spec.model_copy(update={"evaluate": Evaluate(judging=Judging(samples=100)), "images": 640}))
    )
    return str(file)


@pytest.fixture
def trained(
    command: Command, queue: JobQueue, store: ArtifactStore, settings: Settings, path: str, spec: TrainSpec
) -> str:
    """A sweep that is over: the second learning rate is the better one, and more steps of D do no good."""
    put_digits(store)
    sweep_id = command("sweep", path, *GRID, "--seeds", "2").out.strip()
    with Leadership(settings) as leadership:
        token = leadership.lead()
        assert token
        SweepWatch(settings, Troubles()).advance(token)
        places = {child.job_id: child.place for child in queue.children(queue.sweep(sweep_id))}
        while held := queue.lease(CLUSTER, CLUSTER):
            queue.heartbeat(held, report(640), trained_images=640)
            queue.finish(held, SUCCESS)
            place = places[held.job_id]
            found = evaluation(held.job_id, 640, [20.0, 24.0, 10.0, 12.0][place.setting] + 2 * place.seed)
            evaluate(queue, spec, found)
        SweepWatch(settings, Troubles()).advance(token)
        leadership.resign(token)
    assert queue.sweep(sweep_id).state is State.SUCCEEDED
    return sweep_id


def test_the_settings_of_a_sweep_are_shown_with_the_best_first(command: Command, trained: str) -> None:
    lines = command("show", trained).out.splitlines()
    fields = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert fields["state"] == "succeeded"
    assert fields["settings"] == "4, 2 seeds each: 8 jobs"
    assert fields["measure"] == "classifier_frechet_distance, lower is better"
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert table[0] == ["OPTIMISER_G.LR", "D_STEPS", "MEAN", "SPREAD", "SEEDS", "IMAGES", "JOBS"]
    assert table[1] == ["0.0002", "1", "11", "±", "1.4", "2/2", "1,280", "2", "succeeded"]
    assert [row[:3] for row in table[2:5]] == [["0.0002", "2", "13"], ["0.0001", "1", "21"], ["0.0001", "2", "25"]]
    assert lines[-2:] == [
        "  optimiser_g.lr  0.0001: 23, 0.0002: 12  (difference 11)", "  d_steps  1: 16, 2: 19  (difference 3)",
    ]  # fmt: skip
    document = json.loads(command("show", trained, "-o", "json").out)
    best = document["rows"][0]
    assert best["values"] == {"recipe.optimiser_g.lr": 2e-4, "recipe.d_steps": 1}
    assert (best["mean"], best["judged"], best["images"]) == (11.0, 2, 1_280)
    assert [job["quality"] for job in best["jobs"]] == [10.0, 12.0]
    assert [(effect["key"], effect["difference"]) for effect in document["effects"]] == [
        ("recipe.optimiser_g.lr", 11.0), ("recipe.d_steps", 3.0),
    ]  # fmt: skip
    assert document["images"] == 8 * 640


def test_its_page_has_the_settings_side_by_side(command: Command, trained: str, tmp_path: Path) -> None:
    written = command("report", trained, "--into", str(tmp_path / "sweep.html"))
    page = Path(written.out.strip()).read_text()
    assert page.index("0.0002") < page.index("0.0001")
    for text in ("classifier_frechet_distance", "11 ± 1.4", "optimiser_g.lr 0.0002, d_steps 1", "Effects"):
        assert text in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_sweep_is_waited_for_listed_and_deleted_with_its_jobs(
    command: Command, trained: str, queue: JobQueue
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("wait", trained)
    assert ended.value.code == 0
    assert trained in command("sweeps").out
    assert "8 succeeded" in command("sweeps").out
    listed = command("list", "--sweep", trained, "--kind", "train", "-o", "json").out
    assert {job["sweep"] for job in json.loads(listed)["jobs"]} == {trained}
    assert len(json.loads(listed)["jobs"]) == 8
    command("delete", trained, "--yes")
    with pytest.raises(JobNotFound):
        queue.sweep(trained)
    assert json.loads(command("list", "--sweep", trained, "-o", "json").out)["jobs"] == []


def test_nothing_is_deleted_of_a_sweep_that_is_not_over(
    command: Command, store: ArtifactStore, path: str, queue: JobQueue, settings: Settings
) -> None:
    put_digits(store)
    sweep_id = command("sweep", path, *GRID).out.strip()
    with Leadership(settings) as leadership:
        token = leadership.lead()
        assert token
        SweepWatch(settings, Troubles()).advance(token)
        leadership.resign(token)
    held = queue.lease(CLUSTER, CLUSTER)
    assert held
    queue.finish(held, SUCCESS)
    with pytest.raises(IllegalTransition) as refused:
        command("delete", sweep_id, "--yes")
    assert str(refused.value) == f"{sweep_id} is not over; `ganctl cancel {sweep_id}` first"
    assert queue.get(held.job_id).state is State.SUCCEEDED


def test_a_sweep_is_cancelled_by_its_id(command: Command, store: ArtifactStore, path: str, queue: JobQueue) -> None:
    put_digits(store)
    sweep_id = command("sweep", path, *GRID).out.strip()
    assert "the dispatcher cancels all its jobs" in command("cancel", sweep_id).err
    assert queue.sweep(sweep_id).cancel_requested
    assert "running, stopping" in command("show", sweep_id).out
    told = json.loads(command("cancel", sweep_id, "-o", "json").out)
    assert (told["id"], told["state"]) == (sweep_id, "running")


def test_the_same_key_gives_the_same_sweep(command: Command, store: ArtifactStore, path: str, queue: JobQueue) -> None:
    put_digits(store)
    key = ("--idempotency-key", "monday")
    first = command("sweep", path, *GRID, *key)
    again = command("sweep", path, *GRID, *key)
    assert again.out == first.out
    assert "it was submitted before; nothing is submitted twice" in again.err
    assert json.loads(command("sweep", path, *GRID, *key, "-o", "json").out)["created"] is False
    with pytest.raises(RequestError, match="the idempotency key monday belongs to tiny-sweep-"):
        command("sweep", path, *GRID, *key, "--seeds", "2")
    assert len(queue.sweep_ids()) == 1


def test_a_sweep_that_cannot_be_read_is_told_of_and_deleted_with_its_jobs(
    command: Command, trained: str, queue: JobQueue, admin: redis.Redis
) -> None:
    jobs = queue.sweep_jobs(trained)
    admin.hset(f"{{gan}}:sweep:{trained}", mapping={"spec": "of a later release", "settings": "many"})
    told = command("sweeps")
    assert (told.out, trained in told.err) == ("", True)
    assert "not shown: 1 that another version of ganservice wrote" in told.err
    assert json.loads(command("sweeps", "-o", "json").out)["unreadable"] == [trained]
    command("delete", trained, "--yes")
    assert queue.sweep_ids() == []
    assert not any(map(queue.knows, jobs))


def test_a_dry_run_says_which_jobs_there_would_be(command: Command, path: str, queue: JobQueue) -> None:
    told = command("sweep", path, *GRID, "--seeds", "3", "--halving", "4", "--dry-run")
    assert told.out.splitlines()[1].split() == ["0.0001", "1"]
    assert "12 jobs, 3,360 images at most" in told.err
    assert "halving: 160, 640 images" in told.err
    drawn = ("--log-uniform", "recipe.optimiser_g.lr=1e-5,1e-2", "--choice", "recipe.d_steps=1,2", "--trials", "5")
    plan = json.loads(command("sweep", path, *drawn, "--dry-run", "-o", "json").out)
    assert (len(plan["settings"]), plan["jobs"], plan["images"]) == (5, 5, 3_200)
    assert queue.sweep_ids() == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "the sweep: found no factor"),
        (["--grid", "recipe.d_steps"], "--grid recipe.d_steps: expected KEY=A,B"),
        (["--grid", "recipe.d_steps=1,["], "--grid recipe.d_steps=1,[: the values are not YAML"),
        (["--grid", "recipe.d_steps=1", "--grid", "recipe.d_steps=2"], "each key once"),
        (["--grid", "recipe.d_stepps=1,2"], "unknown key recipe.d_stepps; did you mean recipe.d_steps?"),
        (["--grid", "recipe.batch_size=0,8"], "recipe.batch_size"),
        (["--grid", "seed=1,2"], "seed: is the same in all jobs of a sweep"),
        (["--choice", "recipe.d_steps=1,2"], "trials is missing"),
        (["--grid", "recipe.d_steps=1,2", "--trials", "2"], "a grid has none of"),
        (["--uniform", "recipe.optimiser_g.lr=1e-4", "--trials", "2"], "expected the least and the most"),
        (["--uniform", "recipe.optimiser_g.lr=a,b", "--trials", "2"], 'recipe.optimiser_g.lr: found "a"'),
        ([*GRID, "--choice", "recipe.pack=1,2"], "found a grid and draws"),
        ([*GRID, "--halving", "5"], "halving: found 5, expected at most the number of settings, 4"),
        ([*GRID, "--budget", "much"], 'the budget: found "much", expected images, such as 500k-images'),
        ([*GRID, "--budget", "1-GPU-hours"], "found GPU-hours, but its jobs hold no GPU"),
        ([*GRID, "--seeds", "251"], "found 1,004 jobs, expected at most 1,000"),
    ],
)
def test_what_can_be_no_sweep_is_refused_with_one_line(path: str, options: list[str], says: str) -> None:
    refused = CliRunner(env={"GANSERVICE_BROKER_URL": NOBODY}).invoke(ganctl, ["sweep", path, *options])
    assert isinstance(refused.exception, SpecInvalid), "no server is asked"
    assert says in str(refused.exception)
    assert "\n" not in str(refused.exception)


def test_a_set_that_is_not_there_is_missed_before_anything_is_written(
    command: Command, path: str, queue: JobQueue
) -> None:
    with pytest.raises(DataMissing):
        command("sweep", path, *GRID)
    assert queue.sweep_ids() == []


def test_a_setting_that_fits_no_data_is_refused(
    command: Command, path: str, queue: JobQueue, store: ArtifactStore
) -> None:
    put_digits(store)
    with pytest.raises(GanServiceError, match=r"recipe\.batch_size: found 60000"):
        command("sweep", path, "--grid", "recipe.batch_size=8,60000")
    assert queue.sweep_ids() == []


def test_the_library_sweeps_too(
    settings: Settings, store: ArtifactStore, bucket: Settings, path: str, queue: JobQueue
) -> None:
    put_digits(store)
    names = ("store_url", "store_access_key", "store_secret_key")
    with Client(settings.model_copy(update={name: getattr(bucket, name) for name in names})) as client:
        sweep = client.sweep(path, grid={"recipe.d_steps": [1, 2]}, seeds=2, budget="2k-images", name="lib")
        found = sweep.get()
        assert (found.id, found.name, found.settings, found.seeds) == (sweep.id, "lib", 2, 2)
        assert queue.sweep(sweep.id).spec.budget.images == 2_000
        assert client.find_sweep(sweep.id[:-2]).id == sweep.id
        with pytest.raises(SweepNotInTime, match=f"{sweep.id} is running after 0 s"):
            sweep.wait(0)
        assert sweep.cancel() is State.RUNNING
        with pytest.raises(SpecInvalid, match="expected several values"):
            client.sweep(path, grid={"recipe.d_steps": "1,2"})
        with pytest.raises(RequestError, match="budget"):
            client.sweep(path, grid={"recipe.d_steps": [1, 2]}, budget=3)  # type: ignore[arg-type] # on purpose
        with pytest.raises(JobNotFound, match="no sweep has the id nothing"):
            client.find_sweep("nothing")
