"""The dashboards are those of their description, and ask for metrics that there are."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.unit.dashboards import DASHBOARDS, PAGES, expressions, series_names

BUILDER = Path("deploy/grafana/build.py")


def test_the_files_are_what_the_description_builds() -> None:
    spec = importlib.util.spec_from_file_location("build", BUILDER)
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    built = build.files()
    assert set(built) == {f"{name}.json" for name in PAGES}
    for name, text in built.items():
        assert (DASHBOARDS / name).read_text() == text, "run `python deploy/grafana/build.py`"


@pytest.mark.parametrize("name", PAGES)
def test_every_query_asks_for_metrics_that_there_are(name: str) -> None:
    asked = set(re.findall(r"ganservice_\w+", " ".join(expressions(PAGES[name]))))
    assert asked
    assert asked <= series_names()


def test_every_page_has_a_fixed_uid_and_links_to_the_others() -> None:
    uids = {page["uid"] for page in PAGES.values()}
    assert uids == {"ganservice-fleet", "ganservice-job", "ganservice-quality"}
    for page in PAGES.values():
        assert {link["url"].removeprefix("/d/") for link in page["links"]} == uids - {page["uid"]}


def test_every_panel_says_what_it_shows_and_what_nothing_means() -> None:
    for page in PAGES.values():
        for panel in page["panels"]:
            assert panel["title"]
            assert panel["description"]
            if panel["type"] != "text":
                defaults = panel["fieldConfig"]["defaults"]
                assert defaults["unit"]
                assert defaults["noValue"]


def test_panels_do_not_lie_on_each_other() -> None:
    for page in PAGES.values():
        taken: set[tuple[int, int]] = set()
        for panel in page["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not taken & cells
            assert all(x < 24 for x, _ in cells)
            taken |= cells
