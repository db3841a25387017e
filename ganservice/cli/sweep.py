"""sweep, sweeps: one spec in many settings, and what they came to."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from ganservice.cli.exit_codes import EXIT_CODES
from ganservice.cli.once import SUBMITTED_ALREADY, key_option
from ganservice.cli.output import (
    ago,
    counted,
    output_option,
    print_document,
    print_line,
    print_rows,
    redraw,
    say,
    screen,
)
from ganservice.cli.reference import patiently
from ganservice.cli.submit import spec_options
from ganservice.cli.sweep_rows import state_of, sweep_lines
from ganservice.doubts import doubts
from ganservice.errors import SpecInvalid
from ganservice.mistakes import brief, one_line
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from ganservice.sweep import SweepSpec, words
from ganservice.sweep_list import SweepHeading
from ganservice.sweep_plan import standing
from ganservice.sweeps import Sweeps
from ganservice.yaml12 import read_yaml

LOOK_S = 2.0
# Of the sweeps that cannot be read, those that are named.
NAMED = 5
FACTORS = ("grid", "choice", "uniform", "log_uniform")


def _factors(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Factors by key, each with the values of KEY=A,B,..., which are YAML."""
    del context
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        option = f"--{str(parameter.name).replace('_', '-')} {brief(text, 100)}"
        if not equals or key in found:
            raise SpecInvalid(f"{option}: expected KEY=A,B, each key once, such as recipe.d_steps=1,2")
        try:
            found[key] = read_yaml(f"[{values}]")
        except ValueError as error:
            raise SpecInvalid(one_line(f"{option}: the values are not YAML: {error}")) from error
    return found


def factor_options(function: Any) -> Any:
    """Add the options that name factors."""
    helps = {
        "log-uniform": ("KEY=LOW,HIGH", "Draw numbers between two, whose logarithms are equally likely."),
        "uniform": ("KEY=LOW,HIGH", "Draw numbers between two."),
        "choice": ("KEY=A,B", "Draw one of these values."),
        "grid": ("KEY=A,B", "Try each of these values, with each of those of every other --grid."),
    }
    for name, (metavar, text) in helps.items():
        function = click.option(f"--{name}", metavar=metavar, multiple=True, callback=_factors, help=text)(function)
    return function


@click.command("sweep")
@click.argument("path", metavar="SPEC", type=click.Path(path_type=Path))
@factor_options
@click.option("--trials", type=click.IntRange(1, 1_000), help="Number of settings that are drawn.")
@click.option("--draw-seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Seed of the draws.")
@click.option("--seeds", type=click.IntRange(1, 1_000), default=1, help="Seeds of each setting, from the spec's on.")
@click.option(
    "--halving", type=click.IntRange(2, 100), metavar="N", help="Let one of N settings go on from each rung of images."
)
@click.option("--budget", metavar="AMOUNT", help="Begin nothing beyond it: 2M-images or 1.5-GPU-hours.")
@click.option("-n", "--name", help="The name of its jobs, instead of the spec's.")
@spec_options
@key_option("sweep")
@click.option("--dry-run", is_flag=True, help="Say which jobs there would be; submit nothing.")
@click.option("-w", "--watch", is_flag=True, help="Watch the sweep until it is over.")
@output_option
def sweep_command(
    path: Path,
    name: str | None,
    overrides: tuple[str, ...],
    origin: str | None,
    weights_only: bool,
    idempotency_key: str | None,
    dry_run: bool,
    watch: bool,
    output: str,
    **asked: Any,
) -> None:
    """Train a spec in many settings, each with several seeds, and print the sweep's id.

    The dispatcher submits its jobs, as the quota allows, whatever becomes of this command. Settings compare by the
    quality that `evaluate` of the spec asks for. `ganctl show`, `watch`, `wait`, `cancel`, `report` and `delete` take
    the sweep's id in the place of a JOB.
    """
    from ganservice.artifacts import ArtifactStore
    from ganservice.sweep_request import make_sweep, resolved_sweep

    named = [] if name is None else [f"name={json.dumps(name)}"]
    spec = make_sweep(load_spec(path, [*overrides, *named]), **asked)
    settings = Settings()
    if not dry_run or origin:
        queue, store = JobQueue(settings), ArtifactStore(settings)
        spec = resolved_sweep(spec, queue, store, origin, weights_only=weights_only, keep=not dry_run, tell=say)
    warnings = _doubts(spec)
    if dry_run:
        _print_plan(spec, warnings, output)
        return
    sweep_id, created = JobQueue(settings).submit_sweep(spec, idempotency_key)
    jobs = len(spec.settings()) * spec.seeds
    if output == "json":
        from ganservice.documents import NewSweepDocument

        print_document(NewSweepDocument(id=sweep_id, created=created, jobs=jobs, warnings=warnings))
    else:
        print_line(sweep_id)
    if not created:
        say(SUBMITTED_ALREADY)
    for warning in warnings:
        say(f"warning: {warning}")
    if watch:
        watch_sweep(settings, sweep_id)
        return
    say(f"{counted(jobs, 'job')}; next: ganctl watch {sweep_id}")


