"""submit: from a file to a job in the queue."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cadence import plan_training
from ganservice.cli.output import print_fields, print_json, print_line, print_lines, say
from ganservice.cli.reference import SUBMITTED_ALREADY, key_of, once_options
from ganservice.cli.watch import watch_job
from ganservice.continuation import resolved
from ganservice.errors import RequestError
from ganservice.extras import remedy
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import dump_spec, load_spec


def spec_options(function: Any) -> Any:
    """Adds to a command that takes a spec what changes it; `load_spec` and `resolve_spec` make one spec of it all."""
    for option in (
        click.option("--weights-only", is_flag=True, help="With --from: only the weights, all else begins anew."),
        click.option(
            "--from", "origin", metavar="JOB[@WHICH]", help="Go on from a checkpoint: @final, @best or @IMAGES."
        ),
        click.option(
            "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a value: recipe.batch_size=64."
        ),
    ):
        function = option(function)
    return function


@click.command("submit")
@click.argument("path", metavar="SPEC", type=click.Path(path_type=Path))
@spec_options
@click.option("--dry-run", is_flag=True, help="Print the resolved spec and its cost; submit nothing.")
@once_options
@click.option("-w", "--watch", is_flag=True, help="Watch the job until it is finished.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the output.")
def submit_command(
    path: Path,
    overrides: tuple[str, ...],
    origin: str | None,
    weights_only: bool,
    dry_run: bool,
    idempotency_key: str | None,
    once: bool,
    watch: bool,
    output: str,
) -> None:
    """Put a training job into the queue and print its id; a SPEC of - is read from standard input.

    With --from it goes on from a checkpoint of another job, whose images go on counting; without @WHICH from the
    newest one.
    """
    spec = load_spec(path, overrides)
    if dry_run and not origin and not weights_only:
        _print_plan(spec, output)
        return
    settings = Settings()
    queue, store = JobQueue(settings), ArtifactStore(settings)
    spec = resolve_spec(spec, queue, store, origin, weights_only, keep=not dry_run)
    if dry_run:
        _print_plan(spec, output)
        return
    job_id, created = queue.submit(spec, key_of(spec, idempotency_key, once))
    if output == "json":
        print_json({"id": job_id, "created": created})
    else:
        print_line(job_id)
    if not created:
        say(SUBMITTED_ALREADY)
    if watch:
        watch_job(settings, job_id)
        return
    say(f"next: ganctl watch {job_id}")
    say(f"then: ganctl fetch {job_id}")


def resolve_spec(
    spec: TrainSpec, queue: JobQueue, store: ArtifactStore, origin: str | None, weights_only: bool, *, keep: bool = True
) -> TrainSpec:
    """The spec with the very data set it means and the checkpoint it goes on from, which `keep` has kept for it.

    Raises:
        DataMissing: the store does not hold the data set.
        RequestError: the data set or the job gone on from does not fit.
    """
    if origin == "":
        raise RequestError("--from: found nothing, expected a job")
    if weights_only and not origin:
        raise RequestError("--weights-only: expected together with --from JOB")
    return resolved(spec, queue, store, origin, weights_only, keep=keep, tell=say)


def _print_plan(spec: TrainSpec, output: str) -> None:
    plan, sizes = plan_training(spec), _network_sizes(spec)
    if output == "json":
        print_json({"spec": spec.model_dump(mode="json"), "plan": plan | sizes})
        return
    print_lines(dump_spec(spec))
    gang, size = plan["gang"], f", {sizes['checkpoint_bytes'] / 1e6:.1f} MB each" if sizes else ""
    labels = {
        "parameters of G": f"{sizes['parameters_g']:,}" if sizes else None,
        "parameters of D": f"{sizes['parameters_d']:,}" if sizes else None,
        "steps": f"{plan['steps']:,}",
        "images": f"{plan['images']:,}",
        "checkpoints": f"{plan['checkpoints']:,} and one at the end{size}",
        "sample grids": f"{plan['sample_grids']:,} and one at the end",
        "evaluations": f"{plan['evaluations']:,} and one at the end, at most" if spec.evaluate else None,
        "would be scheduled": f"1 gang of {gang['workers']} worker(s), {gang['cpus']} CPUs and {gang['gpus']} GPUs, "
        f"{gang['images_per_worker_and_step']} images per worker and step, priority {spec.priority}",
    }
    print_fields(labels)


def _network_sizes(spec: TrainSpec) -> dict[str, int]:
    """Parameters of both networks and bytes of a checkpoint; nothing, with a word why, where torch is missing."""
    (sizes_of_kind,) = entry_points(group="ganctl.sizes", name=spec.kind)
    try:
        sizes: dict[str, int] = sizes_of_kind.load()(spec)
    except ModuleNotFoundError as error:
        say(f"parameters and the size of a checkpoint take {error.name}, which is not installed: {remedy(error)}")
        return {}
    return sizes
