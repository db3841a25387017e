"""What `submit --dry-run` tells by arithmetic alone."""

from hypothesis import given
from hypothesis import strategies as st

from ganservice.cadence import is_due, plan_training
from ganservice.spec import Checkpoints, Evaluate, Samples, Start, TrainSpec

EVERY = st.integers(1, 200)


def test_the_plan_says_what_would_be_scheduled(spec: TrainSpec) -> None:
    plan = plan_training(spec.model_copy(update={"images": 61}))
    assert (plan["steps"], plan["images"], plan["checkpoints"], plan["evaluations"]) == (8, 64, 0, 0)
    assert plan["gang"] == {"workers": 1, "cpus": 1, "gpus": 0, "images_per_worker_and_step": 8}


@given(images=st.integers(1, 400), reports_before=st.integers(0, 9), report=EVERY, save=EVERY, draw=EVERY)
def test_the_plan_counts_what_a_training_does_at_its_reports(
    spec: TrainSpec, images: int, reports_before: int, report: int, save: int, draw: int
) -> None:
    step = spec.recipe.images_per_step
    steps_a_report = max(1, report // step)
    start = Start(job_id="before", images=reports_before * steps_a_report * step, checkpoint="c", sha256="0" * 64)
    asked = spec.model_copy(
        update={
            "images": start.images + images,
            "start": start,
            "report_every_images": report,
            "checkpoints": Checkpoints(every_images=save),
            "samples": Samples(every_images=draw),
            "evaluate": Evaluate(every_images=2 * save),
        }
    )
    # As the trainer reports, and as a training acts on what it crosses between two reports.
    seen, counts = start.images, dict.fromkeys((save, draw, 2 * save), 0)
    for at in range(start.images + step, asked.total_images, step):
        if at // step % steps_a_report == 0:
            counts = {every: count + is_due(every, seen, at) for every, count in counts.items()}
            seen = at
    plan = plan_training(asked)
    assert (plan["checkpoints"], plan["sample_grids"], plan["evaluations"]) == tuple(
        counts[every] for every in (save, draw, 2 * save)
    )
