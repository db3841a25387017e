"""What a report tells stands in one table, and everything that shows a report reads it there."""

import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from ganservice.cli.screen import headline
from ganservice.cli.show import job_fields
from ganservice.exporter.families import Families
from ganservice.exporter.job_series import add_quantities
from ganservice.job import Activity, Job, Progress, Pulse, State
from ganservice.metrics import METRICS, PREFIX
from ganservice.quantities import CHARTS, QUANTITIES, Curve, texts
from ganservice.report_page import Story, report_page
from ganservice.spec import TrainSpec
from tests.unit.dashboards import PAGES, expressions
from workers.gan.curves import curves_png

# Numbers of a report that are no quantity of their own, and why.
EXCEPTIONS = {
    "images": "what everything else is drawn against; the Job counts them between two reports too",
    "epochs": "the same number, over the size of the training set; stands beside the images",
}
REPORT = Progress(
    images=640, step=10, epochs=1.5, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4,
    value=-1.3, d_accuracy_real=0.75, d_accuracy_generated=0.7, d_held_out_gap=0.02, augment_probability=0.25, modes=3,
    good_share=0.5, diversity=0.9, grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6, stall_s=0.25,
    used_cpus=1.5, memory_bytes=10**9, gpu_memory_bytes=10**8, gpu_busy=0.8,
)  # fmt: skip
ACCURACY = "75.0% of real, 70.0% of generated pictures"
AUGMENTATION = "each change of a picture with a probability of 0.250"
GAP = "+0.020; 0 where D scores held-out pictures as those that it learned"
STALL = "0.25 s for a checkpoint and samples, before the last report"
OF_SCORES = REPORT.model_copy(update={"d_real": None, "d_fake": None, "value": None, "modes": None, "good_share": None})
CURVES = [curve for quantity in QUANTITIES for curve in quantity.curves]


@pytest.fixture
def job(spec: TrainSpec) -> Job:
    pulse = Pulse(activity=Activity.TRAINING, images=704, images_per_s=15.0)
    stands: dict[str, Any] = {"state": State.RUNNING, "priority": 50, "submitted_at": 0.0, "order": 1}
    return Job(id="tiny-1", spec=spec, progress=REPORT, pulse=pulse, **stands)


# The table


def test_every_number_of_a_report_is_in_the_table_or_excepted_with_a_reason() -> None:
    numbers = {name for name, value in REPORT if isinstance(value, int | float)}
    assert numbers | {"health"} == set(Progress.model_fields), "the report of this test has every number"
    fields = [curve.field for curve in CURVES]
    assert len(set(fields)) == len(fields)
    assert set(fields) - {"jensen_shannon"} == numbers - set(EXCEPTIONS)
    assert all(EXCEPTIONS.values())


def test_no_two_quantities_are_confused() -> None:
    for names in (
        [quantity.metric for quantity in QUANTITIES],
        [quantity.title for quantity in CHARTS],
        [quantity.name for quantity in QUANTITIES if quantity.name],
    ):
        assert len(set(names)) == len(names)
    for quantity in QUANTITIES:
        labels = [curve.label for curve in quantity.curves]
        assert labels == [None] if quantity.label is None else len(set(labels)) == len(labels) > 1
        assert quantity.name or not (quantity.show or quantity.tile or quantity.watch)
        assert not quantity.is_log or (quantity.level is None and quantity.limits is None), "0 has no logarithm"


# Its readers


def curve_values(family: Family, curve: Curve) -> list[float]:
    return [sample.value for sample in family.samples if curve.label in (None, *sample.labels.values())]


def test_the_exporter_gives_every_quantity(job: Job) -> None:
    families = Families()
    add_quantities(families, job)
    found = {family.name.removeprefix(f"{PREFIX}_"): family for family in text_string_to_metric_families(families.text)}
    assert set(found) == {quantity.metric for quantity in QUANTITIES} <= set(METRICS)
    for quantity in QUANTITIES:
        source = job if quantity.is_live else REPORT
        assert found[quantity.metric].documentation == quantity.meaning
        for curve in quantity.curves:
            assert curve_values(found[quantity.metric], curve) == [getattr(source, curve.field)]


