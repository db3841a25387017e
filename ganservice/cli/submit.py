"""submit: from a file to a job in the queue."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganservice.cli.once import SUBMITTED_ALREADY, key_of, once_options
from ganservice.cli.output import output_option, print_document, print_line, say
from ganservice.cli.plan import print_plan, warnings_of
from ganservice.cli.reference import find_job
from ganservice.doubts import doubts
from ganservice.errors import GanServiceError, NotConfigured, Outage, RequestError
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec, parse_spec

if TYPE_CHECKING:
    from ganservice.artifacts import ArtifactStore


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
@click.option("-n", "--name", help="Its name, instead of the spec's.")
@click.option("-t", "--tag", "tags", metavar="TAG", multiple=True, help="A word by which it is found; repeat it.")
@click.option("--note", metavar="TEXT", help="A remark, which is shown with it.")
@spec_options
@click.option("--after", "predecessor", metavar="JOB", help="Run it once that job has succeeded.")
@click.option("--dry-run", is_flag=True, help="Say what it would be, take and cost; submit nothing.")
@click.option("--spec", "with_spec", is_flag=True, help="With --dry-run: print the spec, every default written out.")
@once_options
@click.option("-w", "--watch", is_flag=True, help="Watch the job until it is finished.")
@output_option
def submit_command(
    path: Path,
    name: str | None,
    tags: tuple[str, ...],
    note: str | None,
    overrides: tuple[str, ...],
    origin: str | None,
    weights_only: bool,
    predecessor: str | None,
    dry_run: bool,
    with_spec: bool,
    idempotency_key: str | None,
    once: bool,
    watch: bool,
    output: str,
) -> None:
    """Put a training job into the queue and print its id; a SPEC of - is read from standard input.

    With --from it goes on from a checkpoint of another job, whose images go on counting; without @WHICH from the
    newest one. With --after it waits until another job has succeeded, and is cancelled if that one fails or is
    cancelled.
    """
    if with_spec and not dry_run:
        raise RequestError("--spec: expected together with --dry-run")
    labels = {"name": name, "note": note}
    asked = [f"{key}={json.dumps(text)}" for key, text in labels.items() if text is not None]
    spec = _tagged(load_spec(path, [*overrides, *asked]), tags)
    settings = Settings()
    if not dry_run or origin is not None or weights_only:
        spec = _resolved(spec, settings, origin, weights_only, keep=not dry_run)
    if dry_run:
        print_plan(spec, settings, output, _lacks(spec, settings), with_spec=with_spec)
        return
    queue = JobQueue(settings)
    after = None if predecessor is None else find_job(queue, predecessor)
    job_id, created = queue.submit(spec, key_of(spec, idempotency_key, once, after), after=after)
    warnings = [*doubts(spec), *warnings_of(spec, settings)]
    if output == "json":
        from ganservice.documents import SubmitDocument

        print_document(SubmitDocument(id=job_id, created=created, warnings=tuple(warnings)))
    else:
        print_line(job_id)
    if not created:
        say(SUBMITTED_ALREADY)
    for warning in warnings:
        say(f"warning: {warning}")
    if watch:
        from ganservice.cli.watch import watch_job

        watch_job(settings, job_id)
        return
    say(f"next: ganctl watch {job_id}")
    say(f"then: ganctl fetch {job_id}")


def _tagged(spec: TrainSpec, tags: tuple[str, ...]) -> TrainSpec:
    """The spec with more tags. Raises SpecInvalid of what can be none."""
    if not tags:
        return spec
    tree = spec.model_dump(mode="json", exclude_unset=True)
    return parse_spec(tree | {"tags": list(dict.fromkeys([*spec.tags, *tags]))}, "--tag")


def _lacks(spec: TrainSpec, settings: Settings) -> list[str]:
    """Why `submit` would refuse the data set of a spec, in words; nothing where there is no store to ask."""
    data = spec.recipe.pictures
    if data is None:
        return []
    from ganservice.artifacts import ArtifactStore

    try:
        ArtifactStore(settings).find_data_set(data.dataset, data.digest).fit(spec)
    except (NotConfigured, Outage):
        return []
    except GanServiceError as error:
        return [str(error)]
    return []


def _resolved(spec: TrainSpec, settings: Settings, origin: str | None, weights_only: bool, *, keep: bool) -> TrainSpec:
    """As `resolve_spec`; the store is asked only where there is something to ask it for."""
    recipe = spec.recipe
    if recipe.pictures is None and recipe.code is None and origin is None and not weights_only:
        return spec
    from ganservice.artifacts import ArtifactStore

    return resolve_spec(spec, JobQueue(settings), ArtifactStore(settings), origin, weights_only, keep=keep)


def resolve_spec(
    spec: TrainSpec,
    queue: JobQueue,
    store: "ArtifactStore",
    origin: str | None,
    weights_only: bool,
    *,
    keep: bool = True,
) -> TrainSpec:
    """The spec with the very data set it means and the checkpoint it goes on from, which `keep` has kept for it.

    Raises:
        DataMissing: the store does not hold the data set.
        RequestError: the data set or the job gone on from does not fit.
    """
    from ganservice.continuation import resolved

    if origin == "":
        raise RequestError("--from: found nothing, expected a job")
    if weights_only and not origin:
        raise RequestError("--weights-only: expected together with --from JOB")
    return resolved(spec, queue, store, origin, weights_only, keep=keep, tell=say)
