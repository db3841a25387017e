"""Every tile of every page says of every kind of job what is true of it, and every query has an answer."""

import re
from collections.abc import Iterator

import pytest

from deploy.grafana import tiles
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.shown import Shown, shown
from tests.unit.dashboards import PAGES

AGE = r"[\d.]+ (ms|s|min)"
RUNS = """
    {state} | {health} | {reports} | 40% (plain) | 1.7 hour (plain) | {quality}
    not ended yet (grey) | {beside} | AGE (plain) | 1 (green) | 0 (green) | {best}
    beats (green) | {device} | 100 (plain) | runs (grey) | AGE (green) | {at}
"""
WAITS = """
    {state} | {health} | queued (blue) | {done} | queued (blue) | not evaluated (grey)
    queued (blue) | not evaluated (grey) | queued (blue) | {attempts} (green) | 0 (green) | not evaluated (grey)
    queued (blue) | queued (blue) | queued (blue) | {wait} | queued (blue) | not evaluated (grey)
"""
ENDED = """
    {state} | {health} | ended (grey) | {done} | ended (grey) | {quality}
    {reservation} | {beside} | ended (grey) | 1 (green) | 0 (green) | {best}
    ended (grey) | ended (grey) | ended (grey) | ended (grey) | ended (grey) | {at}
"""
EVALUATION = """
    {state} | an evaluation (grey) | {reports} | {done} | {left} | an evaluation (grey)
    an evaluation (grey) | an evaluation (grey) | {age} | 1 (green) | an evaluation (grey) | an evaluation (grey)
    {heartbeat} | {device} | an evaluation (grey) | {wait} | an evaluation (grey) | an evaluation (grey)
"""
UNEVALUATED = dict.fromkeys(("quality", "beside", "best", "at"), "not evaluated (grey)")
FINE = {
    "state": "running (green)", "health": "ok (green)", "reports": "as usual (green)", "device": "CPUs (plain)",
} | UNEVALUATED  # fmt: skip
FAILED = {
    "state": "failed (red)", "health": "ok when last seen (grey)", "done": "40% (plain)", "reservation": "failed (red)"
} | UNEVALUATED  # fmt: skip
WELL = {
    "state": "succeeded (green)", "health": "ok (green)", "done": "100% (plain)", "reservation": "none (green)",
    "beside": "at its best (green)", "at": "200 K (plain)",
}  # fmt: skip
STILL = RUNS.replace("1.7 hour (plain)", "stands still (red)").replace("100 (plain)", "stands still (red)")
# By kind: the tiles in the order of the page, six a row.
EXPECTED = {
    "running": RUNS.format(
        **FINE | {"quality": "26 (plain)", "beside": "at its best (green)", "best": "26 (plain)", "at": "300 K (plain)"}
    ),
    "late": RUNS.format(**FINE | {"state": "running, but late (yellow)", "reports": "late (yellow)"}),
    "still": STILL.format(
        **FINE | {"state": "running, but stands still (red)", "health": "ok when last seen (grey)",
                  "reports": "stands still (red)"}
    ),
    "without store": RUNS.format(
        **FINE | {"state": "running, waits (yellow)", "reports": "waits: ganctl show says for what (yellow)"}
    ),
    "suspect": RUNS.format(
        **FINE | {"state": "running, but suspect (yellow)", "health": "suspect (yellow)", "quality": "22 (plain)",
                  "beside": "was better (yellow)", "best": "20 (plain)", "at": "200 K (plain)"}
    ),
    "collapsing": RUNS.format(**FINE | {"state": "running, but collapsed (red)", "health": "collapsed (red)"}),
    "on gpus": RUNS.format(**FINE | {"device": "GPUs (green)"}),
    "without gpus": RUNS.format(
        **FINE | {"state": "running, but without GPUs (red)", "device": "CPUs, though it asked for GPUs (red)"}
    ),
    "again": RUNS.replace("1 (green) | 0 (green)", "2 (green) | 1 (yellow)").format(**FINE),
    "starting": """
    running (green) | no report yet (grey) | begins (grey) | 0% (plain) | not known yet (grey) | not evaluated (grey)
    not ended yet (grey) | not evaluated (grey) | AGE (plain) | 1 (green) | 0 (green) | not evaluated (grey)
    beats (green) | not told yet (grey) | not told yet (grey) | runs (grey) | AGE (green) | not evaluated (grey)
    """,
    "queued": WAITS.format(
        state="queued: waits for room (blue)", health="queued (blue)", done="0% (plain)", attempts=0, wait="AGE (plain)"
    ),
    "impossible": WAITS.format(
        state="queued: fits no cluster (red)", health="queued (blue)", done="0% (plain)", attempts=0, wait="AGE (plain)"
    ),
    "waits again": WAITS.format(
        state="queued: waits for its next attempt (blue)", health="ok when last seen (grey)", done="40% (plain)",
        attempts=1, wait="pauses before a retry (blue)",
    ),
    "succeeded": ENDED.format(**WELL | {"quality": "25 (plain)", "best": "25 (plain)"}),
    # It ended so long ago that the exporter tells of it no more.
    "gone": ENDED.format(**WELL | {"quality": "45 (plain)", "best": "45 (plain)"}),
    "collapsed": ENDED.format(
        **WELL | {"state": "succeeded, but collapsed (red)", "health": "collapsed (red)",
                  "reservation": "collapsed (red)", "quality": "500 (plain)", "best": "200 (plain)",
                  "beside": "far from its best (red)"}
    ),
    "diverged": ENDED.format(**FAILED | {"health": "diverged (red)"}),
    "failed": ENDED.format(**FAILED),
    "cancelled": ENDED.format(**FAILED | {"state": "cancelled (grey)", "reservation": "cancelled (grey)"}),
    "evaluation": EVALUATION.format(
        state="running (green)", reports="as usual (green)", done="40% (plain)", left="30.0 s (plain)",
        age="AGE (plain)", heartbeat="beats (green)", device="CPUs (plain)", wait="runs (grey)",
    ),
    "ended evaluation": EVALUATION.format(
        state="succeeded (green)", done="100% (plain)",
        **dict.fromkeys(("reports", "left", "age", "heartbeat", "device", "wait"), "ended (grey)"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(store_settings: Settings, spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Every kind of job, before a Prometheus."""
    with shown(store_settings, spec, tmp_path_factory.mktemp("shown")) as each:
        yield each


def test_there_is_a_table_of_every_kind(found: Shown) -> None:
    assert set(EXPECTED) == set(found.ids)


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_tiles_of_a_job(found: Shown, kind: str) -> None:
    told = found.of_job(kind)
    assert {len(each) for each in told.values()} == {1}, "one tile, one state"
    expected = [cell.strip() for line in EXPECTED[kind].strip().splitlines() for cell in line.split("|")]
    for (title, [tile]), cell in zip(told.items(), expected, strict=True):
        assert re.fullmatch(re.escape(cell).replace("AGE", AGE), str(tile)), f"{title}: {tile}, expected {cell}"


def test_of_a_job_that_nobody_tells_of_nothing_is_said(found: Shown) -> None:
    for title, told in found.tiles_of("job", job="nobody").items():
        assert [str(tile) for tile in told] == ["unknown: nobody tells of it (yellow)"], title


def test_the_course_of_a_job_that_was_sent_back(found: Shown) -> None:
    rows = found.timeline_of("again")
    assert list(rows) == ["state", "health", "reports"]
    assert [(span.words, span.colour) for span in rows["state"]] == [("running", "green")]
    assert {(span.words, span.colour) for span in rows["health"]} == {("ok", "green")}
    assert [(span.words, span.colour) for span in found.timeline_of("diverged")["state"]] == [
        ("running", "green"), ("failed", "red")
    ]  # fmt: skip
    assert [(span.words, span.colour) for span in found.timeline_of("collapsed")["state"]] == [
        ("running", "green"), ("succeeded, but collapsed", "red")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "health", "reports"),
    [
        ("running", "ok (green)", "as usual (green)"),
        ("late", "ok (green)", "late (yellow)"),
        ("still", "ok when last seen (grey)", "stands still (red)"),
        ("without store", "ok (green)", "waits: ganctl show says for what (yellow)"),
        ("collapsing", "collapsed (red)", "as usual (green)"),
        ("waits again", "ok when last seen (grey)", ""),
        ("failed", "ok when last seen (grey)", ""),
        ("succeeded", "ok (green)", ""),
    ],
)
def test_the_course_ends_as_the_tiles_say(found: Shown, kind: str, health: str, reports: str) -> None:
    rows = found.timeline_of(kind)
    assert f"{rows['health'][-1].words} ({rows['health'][-1].colour})" == health
    if reports:
        assert f"{rows['reports'][-1].words} ({rows['reports'][-1].colour})" == reports


def test_the_fleet_lists_every_job_that_runs_or_waits_what_is_wrong_first(found: Shown) -> None:
    rows = found.rows_of("fleet", "Jobs")
    kinds = {job_id: kind for kind, job_id in found.ids.items()}
    told = {kinds[row["job_id"].words]: row for row in rows}
    assert set(told) == {kind for kind in EXPECTED if "ended (grey)" not in EXPECTED[kind]}
    columns = {"state": 0, "health": 1, "reports": 2, "beside its best": 7}
    for kind, row in told.items():
        cells = [cell.strip() for line in EXPECTED[kind].strip().splitlines() for cell in line.split("|")]
        assert {column: str(row[column]) for column in columns} == {
            column: cells[place] for column, place in columns.items()
        }, kind
    colours = [row["state"].colour for row in rows]
    assert colours == sorted(colours, key=["red", "yellow", "green", "blue"].index)
    assert (told["running"]["done"].words, told["running"]["time left"].words) == ("40%", "1.7 hour")
    assert (told["running"]["quality"].words, told["late"]["quality"].words) == ("26", "-")
    assert (told["still"]["time left"].words, told["queued"]["time left"].words) == ("stands still", "queued")
    assert re.fullmatch(r"\d+ \(red\)", str(told["collapsing"]["alerts"]))
    assert told["running"]["alerts"].words == "-"


def test_the_fleet_at_a_glance(found: Shown) -> None:
    told = {title: str(tile) for title, [tile] in found.tiles_of("fleet").items()}
    assert re.fullmatch(r"[\d.]+ (ms|s) \(green\)", told.pop("Oldest wait"))
    assert re.fullmatch(r"\d+ \(red\)", told.pop("Firing"))
    assert told == {
        "Running": "11 (plain)", "Queued": "3 (plain)", "Trainings": "collapsed or diverged (red)",
        # Seven trainings of 100 images a second; one more stands still, and one waits.
        "Throughput": "700 (plain)", "Dispatchers": "one leads, as always (green)",
        "Servers": "Redis and store work (green)",
    }  # fmt: skip


def test_alerts_are_listed(found: Shown) -> None:
    rows = found.rows_of("fleet", "Alerts")
    of = {(row["alertname"].words, row["job_id"].words): row for row in rows}
    row = of["TrainingCollapsed", found.ids["collapsing"]]
    assert (str(row["severity"]), row["name"].words, row["user"].words) == ("warning (yellow)", "collapsing", "ada")
    assert row["since"].words.endswith("ago")
    assert ("TrainingDiverged", found.ids["diverged"]) in of


def test_runs_are_compared_by_the_protocol_that_most_of_them_have(found: Shown) -> None:
    rows = {row["name"].words: row for row in found.rows_of("quality", "Runs")}
    columns = ("name", "best", "newest", "now", "health")
    assert [tuple(str(row[column]).replace(" (plain)", "") for column in columns) for row in rows.values()] == [
        ("suspect", "20", "22", "was better (yellow)", "suspect (yellow)"),
        ("succeeded", "25", "25", "at its best (green)", "ok (green)"),  # 23 by another protocol, which is not shown
        ("running", "26", "26", "at its best (green)", "ok (green)"),
        ("gone", "45", "45", "at its best (green)", "ok (green)"),
        ("collapsed", "200", "500", "far from its best (red)", "collapsed (red)"),
    ]  # fmt: skip
    assert rows["running"]["fell by"].words == "14"
    assert {row["GPU time a point"].words for row in rows.values()} == {"no GPUs"}
    # What is ruined is not called cheap.
    told = {name: str(row["CPU time a point"]) for name, row in rows.items()}
    assert {name for name, words in told.items() if words == "far from its best (red)"} == {"collapsed"}, told


def test_the_variables_offer_trainings_the_newest_first(found: Shown) -> None:
    def jobs(**chosen: str) -> list[str]:
        variable = next(each for each in PAGES["job"]["templating"]["list"] if each["name"] == "job")
        return found.prometheus.options(variable, found.values("job", **chosen))

    trainings = [job_id for kind, job_id in found.ids.items() if "evaluation" not in kind]
    assert set(jobs()) == set(trainings)
    times = [found.submitted()[job_id] for job_id in jobs()]
    assert times == sorted(times, reverse=True)
    assert jobs(tag="slow") == [found.ids["queued"]]
    assert jobs(name="late") == [found.ids["late"]]
    assert jobs(user="bob") == []
    assert found.ids["evaluation"] in jobs(kind="evaluate")
    assert found.values("job", job=found.ids["succeeded"])["protocol"] == found.values("quality")["protocol"]


@pytest.mark.parametrize("page", PAGES)
def test_every_query_has_an_answer_for_a_job_of_some_kind(found: Shown, page: str) -> None:
    queries = [
        (panel["title"], target["expr"], target.get("instant"))
        for panel in tiles.panels_of(PAGES[page])
        for target in panel["targets"]
    ]
    queries += [(mark["name"], mark["target"]["expr"], False) for mark in PAGES[page]["annotations"]["list"]]
    of_jobs = [found.values(page, **({"job": job_id} if page == "job" else {})) for job_id in found.ids.values()]
    for title, expression, is_instant in queries:
        assert any(
            found.prometheus.result(expression, values, is_instant)
            for values in (of_jobs if "$job" in expression or "$protocol" in expression else of_jobs[:1])
        ), f"{title}: {expression}"


def test_what_happened_is_marked(found: Shown) -> None:
    assert found.marks_of("again") >= {"an attempt begins", "rolled back", "checkpoint"}
    assert found.marks_of("running") >= {"evaluated", "checkpoint"}
    assert "failed" in found.marks_of("diverged")
    assert "health: diverged" in found.marks_of("diverged")
    assert found.marks_of("late") == {"an attempt begins", "checkpoint"}
    assert found.marks_of("queued") == set()


def test_curves_stand_over_images(found: Shown) -> None:
    losses = found.points("job", "Loss, by images", job=found.ids["running"])
    assert {name: values[-1] for name, (_, values) in losses.items()} == {"G": 0.7, "D": 1.4}
    assert all(images[-1] > images[0] >= 400_000 for images, _ in losses.values())
    distances = found.points("quality", "Distance, by images")
    images, values = distances[found.ids["running"]]
    assert (images[-1], values[-1]) == (300_000, 26)
    assert set(distances) == {found.ids[kind] for kind in ("running", "suspect", "succeeded", "gone", "collapsed")}
