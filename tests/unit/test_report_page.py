"""Reports are whole pages that need nothing else."""

import re
import struct
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganservice.charts import MAX_POINTS, Line, Scale, line_chart, short_number
from ganservice.evaluation import Evaluation, Protocol
from ganservice.job import Event, EventKind, Health, Job, Progress, Reason, Rollback, State
from ganservice.plain_text import plain_text
from ganservice.report_page import Story, report_page
from ganservice.report_pictures import GRIDS, pick_grids
from ganservice.spec import Start, TrainSpec
from tests.strangers_text import strangers_texts, with_text

FLOATS = st.floats(-1e12, 1e12)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 8, 8) + b"the rest"


# Charts


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def drawn(svg: ET.Element) -> list[tuple[float, float]]:
    """Every point of a chart's lines, all of which lie within it."""
    _, _, width, height = (float(number) for number in svg.attrib["viewBox"].split())
    pairs = [pair.split(",") for line in svg.iter("polyline") for pair in line.attrib["points"].split()]
    points = [(float(x), float(y)) for x, y in pairs]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    return points


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=30), st.none() | FLOATS)
def test_every_point_lies_within_the_chart(points: list[tuple[float, float]], level: float | None) -> None:
    assert drawn(parsed(line_chart([Line("a", sorted(points))], "images seen", Scale(level=level))))


@given(st.lists(st.tuples(FLOATS, st.floats(1e-40, 1e30)), min_size=1, max_size=30))
def test_every_point_lies_within_a_logarithmic_chart(points: list[tuple[float, float]]) -> None:
    svg = parsed(line_chart([Line("a", sorted(points))], "images seen", Scale(is_log=True)))
    assert len(drawn(svg)) == len(points)


def test_a_logarithmic_chart_gives_every_decade_the_same_height() -> None:
    svg = parsed(line_chart([Line("a", [(1, 0.01), (2, 0.0), (3, 1.0), (4, 100.0)])], "x", Scale(is_log=True)))
    (_, low), (_, middle), (_, high) = drawn(svg)  # 0 has no place there
    assert low - middle == pytest.approx(middle - high, abs=0.2)
    assert [text.text for text in svg.iter("text")][:5] == ["0.01", "0.1", "1", "10", "100"]


def test_limits_are_shown_whatever_the_values() -> None:
    svg = parsed(line_chart([Line("a", [(1, 0.4), (2, 0.5)])], "x", Scale(limits=(0, 1))))
    labels = [text.text for text in svg.iter("text")]
    assert {"0", "1"} <= set(labels)


@pytest.mark.parametrize(
    ("values", "labels"),
    [((6.70452, 6.7058), ["6.7045", "6.705", "6.7055", "6.706"]), ((0.1, 0.4), ["0.1", "0.2", "0.3", "0.4"])],
)
def test_an_axis_tells_its_ticks_apart(values: tuple[float, float], labels: list[str]) -> None:
    """Of what is nearly the same all had the same label."""
    svg = parsed(line_chart([Line("a", list(enumerate(values)))], "x"))
    assert [text.text for text in svg.iter("text") if text.get("text-anchor") == "end"][: len(labels)] == labels


def test_a_chart_of_nothing_is_nothing() -> None:
    assert line_chart([], "x") == ""
    assert line_chart([Line("a", []), Line("b", [(1, float("nan"))])], "x") == ""


def test_a_long_line_is_thinned_and_keeps_its_ends() -> None:
    svg = line_chart([Line("a", [(x, x * x) for x in range(10_000)])], "x")
    polyline = parsed(svg).find(".//polyline")
    assert polyline is not None
    points = re.findall(r"[\d.]+,[\d.]+", polyline.attrib["points"])
    assert MAX_POINTS / 2 < len(points) <= MAX_POINTS + 1
    assert "<circle" not in svg


def test_names_cannot_break_out_of_a_chart() -> None:
    svg = line_chart([Line('"><script>', [(0, 0), (1, 1)])], "<x>")
    assert "<script>" not in svg
    parsed(svg)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (1_500, "1.5k"), (20_000, "20k"), (-2.5e6, "-2.5M"), (3e9, "3G")]
)
def test_numbers_on_axes(value: float, text: str) -> None:
    assert short_number(value) == text


