"""Pages: their variables, their annotations, and where their panels stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.grafana.panels import SOURCE, Panel

FLEET, JOB, QUALITY = "ganservice-fleet", "ganservice-job", "ganservice-quality"
# The more jobs a page asks for, the rarer.
REFRESH = {FLEET: "30s", JOB: "10s", QUALITY: "1m"}
ALL = {"selected": True, "text": ["All"], "value": ["$__all"]}


def dashboard(
    uid: str,
    title: str,
    text: str,
    panels: Sequence[Panel],
    variables: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]] = (),
    since: str = "now-3h",
) -> dict[str, Any]:
    """A page: panels stand from left to right, then below."""
    others = {"Fleet": FLEET, "Job": JOB, "Quality": QUALITY}
    return {
        "uid": uid,
        "title": f"ganservice / {title}",
        "description": text,
        "tags": ["ganservice"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": REFRESH[uid],
        "time": {"from": since, "to": "now"},
        "timezone": "",
        "templating": {"list": list(variables)},
        "annotations": {"list": list(annotations)},
        "links": [
            {"type": "link", "title": name, "url": f"/d/{other}", "keepTime": True, "icon": "dashboard", "tags": [],
             "asDropdown": False, "includeVars": False, "targetBlank": False, "tooltip": ""}
            for name, other in others.items() if other != uid
        ],
        "panels": _placed(panels),
    }  # fmt: skip


def _placed(panels: Sequence[Panel]) -> list[Panel]:
    places, x, y, height, number = [], 0, 0, 0, 0
    for each in panels:
        place, number = each["gridPos"], number + 1
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        placed = {**each, "id": number, "gridPos": {**place, "x": x, "y": y}}
        if each.get("panels"):  # of a closed row, which stand below it once it is opened
            placed["panels"] = [
                {
                    **inner,
                    "id": number + inner["id"],
                    "gridPos": {**inner["gridPos"], "y": y + 1 + inner["gridPos"]["y"]},
                }
                for inner in _placed(each["panels"])
            ]
            number += len(each["panels"])
        places.append(placed)
        x, height = x + place["w"], max(height, place["h"])
    return places


# Variables


def labels_of(name: str, label: str, query: str, *, regex: str = "", many: bool = True) -> dict[str, Any]:
    """A variable with the values of a label, all of them unless some are chosen."""
    return {**_variable(name, label, query, regex, sort=1), "multi": many, "includeAll": True, "allValue": ".*"} | {
        "current": ALL
    }


def newest(name: str, label: str, query: str, of: str, *, stays: bool = False) -> dict[str, Any]:
    """A variable with one value, the first of those that a query gives in its order.

    One that `stays` is looked for only when the page is opened: else Grafana would put another in the place of one that
    the query gives no more, or that only the address of the page named, under the eyes of who reads.
    """
    found = _variable(name, label, f"query_result({query})", f'/{of}="([^"]+)"/', sort=0)
    return {**found, "refresh": 1 if stays else 2}


def newest_many(name: str, label: str, query: str, of: str) -> dict[str, Any]:
    """The same with several values: all that the query gives, unless some of them are chosen."""
    found = _variable(name, label, f"query_result({query})", f'/{of}="([^"]+)"/', sort=0)
    return {**found, "multi": True, "includeAll": True, "current": ALL}


def choice(name: str, label: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A variable with a few fixed values, by their texts; the first of them unless another is chosen."""
    options = [
        {"text": text, "value": value, "selected": not place} for place, (text, value) in enumerate(values.items())
    ]
    query = ", ".join(f"{text} : {value}" for text, value in values.items())
    return {
        "name": name, "label": label, "type": "custom", "query": query, "options": options,
        "current": options[0], "multi": False, "includeAll": False,
    }  # fmt: skip


def _variable(name: str, label: str, query: str, regex: str, sort: int) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "regex": regex,
        "refresh": 2,  # whenever the time shown changes
        "sort": sort,
        "multi": False,
        "includeAll": False,
    }


# Events


def annotation(name: str, colour: str, expression: str, title: str, text: str = "") -> dict[str, Any]:
    """A mark on every curve wherever an expression has a value above 0."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "target": {"refId": "Anno", "expr": expression, "interval": "15s", "range": True, "instant": False},
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "",
        "useValueForTime": False,
    }


def changed(series: str) -> str:
    """An expression for where a series has just changed."""
    return f"changes({series}[$__rate_interval]) > 0"


def appeared(series: str) -> str:
    """An expression for where a series has just changed, or was not there before."""
    return f"{changed(series)} or ({series} unless last_over_time({series}[1h] offset $__rate_interval))"
