"""The dashboards are those of their description, ask for metrics that there are, and show no state that is over."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import files
from deploy.grafana.tiles import panels_of
from tests.unit.dashboards import DASHBOARDS, PAGES, expressions, series_names

RECORDING = Path("ganservice/prometheus/recording.yaml")


def recorded() -> dict[str, str]:
    """The recording rules, by name."""
    [group] = yaml.safe_load(RECORDING.read_text())["groups"]
    return {rule["record"]: rule["expr"] for rule in group["rules"]}


def test_the_files_are_what_the_description_builds() -> None:
    built = files()
    assert set(built) == {f"{name}.json" for name in PAGES}
    for name, text in built.items():
        assert (DASHBOARDS / name).read_text() == text, "run `python -m deploy.grafana.build`"


@pytest.mark.parametrize("name", PAGES)
def test_every_query_asks_for_metrics_that_there_are(name: str) -> None:
    page = PAGES[name]
    variables = [each["query"]["query"] for each in page["templating"]["list"] if each["type"] == "query"]
    asked = " ".join(
        [*expressions(page), *(mark["target"]["expr"] for mark in page["annotations"]["list"]), *variables]
    )
    assert set(re.findall(r"ganservice_\w+", asked)) <= series_names()
    assert set(re.findall(r"ganservice:[\w:]+", asked)) <= set(recorded())


def test_no_alerts_of_others_are_shown_or_counted() -> None:
    marks = [mark["target"]["expr"] for page in PAGES.values() for mark in page["annotations"]["list"]]
    asked = " ".join([*(each for page in PAGES.values() for each in expressions(page)), *marks])
    selectors = re.findall(r"\bALERTS\b({[^}]*})?", asked)
    assert len(selectors) >= 4
    assert all('service="ganservice"' in each for each in selectors)


def test_rules_record_what_there_is_and_are_used() -> None:
    asked = " ".join([*recorded().values(), *(each for page in PAGES.values() for each in expressions(page))])
    assert set(re.findall(r"ganservice_\w+", " ".join(recorded().values()))) <= series_names()
    assert set(recorded()) == set(re.findall(r"ganservice:[\w:]+", asked))


def test_every_page_has_a_fixed_uid_and_links_to_the_others() -> None:
    uids = {page["uid"] for page in PAGES.values()}
    assert uids == {"ganservice-fleet", "ganservice-job", "ganservice-quality"}
    for page in PAGES.values():
        assert {link["url"].removeprefix("/d/") for link in page["links"]} == uids - {page["uid"]}


def test_every_panel_says_what_it_shows_and_what_nothing_means() -> None:
    for page in PAGES.values():
        for panel in page["panels"]:
            assert panel["title"]
            assert panel["type"] == "row" or panel["description"]
        for panel in panels_of(page):
            assert panel["description"]
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["unit"]
            assert defaults["noValue"]


@pytest.mark.parametrize("name", PAGES)
def test_what_is_shown_as_it_stands_is_asked_for_as_it_stands(name: str) -> None:
    for panel in panels_of(PAGES[name]):
        if panel["type"] in ("stat", "bargauge", "table"):
            assert [(each["instant"], each["range"]) for each in panel["targets"]] == [(True, False)] * len(
                panel["targets"]
            ), panel["title"]


def test_no_other_job_takes_the_place_of_the_one_that_is_looked_at() -> None:
    refreshes = {each["name"]: each.get("refresh") for each in PAGES["job"]["templating"]["list"]}
    assert refreshes["job"] == 1, "only when the page is opened"


@pytest.mark.parametrize("name", PAGES)
def test_an_axis_has_one_scale(name: str) -> None:
    for panel in panels_of(PAGES[name]):
        if panel["type"] == "timeseries":
            asked = {re.sub(r"_(sum|count|total)$", "", each) for each in metrics_of(panel)}
            alike = {frozenset(pair) for pair in ALIKE}
            assert len(asked) == 1 or frozenset(asked) in alike, f"{panel['title']}: {asked}"


# Different metrics that people compare on one axis.
ALIKE = [
    ("ganservice_job_used_cpus", "ganservice_job_cpus"),
    ("ganservice_broker_memory_bytes", "ganservice_broker_max_memory_bytes"),
    ("ganservice_leases_lost", "ganservice_stale_writes", "ganservice_leader_changes"),
    ("ganservice_missed_beats", "ganservice_store_errors"),
]


def metrics_of(panel: dict[str, Any]) -> set[str]:
    """All metrics that a panel asks for."""
    return {name for each in panel["targets"] for name in re.findall(r"ganservice[_:][\w:]+", each["expr"])}


def test_panels_do_not_lie_on_each_other() -> None:
    for page in PAGES.values():
        taken: set[tuple[int, int]] = set()
        for panel in page["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not taken & cells
            assert all(x < 24 for x, _ in cells)
            taken |= cells


def test_every_panel_has_a_number_of_its_own() -> None:
    for page in PAGES.values():
        numbers = [each["id"] for panel in page["panels"] for each in (panel, *panel.get("panels", []))]
        assert all(one < other for one, other in pairwise(numbers))
