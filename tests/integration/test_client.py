"""With the base dependencies alone every command of ganctl works, or says in one line what it lacks.

What only extras bring is hidden from each command's process; the broker and the store are real.
"""

import fcntl
import json
import os
import pty
import secrets
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from PIL import Image

from ganservice.artifacts import ArtifactStore
from ganservice.cli import ganctl
from ganservice.documents import DOCUMENTS, LINES
from ganservice.documents.__main__ import schema_of_all
from ganservice.errors import NotConfigured
from ganservice.job import Capacity, Outcome, Reason
from ganservice.leadership import Cluster, Leadership, Node
from ganservice.maintenance import Maintenance
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.spec_file import dump_spec
from ganservice.sweep_request import make_sweep
from ganservice.users import UserRecord, Users
from tests.commands import commands
from tests.extras import modules_of_extras
from tests.integration.broker import Broker
from tests.integration.bundles import PROGRESS, publish
from tests.integration.jobs import evaluation, lease, submit, submit_evaluation, submit_sweep
from tests.integration.store import put_digits

EXTRAS = modules_of_extras()
HIDDEN = sorted(set().union(*EXTRAS.values()))
NO_TORCH = "this takes torch, which is not installed: pip install 'ganservice[train]'"
NO_TENSORBOARD = "this takes tensorboard, which is not installed: pip install 'ganservice[tensorboard]'"
NO_PICTURES = "this takes numpy, which is not installed: pip install 'ganservice[client]'"
INSTALL_PICTURES = "to see the samples here: pip install 'ganservice[client]'"
# Beside each command that works, what it prints, among other things.
WORKING = {
    "down": ("", "nothing was running"),
    "doctor": ("", "works, external"),
    "submit": ("{spec}", "next: ganctl watch"),
    "sweep": ("{judged} --grid recipe.d_steps=1,2", "2 jobs; next: ganctl watch tiny-"),
    "sweeps": ("", "{sweep}"),
    "list": ("", "{trained}"),
    "show": ("{trained}", "succeeded"),
    "watch": ("{trained}", "{trained} has succeeded"),
    "logs": ("{trained}", ""),
    "events": ("{trained}", "succeeded"),
    "wait": ("{trained}", "{trained} has succeeded"),
    "cancel": ("{queued}", "{queued} is cancelled"),
    "retry": ("{cancelled}", "{cancelled} is queued again"),
    "set-priority": ("{queued} high", "{queued} has priority 75, and had 50"),
    "delete": ("{cancelled} --yes", "deleted {cancelled}: 0 objects"),
    "gc": ("--dry-run", "nothing to delete"),
    "fetch": ("{trained}", "every sha256 is right"),
    "ls": ("{trained} samples", "attempts/0001/samples/000000000064.png"),
    "cp": ("{trained}:metrics copied", "1 files, "),
    "link": ("{trained}", "attempts/0001/samples/000000000064.png of {trained}, for 1d 0h"),
    "evaluate": ("{trained}", "then: ganctl show {trained}"),
    "networks put": ("{weights}", "next: ganctl evaluate JOB --network inception_v3 --weights networks/"),
    "report": ("{trained}", "{trained}.html"),
    "compare": ("{trained} --into side-by-side.html", "classifier_frechet_distance"),
    "data show": ("digits", "100 train"),
    "data delete": ("unused --yes", "deleted unused@"),
    "quota set": ("ada --running 4", "the quota of ada is set"),
    "quota show": ("", "ada"),
    "nodes": ("", "node-0"),
    "cordon": ("node-0", "node-0 takes nothing new"),
    "uncordon": ("node-1", "node-1 is gone and forgotten"),
    "drain": ("node-0", "after a checkpoint"),
    "pause": ("--reason tea", "the queue is paused"),
    "resume": ("", "the queue was not paused"),
    "users add": ("bob", "redis://bob:"),
    "users list": ("", ""),
    "users remove": ("ada", "ada is taken out"),
    "data list": ("", "run `ganctl data get fashion-mnist`"),
}
# Beside each other command, what it says instead.
LACKING = {
    "up": ("", "no broker to start: install valkey or redis, or `pip install ganservice[local]`"),
    "data get": ("fashion-mnist", NO_PICTURES),
    "data import": ("{folder} --name mine --size 8", NO_PICTURES),
    "sample": ("{trained}", NO_TORCH),
    "interpolate": ("{trained}", NO_TORCH),
    "explore": ("{trained}", NO_TORCH),
    "recover": ("{trained}", NO_TORCH),
    "inpaint": ("{trained}", NO_TORCH),
    "augment": ("{trained} --into set", NO_TORCH),
    "upscale": ("picture.png --from {trained}", NO_TORCH),
    "follow": (
        "{trained} --to tensorboard:runs",
        NO_TORCH.replace("torch", "tensorboard").replace("train", "tensorboard"),
    ),
    "run": ("{spec}", NO_TORCH),
    "verify-resume": ("{spec}", NO_TORCH.replace("torch", "safetensors", 1)),
}
Client = Callable[..., "subprocess.CompletedProcess[str]"]


