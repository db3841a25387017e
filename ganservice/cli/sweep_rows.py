"""What is printed of a sweep: how it stands, its settings with the best first, and what each factor does."""

from collections.abc import Iterator, Sequence
from typing import Any

from ganservice.cli.output import ago, counted, print_fields, print_json_line, print_line, table_lines
from ganservice.sweep import short
from ganservice.sweep_list import SweepHeading
from ganservice.sweep_plan import Child, standing
from ganservice.sweep_table import Row, effects_of, rows_of
from ganservice.sweeps import Sweep, Sweeps


def print_sweep(queue: Sweeps, sweep_id: str, output: str) -> None:
    """Print all that is known of a sweep."""
    sweep, children = queue.look_at_sweep(sweep_id)
    if output == "json":
        from ganservice.documents.sweep import sweep_document

        print_json_line(sweep_document(sweep, children).plain())
        return
    print_fields(sweep_fields(sweep, children))
    if children:
        print_line()
    for line in sweep_lines(sweep, children):
        print_line(line)


def state_of(sweep: Sweep | SweepHeading) -> str:
    """The state of a sweep, in words."""
    return f"{sweep.state}, stopping" if sweep.cancel_requested and not sweep.state.is_final else str(sweep.state)


def sweep_fields(sweep: Sweep, children: Sequence[Child]) -> dict[str, Any]:
    """The fields that `show` prints of a sweep, by name; None is left out."""
    spec, rungs = sweep.spec, sweep.spec.rungs
    jobs = len(spec.settings()) * spec.seeds
    return {
        "id": sweep.id,
        "state": state_of(sweep),
        "message": sweep.message,
        "waits for": sweep.waiting_for,
        "submitted": f"{ago(sweep.submitted_at)} ago{f' by {sweep.user}' if sweep.user else ''}",
        "finished": f"{ago(sweep.finished_at)} ago" if sweep.finished_at else None,
        "settings": f"{len(spec.settings())}, {counted(spec.seeds, 'seed')} each: {counted(jobs, 'job')}",
        "jobs": standing(child.word for child in children) or "none yet",
        "images": f"{sum(child.trained_images for child in children):,}" + _of_budget(sweep),
        "rungs": ", ".join(f"{images:,}" for images in rungs) + " images" if spec.halving else None,
        "measure": f"{sweep.measure}, lower is better",
    }


def _of_budget(sweep: Sweep) -> str:
    budget = sweep.spec.budget
    if budget.images is not None:
        return f" of {budget.images:,}"
    return f", within {budget.gpu_hours:g} GPU-hours" if budget.gpu_hours is not None else ""


def sweep_lines(sweep: Sweep, children: Sequence[Child]) -> Iterator[str]:
    """The table of settings, and below it the effects."""
    yield from table_lines([_cells(sweep, row) for row in rows_of(sweep.spec, children)])
    effects = effects_of(sweep.spec, children)
    if effects:
        at = f" at {sweep.spec.rungs[0]:,} images" if sweep.spec.halving else ""
        yield ""
        yield f"effects, means{at}"
    for effect in effects:
        levels = ", ".join(f"{level.text}: {level.mean:.4g}" for level in effect.levels)
        yield f"  {short(effect.key)}  {levels}  (difference {effect.difference:.3g})"


def _cells(sweep: Sweep, row: Row) -> dict[str, Any]:
    found = "" if row.mean is None else f"{row.mean:.4g}"
    return {
        **{short(key): value for key, value in row.setting.items()},
        "mean": found,
        "spread": "" if row.spread is None else f"± {row.spread:.2g}",
        "seeds": f"{len(row.qualities)}/{sweep.spec.seeds}",
        **({"until": f"{row.until_images:,}"} if sweep.spec.halving else {}),
        "images": f"{row.trained_images:,}",
        "jobs": standing(child.word for child in row.children),
    }
