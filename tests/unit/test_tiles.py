"""What Grafana makes of a panel and of Prometheus' answers, as its own display processor does."""

from typing import Any

import pytest

from deploy.grafana import tiles
from deploy.grafana.units import text_of

MAPPINGS = [
    {"type": "value", "options": {"-1": {"text": "ended", "color": "#808080"}, "0": {"text": "none"}}},
    {"type": "special", "options": {"match": "null", "result": {"text": "unknown", "color": "yellow"}}},
]
STEPS = [{"color": "green", "value": None}, {"color": "yellow", "value": 3}, {"color": "red", "value": 5}]


def stat(*legends: str, **defaults: Any) -> dict[str, Any]:
    targets = [{"refId": chr(65 + place), "legendFormat": legend} for place, legend in enumerate(legends)]
    config = {"unit": "none", "thresholds": {"mode": "absolute", "steps": STEPS}, **defaults}
    return {
        "type": "stat", "title": "Tile", "targets": targets, "transformations": [],
        "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
        "fieldConfig": {"defaults": config, "overrides": []},
    }  # fmt: skip


def instant(value: float, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [100, str(value)]}


def ranged(*values: float, start: int = 0, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[start + place, str(value)] for place, value in enumerate(values)]}


def shown(panel: dict[str, Any], *results: list[dict[str, Any]]) -> list[str]:
    answers = {chr(65 + place): result for place, result in enumerate(results)}
    return [str(tile) for tile in tiles.tiles(panel, answers, now_s=100.0)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, "2 (green)"), (3, "3 (yellow)"), (9, "9 (red)"), (-1, "ended (grey)"), (0, "none (green)"),
        (-0.0, "none (green)"),
    ],
)  # fmt: skip
def test_a_mapping_comes_before_thresholds(value: float, expected: str) -> None:
    assert shown(stat("a", mappings=MAPPINGS), [instant(value)]) == [expected]


def test_no_value_has_the_words_of_a_mapping_or_of_no_value_and_the_lowest_colour() -> None:
    assert shown(stat("a", mappings=MAPPINGS, noValue="nothing"), []) == ["unknown (yellow)"]
    assert shown(stat("a", noValue="nothing"), []) == ["nothing (green)"]
    assert shown(stat("a"), []) == ["No data (green)"]


def test_an_override_shows_one_series_in_its_own_way() -> None:
    panel = stat("{{health}}")
    panel["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byName", "options": "collapsed"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}],
        }
    ]
    assert shown(panel, [instant(1, health="collapsed"), instant(1, health="ok")]) == ["1 (red)", "1 (green)"]


def test_a_query_of_a_range_shows_every_state_that_there_has_been() -> None:
    """Why our tiles ask for a moment: these are two states of one job, and both look as if they held."""
    answers = {"A": [ranged(1, 1, health="ok"), ranged(1, start=5, health="collapsed")]}
    found = tiles.tiles(stat("{{health}}"), answers, now_s=100.0)
    assert [(tile.name, tile.colour) for tile in found] == [("ok", "green"), ("collapsed", "green")]


def test_another_reduction_is_not_guessed_at() -> None:
    panel = stat("a")
    panel["options"]["reduceOptions"]["calcs"] = ["mean"]
    with pytest.raises(ValueError, match="lastNotNull"):
        shown(panel, [instant(1)])


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.007, "s", None, "7 ms"), (0.0, "s", None, "0 s"), (45.4, "s", 0, "45 s"), (90.0, "s", None, "1.5 min"),
        (9_000.0, "s", 1, "2.5 hour"), (200_000.0, "s", None, "2.31 day"), (0.4, "percentunit", 0, "40%"),
        (300_000.0, "short", None, "300 K"), (1_536.0, "bytes", None, "1.5 KiB"), (28.26, "none", None, "28.3"),
        (26.0, "none", None, "26"), (1_000.0, "dateTimeFromNow", None, "1 minute ago"),
        (-60_000.0 * 60 * 5, "dateTimeFromNow", None, "5 hours ago"),
    ],
)  # fmt: skip
def test_numbers_are_written_in_their_units(value: float, unit: str, decimals: int | None, text: str) -> None:
    assert text_of(value, unit, decimals, now_s=61.0) == text


def table(*transformations: dict[str, Any]) -> dict[str, Any]:
    panel = stat("state", "done")
    for target in panel["targets"]:
        target["format"] = "table"
    panel["transformations"] = list(transformations)
    panel["options"] = {"sortBy": [{"displayName": "state", "desc": False}]}
    return panel


JOIN = {"id": "joinByField", "options": {"byField": "job_id", "mode": "outer"}}
NAMES = {"id": "organize", "options": {"renameByName": {"Value #A": "state", "Value #B": "done"}}}
ONLY = {"id": "filterFieldsByName", "options": {"include": {"pattern": "^(job_id|state|done)$"}}}


def test_a_table_joins_its_queries_and_sorts_by_a_column() -> None:
    answers = {"A": [instant(2, job_id="a"), instant(1, job_id="b")], "B": [instant(4, job_id="a")]}
    rows = tiles.table(table(JOIN, NAMES, ONLY), answers, now_s=100.0)
    assert [{name: cell.words for name, cell in row.items()} for row in rows] == [
        {"job_id": "b", "state": "1", "done": ""}, {"job_id": "a", "state": "2", "done": "4"},
    ]  # fmt: skip


def against(series: list[dict[str, Any]]) -> dict[str, Any]:
    panel = stat("images", "loss")
    panel["transformations"] = [{"id": "joinByField", "options": {"byField": "Time", "mode": "inner"}}]
    panel["options"] = {"mapping": "manual", "series": series}
    return panel


@pytest.mark.parametrize("has_frame", [True, False])
def test_curves_over_images_need_to_be_told_their_frame(has_frame: bool) -> None:
    names = {axis: {"matcher": {"id": "byName", "options": name}} for axis, name in (("x", "images"), ("y", "loss"))}
    frame = {"frame": {"matcher": {"id": "byIndex", "options": 0}}} if has_frame else {}
    answers = {"A": [ranged(10, 20, 30)], "B": [ranged(3, 2, start=1)]}
    found = tiles.points(against([{**frame, **names}]), answers)
    assert found == ({"loss": ([20, 30], [3, 2])} if has_frame else {})


def test_marks_that_follow_each_other_are_one() -> None:
    annotation = {"titleFormat": "health: {{health}}", "iconColor": "orange"}
    results = [ranged(0, 1, 1, 0, 1, health="collapsed"), ranged(1, start=2, health="ok")]
    found = [(mark.at_s, mark.title, mark.colour) for mark in tiles.marks(annotation, results, step_s=1.0)]
    assert found == [
        (1, "health: collapsed", "orange"),
        (2, "health: ok", "orange"),
        (4, "health: collapsed", "orange"),
    ]


def test_a_timeline_makes_one_of_equal_values() -> None:
    panel = stat("state", mappings=[{"type": "value", "options": {"1": {"text": "runs", "color": "green"}}}])
    [row] = tiles.timeline(panel, {"A": [ranged(1, 1, 2)]}, now_s=100.0).values()
    assert [(span.words, span.start_s, span.end_s) for span in row] == [("runs", 0, 1), ("2", 2, 2)]
