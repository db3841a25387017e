"""What the alerts say to somebody who is woken by one: whose it is, what to do, where to look."""

import re
from pathlib import Path

from ganservice.evaluation import QUALITY_NUMBER, name_pattern
from ganservice.exporter.job_series import NO_RESERVATION
from ganservice.job import Health, Reason, State
from ganservice.reservation import ReservationKind
from tests.unit.dashboards import PAGES, series_names
from tests.unit.rules import ALERTS, GROUPS, OF_JOBS, RULES, promtool

HANDBOOK = Path("docs/operating.md")


def test_the_rules_are_valid_and_each_says_whose_it_is_and_what_to_do() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr
    for name, rule in ALERTS.items():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard"}, name
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["labels"]["service"] == "ganservice", name


def test_every_alert_leads_to_a_section_of_the_handbook_that_names_it() -> None:
    sections: dict[str, str] = {}
    for section in re.split(r"^#+ ", HANDBOOK.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        sections["#" + re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")] = text
    for name, rule in ALERTS.items():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert path == str(HANDBOOK)
        assert f"`{name}`" in sections[f"#{anchor}"], name


def test_every_alert_leads_to_a_page_that_there_is() -> None:
    uids = {page["uid"] for page in PAGES.values()}
    for name, rule in ALERTS.items():
        uid, _, variable = rule["annotations"]["dashboard"].removeprefix("/d/").partition("?")
        assert uid in uids, name
        assert variable.startswith("var-job={{ $labels.") == (name in OF_JOBS), name
        assert ("{{ $labels.name }} ({{ $labels.job_id }})" in rule["annotations"]["summary"]) == (name in OF_JOBS)


def test_no_alert_of_one_job_forgets_whose_it_is() -> None:
    of_one_job = [name for name, rule in ALERTS.items() if "max by (job_id" in rule["expr"]]
    assert of_one_job == OF_JOBS
    assert len(OF_JOBS) > 10


def test_the_distance_is_asked_for_by_all_of_its_names() -> None:
    patterns = re.findall('measure=~"(.*?)"', ALERTS["QualityFalling"]["expr"])
    assert patterns == [name_pattern(QUALITY_NUMBER)]


def test_every_alert_asks_for_metrics_that_there_are() -> None:
    asked = set(re.findall(r"ganservice_\w+", RULES.read_text()))
    assert asked
    assert asked <= series_names(), asked - series_names()


def test_every_alert_asks_for_values_that_there_are() -> None:
    known: dict[str, set[str]] = {
        "state": set(State),
        "health": set(Health),
        "reason": set(Reason),
        "reservation": {*ReservationKind, NO_RESERVATION},
        "kind": {"train", "evaluate"},
    }
    for name, rule in ALERTS.items():
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', rule["expr"]):
            assert label in {*known, "job", "measure"}, name
            assert label not in known or set(values.split("|")) <= known[label], name


def test_each_group_is_a_section_of_the_handbook() -> None:
    for group in GROUPS:
        assert len({rule["annotations"]["runbook_url"] for rule in group["rules"]}) == 1, group["name"]