def program(hidden: list[str], run: str = "main()") -> list[str]:
    """A program in which ganctl finds none of the hidden modules."""
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); from ganservice.cli import ganctl, main; {run}"
    return [sys.executable, "-c", code]


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: each command is a process that takes time, and what they ask brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def environment(settings: Settings, store_settings: Settings, tmp_path: Path) -> dict[str, str]:
    """Where a client finds the servers, and no programs of this machine."""
    assert settings.broker_url
    assert store_settings.store_secret_key
    (tmp_path / "bin").mkdir()
    return {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")} | {
        "PATH": str(tmp_path / "bin"),
        "GANSERVICE_STATE_DIR": str(tmp_path / "state"),
        "GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value(),
        "GANSERVICE_STORE_URL": store_settings.require_store(),
        "GANSERVICE_STORE_ACCESS_KEY": store_settings.store_access_key or "",
        "GANSERVICE_STORE_SECRET_KEY": store_settings.store_secret_key.get_secret_value(),
    }


@pytest.fixture
def client(environment: dict[str, str], tmp_path: Path) -> Client:
    """ganctl in a process from which what extras bring is hidden."""

    def ganctl(*arguments: str, hidden: list[str] = HIDDEN) -> "subprocess.CompletedProcess[str]":
        # `up` must know of no servers elsewhere, so that it would have to start some.
        servers = {name for name in environment if name.endswith("_URL")} if arguments == ("up",) else set()
        return subprocess.run(
            [*program(hidden), *arguments],
            env={name: value for name, value in environment.items() if name not in servers},
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return ganctl


@pytest.fixture
def names(
    queue: JobQueue, settings: Settings, store_settings: Settings, spec: TrainSpec, tmp_path: Path
) -> dict[str, str]:
    """What cases call by name: a spec, a folder of pictures, and jobs, one of which has been trained and evaluated."""
    store = ArtifactStore(store_settings)
    put_digits(store, "unused")
    asked = put_digits(store).fit(spec.model_copy(update={"name": f"tiny-{secrets.token_hex(4)}"}))
    trained, _ = queue.submit(asked, "trained")
    held = lease(queue)
    store.put_spec(trained, dump_spec(asked))
    checkpoint = store.put_checkpoint(held, 64, b"weights")
    store.put_sample_grid(held, 64, png())
    store.put_metrics(held, 64, PROGRESS.model_dump_json().encode() + b"\n")
    queue.finish(held, Outcome(reason=Reason.SUCCEEDED, generator=publish(store, held)))
    found = evaluation(trained, 64, 1.0, by=submit_evaluation(queue, asked, trained, 64))
    found = found.model_copy(update={"checkpoint": checkpoint.key})
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    queued, cancelled = submit(queue, asked), submit(queue, asked)
    queue.cancel(cancelled)
    nothing = Capacity(cpus=0, gpus=0)
    with Leadership(settings) as leadership, Maintenance(settings) as maintenance:
        node = Node(id="node-0", host="one", address="10.0.0.1", total=nothing, free=nothing)
        leadership.lead(Cluster(nodes=1, total=nothing, free=nothing), [node])
        maintenance.cordon("node-1")
    with Users(settings) as users:
        users.put("ada", UserRecord())
    (tmp_path / "spec.yaml").write_text(dump_spec(asked))
    judged = asked.model_copy(update={"evaluate": Evaluate()})
    (tmp_path / "judged.yaml").write_text(dump_spec(judged))
    (tmp_path / "pictures").mkdir()
    for name in ("one.png", "two.png"):
        (tmp_path / "pictures" / name).write_bytes(png())
    (tmp_path / "weights.pth").write_bytes(b"weights")
    return {
        "weights": str(tmp_path / "weights.pth"),
        "trained": trained,
        "queued": queued,
        "cancelled": cancelled,
        "spec": str(tmp_path / "spec.yaml"),
        "folder": str(tmp_path / "pictures"),
        "judged": str(tmp_path / "judged.yaml"),
        "sweep": submit_sweep(queue, make_sweep(judged, grid={"recipe.d_steps": [1, 2]})),
    }


def png() -> bytes:
    stream = BytesIO()
    Image.new("L", (16, 16), 128).save(stream, "PNG")
    return stream.getvalue()


def test_every_command_is_tried() -> None:
    assert sorted(commands()) == sorted(WORKING | LACKING)
    assert {"torch", "ray", "numpy", "PIL", "matplotlib", "safetensors", "onnx"} <= set(HIDDEN)


@pytest.mark.parametrize("command", WORKING)
def test_a_client_can(command: str, client: Client, names: dict[str, str]) -> None:
    arguments, printed = (text.format_map(names) for text in WORKING[command])
    done = client(*command.split(), *arguments.split())
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout + done.stderr


@pytest.mark.parametrize("command", LACKING)
def test_a_client_is_told_what_is_missing(command: str, client: Client, names: dict[str, str]) -> None:
    arguments, lack = LACKING[command]
    done = client(*command.split(), *arguments.format_map(names).split())
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"error: {lack}")
    assert command == "up" or (done.returncode, done.stderr) == (NotConfigured.exit_code, f"error: {lack}\n")


