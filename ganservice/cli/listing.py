"""list: jobs at a glance, the newest first."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from ganservice.alerts import alerts_line, seen_at_once
from ganservice.cli.job_rows import SORTS, Looks, table_of
from ganservice.cli.output import (
    ago,
    output_option,
    print_document,
    print_line,
    redraw,
    say,
    screen,
    table_lines,
)
from ganservice.cli.reference import patiently
from ganservice.cli.spans import Span
from ganservice.errors import RequestError
from ganservice.job import Health, State
from ganservice.job_list import ME, Found, JobList, Wanted
from ganservice.settings import Settings

if TYPE_CHECKING:
    from ganservice.documents import ListDocument

# Jobs that `list` shows unless it is asked for more; and that it looks through to put them into another order.
LISTED, SORTED = 50, 1_000
WATCH_S = 2.0
NO_JOBS = "no jobs yet: `ganctl submit configs/fashion-dcgan.yaml`"


@click.command("list")
@click.option("--name", "pattern", metavar="PATTERN", help="Whose name or id is so: 'fashion*'.")
@click.option("--kind", type=click.Choice(["train", "evaluate"]), help="Only trainings, or only evaluations.")
@click.option("--user", metavar="NAME", help="Only this user's; `me` is yourself.")
@click.option(
    "-s",
    "--state",
    "states",
    type=click.Choice([state.value for state in State]),
    multiple=True,
    help="Only in these states.",
)
@click.option(
    "--health",
    "healths",
    type=click.Choice([health.value for health in Health]),
    multiple=True,
    help="Only of these healths.",
)
@click.option("-t", "--tag", "tags", metavar="TAG", multiple=True, help="Only those that have all these tags.")
@click.option("--sweep", "sweep_id", metavar="SWEEP", help="Only the jobs of this sweep.")
@click.option("--since", "since_s", type=Span(), metavar="SPAN", help="Only those submitted since then: 2d.")
@click.option("--sort", type=click.Choice(list(SORTS)), default="age", help="In what order.")
@click.option("-n", "--limit", type=click.IntRange(1, 1_000_000), default=LISTED, help="At most so many.")
@click.option("--unfold", is_flag=True, help="Evaluations as rows of their own, not with their trainings.")
@click.option("-w", "--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option("--stored", is_flag=True, help="Instead, jobs that have left the queue and not the store.")
@output_option
def list_command(
    pattern: str | None,
    kind: Literal["train", "evaluate"] | None,
    user: str | None,
    states: tuple[str, ...],
    healths: tuple[str, ...],
    tags: tuple[str, ...],
    sweep_id: str | None,
    since_s: float | None,
    sort: str,
    limit: int,
    unfold: bool,
    watch: bool,
    stored: bool,
    output: str,
) -> None:
    """List jobs, the newest first, each evaluation with its training.

    HEALTH also says what is against a success; QUALITY is the newest evaluation, lower is better; EVALS counts the
    evaluation jobs of a training. Columns that are empty are left out.
    """
    settings = Settings()
    if stored:
        _check_stored(click.get_current_context())
        _print_stored(settings, limit, output)
        return
    queue = JobList(settings)
    wanted = Wanted(
        pattern=pattern,
        kind=kind,
        user=queue.me() if user == ME else user,
        states=frozenset(map(State, states or State)),
        since=time.time() - since_s if since_s is not None else None,
        healths=frozenset(map(Health, healths or Health)),
        tags=frozenset(tags),
        sweep=sweep_id,
    )
    listing = Listing(settings, queue, wanted, sort, limit, folds=not unfold and kind is None)
    if watch:
        listing.watch(output)
    else:
        listing.show(output)


@dataclass
class Listing:
    """What is listed, and how."""

    settings: Settings
    queue: JobList
    wanted: Wanted
    sort: str
    limit: int
    folds: bool

    def show(self, output: str) -> None:
        """Print it once."""
        found, looks = self._look()
        if output == "json":
            print_document(self._document(found, looks))
        else:
            size = screen()
            for line in table_of(found, looks, size.columns if size else None):
                print_line(line)
        for word in self._words(found):
            say(word)

    def watch(self, output: str) -> None:
        """Print it again and again: in its own place on a terminal, one after the other elsewhere."""
        is_first = True
        while True:
            found, looks = patiently(self._look)
            size = screen() if output != "json" else None
            if output == "json":
                print_document(self._document(found, looks))
            elif size is None:
                for line in [*([] if is_first else [""]), *table_of(found, looks, None), *self._words(found)]:
                    print_line(line)
            else:
                table = table_of(found, looks, size.columns)
                redraw(_cut([*table, *self._words(found)], size.lines - 1), size.columns, clears=is_first)
            is_first = False
            time.sleep(WATCH_S)

    def _look(self) -> tuple[Found, Looks]:
        many = self.limit if self.sort == "age" else max(SORTED, self.limit)
        found = self.queue.find(self.wanted, many, fold=self.folds)
        found.jobs.sort(key=SORTS[self.sort])
        found.has_more |= len(found.jobs) > self.limit
        del found.jobs[self.limit :]
        return found, Looks(self.queue.telling_evaluations(found.jobs), self.queue.now_s())

    def _words(self, found: Found) -> list[str]:
        """What is to be said about the whole list."""
        words = []
        if pause := self.queue.paused():
            words.append(f"the queue is {pause.text}; since {ago(pause.at)}; `ganctl resume` ends that")
        if found.has_more:
            which = "newest" if self.sort == "age" else "first"
            words.append(f"the {which} {len(found.jobs):,} of {self._how_many()}; --limit shows more")
        if not found.jobs:
            words.append(NO_JOBS if self.is_unbounded and not found.unreadable else "no job matches")
        if found.unreadable:
            words.append(f"not shown: {found.unreadable} that another version of ganservice wrote")
        if line := alerts_line(seen_at_once(self.settings)):
            words.append(line)
        return words

    @property
    def is_unbounded(self) -> bool:
        """Whether every job there is would match."""
        return self.wanted == Wanted()

    def _how_many(self) -> str:
        known = sum(self.queue.count_by_state().values())
        return f"{known:,} jobs" if self.is_unbounded else "those that match"

    def _document(self, found: Found, looks: Looks) -> "ListDocument":
        from ganservice.documents import ListDocument, job_document

        pause = self.queue.paused()
        jobs = [
            job_document(job, looks.evaluations.get(job.id, ()), found.evaluations.get(job.id, ()))
            for job in found.jobs
        ]
        return ListDocument(
            jobs=tuple(jobs),
            known=sum(self.queue.count_by_state().values()),
            more=found.has_more,
            pause=pause.text if pause else None,
        )


def _cut(lines: list[str], most: int) -> list[str]:
    """So many lines as a screen has, and a word about the others."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"... {len(lines) - most + 1} more lines; make the window larger, or take --limit"]


def _check_stored(context: click.Context) -> None:
    """Raise RequestError of options that choose or order jobs of the queue: the store knows none of that."""
    for option in context.command.params:
        is_given = option.name and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
        if is_given and option.name not in ("stored", "limit", "output"):
            raise RequestError(
                f"{option.opts[-1]}: found together with --stored, which takes only --limit and --output"
            )


def _print_stored(settings: Settings, limit: int, output: str) -> None:
    """A row for each job that only the store knows, those first that were written to last."""
    from ganservice.artifacts import ArtifactStore
    from ganservice.deletion import list_stored_jobs
    from ganservice.queue import JobQueue

    jobs = list_stored_jobs(JobQueue(settings), ArtifactStore(settings))[:limit]
    if output == "json":
        from ganservice.documents import StoredJobsDocument

        print_document(StoredJobsDocument.model_validate({"jobs": [vars(job) for job in jobs]}))
        return
    rows = [
        {
            "id": job.id,
            "generator": "yes" if job.has_generator else "",
            "objects": job.objects,
            "bytes": job.bytes,
            "age": ago(job.modified_at),
        }
        for job in jobs
    ]
    for line in table_lines(rows):
        print_line(line)
    if not rows:
        say("the store holds no job that has left the queue")