def _doubts(spec: SweepSpec) -> tuple[str, ...]:
    """What is said against settings, each with the first that it is said of."""
    found: dict[str, str] = {}
    for setting in spec.settings():
        for doubt in doubts(spec.job(setting, 0)):
            found.setdefault(doubt, words(setting))
    return tuple(f"{setting}: {doubt}" for doubt, setting in found.items())


def _print_plan(spec: SweepSpec, warnings: tuple[str, ...], output: str) -> None:
    settings = spec.settings()
    images = _most_images(spec)
    if output == "json":
        from ganservice.documents import SweepPlanDocument

        jobs = len(settings) * spec.seeds
        plan = {"settings": settings, "seeds": spec.seeds, "jobs": jobs, "rungs": spec.rungs, "images": images}
        print_document(SweepPlanDocument.model_validate(plan | {"warnings": warnings}))
        return
    print_rows([{key.removeprefix("recipe."): value for key, value in setting.items()} for setting in settings])
    say(f"{counted(len(settings) * spec.seeds, 'job')}, {images:,} images at most")
    if spec.halving:
        say(f"halving: {', '.join(f'{each:,}' for each in spec.rungs)} images")
    for warning in warnings:
        say(f"warning: {warning}")


def _most_images(spec: SweepSpec) -> int:
    """The images of all jobs, if none ends before it must."""
    images, before, settings = 0, spec.base.first_images, len(spec.settings())
    for rung, until in enumerate(spec.rungs):
        images += (until - before) * spec.seeds * settings
        before, settings = until, spec.survivors(rung)
    return images if spec.budget.images is None else min(images, spec.budget.images)


@click.command("sweeps")
@output_option
def sweeps_command(output: str) -> None:
    """List sweeps, the newest first."""
    headings, unreadable = Sweeps(Settings()).sweep_headings()
    if output == "json":
        from ganservice.documents import SweepsDocument
        from ganservice.documents.sweep import SweepSection

        print_document(SweepsDocument(sweeps=tuple(map(SweepSection.of, headings)), unreadable=tuple(unreadable)))
        return
    print_rows([_cells(heading) for heading in headings])
    if unreadable:
        say(f"not shown: {len(unreadable)} that another version of ganservice wrote: {', '.join(unreadable[:NAMED])}")
    elif not headings:
        say("no sweep yet; see: ganctl sweep --help")


def _cells(heading: SweepHeading) -> dict[str, Any]:
    return {
        "id": heading.id,
        "user": heading.user,
        "state": state_of(heading),
        "settings": heading.settings,
        "seeds": heading.seeds,
        "age": ago(heading.submitted_at),
        "jobs": heading.jobs,
    }


def watch_sweep(settings: Settings, sweep_id: str) -> None:
    """Watch until the end, then exit with the code of the sweep's state; Ctrl-C leaves it alone."""
    queue, last, is_first = Sweeps(settings), "", True
    try:
        while True:
            sweep, children = patiently(lambda: queue.look_at_sweep(sweep_id))
            line = f"{sweep.id}: {state_of(sweep)}: {standing(child.word for child in children) or 'no job yet'}"
            size = screen()
            if size is not None:
                redraw([line, "", *sweep_lines(sweep, children)][: size.lines - 1], size.columns, clears=is_first)
            elif line != last:
                say(line)
            last, is_first = line, False
            if sweep.state.is_final:
                break
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        say("")
        say(f"detached; the sweep goes on. Come back with: ganctl watch {sweep_id}")
        sys.exit(130)
    say(f"{sweep.id}: {sweep.state}{f': {sweep.message}' if sweep.message else ''}; next: ganctl show {sweep.id}")
    sys.exit(EXIT_CODES[sweep.state])