def test_the_report_page_draws_every_chart_and_shows_every_tile(job: Job) -> None:
    page = report_page(
        [Story(job=job, history=[REPORT], evaluations=[], events=[], grids=[], pictures=[], stored_bytes=0)]
    )
    for quantity in CHARTS:
        assert f"<h3>{escape(quantity.title)}</h3>" in page
        assert all(f"<title>{escape(curve.legend)}: " in page for curve in quantity.curves)
    for name, text in texts("tile", REPORT).items():
        assert f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" in page


def test_the_picture_of_curves_draws_every_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[str]] = {}

    def look(figure: Figure, *_: object, **__: object) -> None:
        for axes in figure.axes:
            drawn[axes.get_title()] = axes.get_legend_handles_labels()[1]

    monkeypatch.setattr(Figure, "savefig", look)
    curves_png([REPORT, REPORT], "all")
    drawn.pop("", None)  # an odd place at the end
    assert drawn == {quantity.title: [curve.legend for curve in quantity.curves] for quantity in CHARTS}


def test_the_dashboard_of_a_job_has_every_chart_that_is_meant_for_it() -> None:
    asked = expressions(PAGES["job"])
    for quantity in CHARTS:
        query = f'{PREFIX}_{quantity.metric}{{job_id="$job"}}'
        assert (query in asked) == quantity.on_dashboard


def test_show_and_watch_print_what_the_table_says(job: Job) -> None:
    assert texts("show", REPORT).items() <= job_fields(job).items()
    assert all(text in headline(job) for text in texts("watch", REPORT).values())
    assert list(texts("show", REPORT)) == [
        "loss", "D(x), D(G(z))", "D is right about", "held-out gap", "augmentation", "value", "diversity", "modes",
        "stall",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            REPORT,
            {
                "loss": "G 0.7000, D 1.3000",
                "D(x), D(G(z))": "0.600, 0.400; both 0.5 at the optimum",
                "D is right about": ACCURACY,
                "held-out gap": GAP,
                "augmentation": AUGMENTATION,
                "value": "-1.3000, +0.0863 from -log 4; implies a Jensen-Shannon divergence of 0.0431 nats",
                "diversity": "0.90 of the data's",
                "modes": "3 covered, 50.0% of samples good",
                "stall": STALL,
            },
        ),
        (
            OF_SCORES,
            {
                "loss": "G 0.7000, D 1.3000",
                "scores": "real 0.400, generated -0.400",
                "D is right about": ACCURACY,
                "held-out gap": GAP,
                "augmentation": AUGMENTATION,
                "diversity": "0.90 of the data's",
                "stall": STALL,
            },
        ),
    ],
)
def test_what_show_says(report: Progress, expected: dict[str, str]) -> None:
    assert texts("show", report) == expected


def test_a_value_below_the_optimum_implies_nothing() -> None:
    low = REPORT.model_copy(update={"value": -1.5})
    text = "-1.5000, -0.1137 from -log 4; D is far from its optimum, so that it implies nothing"
    assert texts("show", low)["value"] == text


def test_what_watch_says() -> None:
    assert list(texts("watch", REPORT).values()) == [
        "loss G 0.700 D 1.300", "D(x) 0.60 D(G(z)) 0.40", "augmentation 0.25", "3 modes, 50% good"
    ]  # fmt: skip
    assert list(texts("watch", OF_SCORES).values()) == [
        "loss G 0.700 D 1.300", "scores: real 0.40 generated -0.40", "augmentation 0.25"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "ganservice/exporter/job_series.py",
        "ganservice/report_page.py",
        "ganservice/cli/show.py",
        "ganservice/cli/watch.py",
        "workers/gan/curves.py",
    ],
)
def test_no_reader_names_a_quantity_of_a_report_itself(path: str) -> None:
    # Beside what the Job holds, which no report knows: the speed when it ended, and CPUs of those that it asked for.
    besides = {"images_per_s", "used_cpus"}
    fields = re.findall(r"\b(?:progress|last|p)\.(\w+)", Path(path).read_text())
    assert set(fields) & {curve.field for curve in CURVES} <= besides