# JSON

# Commands that print no document, and why.
WITHOUT_JSON = {
    "up": "it stays, and speaks of servers",
    "down": "it ends servers, of which nothing is left to tell",
    "watch": "it draws for whoever looks on; `wait` and `events -f` are for programs",
    "cp": "it prints the paths that it wrote, a line each",
    "follow": "it sends on what trackers show",
    "explore": "it stays, and prints an address, a line",
    "run": "it trains here; `show` tells of the job",
    "verify-resume": "its exit code says it all",
}
# Other forms of a command whose documents are of their own.
FORMS = {
    "list --stored": "",
    "submit --dry-run": "{spec}",
    "sweep --dry-run": "{judged} --grid recipe.d_steps=1,2",
    "show SWEEP": "{sweep}",
}


def test_every_command_prints_a_document_that_is_written_down() -> None:
    takes_json = set()
    for command in commands():
        found: click.Command = ganctl
        for word in command.split():
            assert isinstance(found, click.Group)
            member = found.get_command(click.Context(found), word)
            assert member
            found = member
        if any("--output" in option.opts for option in found.params):
            takes_json.add(command)
    assert takes_json == set(commands()) - set(WITHOUT_JSON)
    assert takes_json == set(DOCUMENTS) - set(FORMS)


# Those that leave the jobs as they are, so that one after the other can be given.
READING = {
    "compare", "data list", "doctor", "events", "fetch", "gc", "link", "list", "list --stored", "logs", "ls", "nodes",
    "quota show", "report", "show", "show SWEEP", "submit --dry-run", "sweep --dry-run", "sweeps", "users list", "wait",
}  # fmt: skip
CHANGING = sorted(set(WORKING) - READING - set(WITHOUT_JSON))