# Reports


def story(spec: TrainSpec, **changes: Any) -> Story:
    spec = spec.model_copy(
        update={"start": Start(job_id="root-1", images=64, checkpoint="c", sha256="0" * 64, changes={"seed": (0, 1)})}
    )
    rollback = Rollback(attempt=1, images=64, checkpoint="c", from_images=128, lr_share=0.5, why="D has won")
    protocol = Protocol(
        data_digest="d", only=None, split="train", real=10, network="classifier", network_digest="n", resize="none",
        samples=100, seed=0, truncation=None, neighbours=5, block=10,
    )  # fmt: skip
    job = Job(
        id="tiny-1", spec=spec, state=State.FAILED, reason=Reason.UNHEALTHY, priority=50, submitted_at=100.0, order=1,
        attempt=2, rollbacks=(rollback,), images_trained=192,
        progress=Progress(
            images=128, step=2, epochs=2.0, loss_g=0.7, loss_d=1.4, score_real=0.1, score_fake=0.1, d_real=0.5,
            d_fake=0.5, value=-1.4, diversity=0.1, health=Health.COLLAPSED, grad_norm_g=1.0, grad_norm_d=1.0,
            images_per_s=10.0, step_s=0.1,
        ),
    )  # fmt: skip
    assert job.progress
    evaluation = Evaluation(
        job_id="tiny-1", images=128, checkpoint="c", protocol=protocol, seconds=1.0, at=160.0, by="e",
        measures={"classifier_frechet_distance": 12.5}, errors={}, class_accuracies={"<cat>": 0.75, "dog": None},
        class_frechet_distances={"<cat>": 31.25}, class_pictures={"<cat>": (50, 1_600)},
    )  # fmt: skip
    events = [
        Event(id="1", at=100.0, kind=EventKind.LEASED, attempt=1, detail={}),
        Event(id="2", at=130.0, kind=EventKind.REQUEUED, attempt=1, detail={"reason": "worker_died"}),
        Event(id="3", at=140.0, kind=EventKind.LEASED, attempt=2, detail={}),
        Event(
            id="4", at=150.0, kind=EventKind.HEALTH, attempt=2,
            detail={"state": "collapsed", "images": 128, "findings": [{"kind": "collapse", "message": "all <alike>"}]},
        ),
        Event(id="5", at=200.0, kind=EventKind.FAILED, attempt=2, detail={"message": "stopped"}),
    ]  # fmt: skip
    parts: dict[str, Any] = {
        "job": job, "history": [job.progress.model_copy(update={"images": 64}), job.progress], "events": events,
        "evaluations": [evaluation], "grids": [(64, PNG), (128, PNG)], "pictures": [("nearest", PNG)],
        "stored_bytes": 5_000_000,
    }  # fmt: skip
    return Story(**parts | changes)


VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Checks that what is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, list[str]]] = []  # each element, and the names of its attributes
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, [name for name, _ in attrs]))
        self.texts += [value for _, value in attrs if value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def tags_of(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def test_a_report_tells_all_and_needs_nothing_else(spec: TrainSpec) -> None:
    page = report_page([story(spec)])
    for told_there in (
        "health: collapsed", "12.5 at 128", "after 64 images", "all &lt;alike&gt;", "&lt;cat&gt;", "75.0%",
        "31.25", "50 beside 1,600 real",
        "root-1 up to 64 images", "seed: 0 to 1", "back from 128 to 64 images", "D has won", "0:01:30", "128",
        "64 of them again", "5.0 MB", "dataset: digits", "Beside the nearest training pictures",
    ):  # fmt: skip
        assert told_there in page, told_there
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "://" not in page
    tags_of(page)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page


def test_a_report_says_who_chose_the_best_and_who_is_against_it(spec: TrainSpec) -> None:
    [one] = story(spec).evaluations
    other = one.protocol.model_copy(update={"network": "pixels", "network_digest": "p"})
    found = []
    for images, distance, by_pixels in ((64, 30.0, 0.9), (128, 20.0, 0.1), (192, 15.0, 0.2), (256, 12.5, 0.8)):
        at = {"images": images, "checkpoint": f"c/{images}"}
        found.append(one.model_copy(update={**at, "measures": {"classifier_frechet_distance": distance}}))
        measures = {"pixels_frechet_distance": by_pixels}
        found.append(one.model_copy(update={**at, "measures": measures, "protocol": other, "advisory": True}))
    texts = tags_of(report_page([story(spec, evaluations=found)])).texts
    assert any(text.startswith("* the best by classifier_frechet_distance. Protocol") for text in texts)
    assert any(
        text.startswith("judges disagree: by pixels_frechet_distance the best is at 128 images") for text in texts
    )
    row = texts.index("pixels_frechet_distance")
    assert [text for text in texts[row : row + 12] if text.strip()][:5] == [
        "pixels_frechet_distance", "0.9", "0.1", "0.2", "0.8",
    ]  # fmt: skip


def hostile(told: Story, text: str) -> Story:
    """The story with this text wherever anybody could have written any."""
    return Story(
        job=with_text(told.job, text),
        history=[with_text(report, text) for report in told.history],
        evaluations=[with_text(evaluation, text) for evaluation in told.evaluations],
        events=[
            with_text(event, text).model_copy(update={"kind": event.kind, "id": event.id}) for event in told.events
        ],
        grids=told.grids,
        pictures=[(text, png) for _, png in told.pictures],
        stored_bytes=told.stored_bytes,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(strangers_texts)
def test_text_of_strangers_stays_text(spec: TrainSpec, text: str) -> None:
    seen, harmless = (tags_of(report_page([hostile(story(spec), each)])) for each in (text, "harmless"))
    assert seen.seen == harmless.seen
    shown = [each for each in seen.texts if plain_text(text) in each]
    # YAML has marks of its own, and of what the health watch saw blanks at the ends are left out.
    assert len(shown) >= sum("harmless" in each for each in harmless.texts) - 2


@pytest.mark.parametrize("detail", [
    {}, {"state": 1, "images": "many", "findings": "no"}, {"findings": [1, {"message": None}, {}]}, {"images": None},
    {"state": ["x"], "images": [1], "findings": {"message": "x"}},
])  # fmt: skip
def test_an_event_may_hold_anything(spec: TrainSpec, detail: dict[str, Any]) -> None:
    kinds = (EventKind.HEALTH, EventKind.ROLLED_BACK, EventKind.REQUEUED)
    events = [Event(id="1", at=100.0, kind=kind, attempt=1, detail=detail) for kind in kinds]
    tags_of(report_page([story(spec, events=events)]))


@pytest.mark.parametrize("png", [
    b"", b"png", b"<svg onload='x'>", PNG[:20], PNG[:16] + struct.pack(">II", 20_000, 20_000) + PNG[24:],
    PNG[:16] + struct.pack(">II", 0, 8) + PNG[24:],
])  # fmt: skip
def test_what_is_no_picture_that_can_be_shown_is_not_put_into_a_report(spec: TrainSpec, png: bytes) -> None:
    page = report_page([story(spec, grids=[(64, png)], pictures=[])])
    assert "<img" not in page
    assert "after 64 images: no picture that can be shown" in page


def test_a_report_of_a_job_that_never_began(spec: TrainSpec) -> None:
    job = Job(id="tiny-2", spec=spec, state=State.QUEUED, priority=50, submitted_at=0.0, order=1)
    bare = Story(job=job, history=[], evaluations=[], events=[], grids=[], pictures=[], stored_bytes=0)
    page = report_page([bare])
    assert "tiny-2" in page
    assert "<svg" not in page


def test_several_jobs_stand_side_by_side(spec: TrainSpec) -> None:
    page = report_page([story(spec), story(spec)])
    assert page.count("<article") == 2
    assert "repeat(2, minmax(0, 1fr))" in page


@given(st.integers(0, 50))
def test_grids_are_chosen_evenly_with_both_ends(count: int) -> None:
    grids = [(images, str(images)) for images in range(count)]
    chosen = pick_grids(grids)
    assert len(chosen) == min(count, GRIDS)
    assert chosen[:1] + chosen[-1:] == grids[:1] + grids[-1:]
    assert chosen == sorted(set(chosen))