@pytest.mark.parametrize("given", [sorted(READING), *([command] for command in CHANGING)], ids=" ".join)
def test_what_is_printed_as_json_is_as_its_document_says(
    given: list[str],
    environment: dict[str, str],
    names: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in given:
        check_documents(command, environment, names)


def given_here(environment: dict[str, str], *arguments: str) -> Result:
    """A command in this process, for what does not depend on what is installed."""
    return CliRunner(env=environment).invoke(ganctl, arguments, catch_exceptions=False)


def check_documents(command: str, environment: dict[str, str], names: dict[str, str]) -> None:
    given = FORMS[command] if command in FORMS else WORKING[command][0]
    arguments = [*command.removesuffix(" SWEEP").split(), *given.format_map(names).split(), "-o", "json"]
    done = given_here(environment, *arguments)
    assert done.exit_code == 0, done.output
    documents = done.stdout.splitlines() if command in LINES else [done.stdout]
    assert documents or command == "logs", "nobody has logged anything"
    name = DOCUMENTS[command].__name__
    schema = {"$ref": f"#/$defs/{name}", "$defs": schema_of_all()["$defs"]}
    for document in documents:
        found = json.loads(document)
        Draft202012Validator(schema).validate(found)
        assert found["version"] == 1
        assert "token" not in found


def test_the_help_of_every_command_is_there(environment: dict[str, str]) -> None:
    run = f"[ganctl.main([*path.split(), '--help'], standalone_mode=False) for path in {sorted(commands())}]"
    done = subprocess.run(program(HIDDEN, run), env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage: ") == len(WORKING | LACKING)


def test_completion_knows_every_command(environment: dict[str, str]) -> None:
    asked = {"_GANCTL_COMPLETE": "bash_complete", "COMP_WORDS": "ganctl ", "COMP_CWORD": "1"}
    done = subprocess.run(program(HIDDEN), env=environment | asked, capture_output=True, text=True, check=True)
    words = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert words == {command.split()[0] for command in WORKING | LACKING}


def test_a_plan_without_torch_says_what_it_cannot_tell(client: Client, names: dict[str, str]) -> None:
    done = client("submit", names["spec"], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{'steps':<20}8\n" in done.stdout
    assert "would be scheduled  1 gang of 1 worker, 1 CPU and 0 GPUs, " in done.stdout
    assert done.stderr == (
        "parameters and the size of a checkpoint take torch, which is not installed: pip install 'ganservice[train]'\n"
        "warning: recipe.ema.half_life_images: 10,000 of 64 images: 100% of the average that is published would still "
        "be the first, random weights; set ema.warm_up_share: 0.05\n"
        "warning: it would wait for 1 CPU; the cluster has 0 CPUs, until somebody adds to that\n"
    )


# Pictures


def in_terminal(environment: dict[str, str], *command: str) -> tuple[int, str]:
    """The exit code of a command and what it writes to a terminal with all colours."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    colours = environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(command, env=colours, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        written = b""
        try:
            while part := os.read(terminal, 1 << 16):
                written += part
        except OSError:
            pass  # how a terminal says that nobody holds its other end
        finally:
            os.close(terminal)
    return process.returncode, written.decode()


def test_whoever_watches_without_pillow_is_told_once_what_shows_samples(
    environment: dict[str, str], names: dict[str, str]
) -> None:
    code, written = in_terminal(environment, *program(HIDDEN), "watch", names["trained"])
    assert code == 0, written
    assert f"{names['trained']} has succeeded" in written
    assert INSTALL_PICTURES in written
    assert "▀" not in written


def test_whoever_submits_and_watches_is_told_too(environment: dict[str, str], names: dict[str, str]) -> None:
    command = ("submit", names["spec"], "--idempotency-key", "trained", "--watch")
    code, written = in_terminal(environment, *program(HIDDEN), *command)
    assert code == 0, written
    assert INSTALL_PICTURES in written


def test_with_the_extra_of_a_client_samples_are_drawn_and_pictures_imported(
    environment: dict[str, str], client: Client, names: dict[str, str]
) -> None:
    hidden = [module for module in HIDDEN if module not in EXTRAS["pillow"] | EXTRAS["numpy"]]
    code, written = in_terminal(environment, *program(hidden), "watch", names["trained"])
    assert code == 0, written
    assert "▀" in written
    assert INSTALL_PICTURES not in written
    done = client("data", "import", names["folder"], "--name", "mine", "--size", "8", hidden=hidden)
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr


@pytest.mark.parametrize("by", [["--idempotency-key", "k"], ["--once"]])
@pytest.mark.parametrize("command", [["evaluate", "{trained}", "--measures", "frechet"], ["submit", "{spec}"]])
def test_what_is_asked_for_twice_is_done_once(
    command: list[str], by: list[str], environment: dict[str, str], names: dict[str, str]
) -> None:
    asked = [word.format_map(names) for word in command] + by
    first, again = given_here(environment, *asked), given_here(environment, *asked)
    assert first.stdout == again.stdout
    assert "it was submitted before; nothing is submitted twice" in again.stderr
    assert "before" not in first.stderr


def test_a_job_has_one_key(client: Client, names: dict[str, str]) -> None:
    done = client("submit", names["spec"], "--once", "--idempotency-key", "k")
    assert done.returncode == 2
    assert done.stderr == "error: --once: is a key of its own; leave it or --idempotency-key out\n"


def test_what_differs_is_done_too(environment: dict[str, str], names: dict[str, str]) -> None:
    done = [given_here(environment, "submit", names["spec"], "--once", "--set", f"seed={seed}") for seed in (1, 2, 2)]
    assert {each.exit_code for each in done} == {0}
    assert len({each.stdout for each in done}) == 2


def test_whoever_watches_an_evaluation_is_told_what_it_found(
    environment: dict[str, str], names: dict[str, str], queue: JobQueue
) -> None:
    (found,) = queue.evaluations(names["trained"])
    done = given_here(environment, "watch", found.by)
    assert f"{found.by} has succeeded: classifier_frechet_distance 1; next: " in done.stderr
