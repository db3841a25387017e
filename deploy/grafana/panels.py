"""The panels of which pages are made, each without its place; widths are in 24ths of the page."""

from collections.abc import Sequence
from typing import Any

from deploy.grafana.words import PLAIN, UNKNOWN, Case, either, mappings, negative, numbered

SOURCE = {"type": "prometheus", "uid": "ganservice"}
Panel = dict[str, Any]
Queries = dict[str, str]  # by legend
Steps = list[tuple[str, float | None]]  # colours, each from a value upwards

LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
REDUCTION = {"calcs": ["lastNotNull"], "fields": "", "values": False}
STACKED = {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30}
LOG_SCALE = {"scaleDistribution": {"type": "log", "log": 10}}
THRESHOLDS = {"mode": "thresholds"}
PALETTE = {"mode": "palette-classic"}
PLAIN_STEPS: Steps = [(PLAIN, None)]


def panel(
    kind: str, title: str, text: str, queries: Queries, options: dict[str, Any], size: tuple[int, int], **more: Any
) -> Panel:
    """A panel of any kind, `size` its width and height.

    Of `more`, `query` is for each query and `transformations` for their answers; all else is how fields are shown, by
    Grafana's own keys, but for `steps`, the thresholds, and `nothing`, the words where there is no value.
    """
    query, transformations = more.pop("query", {}), more.pop("transformations", [])
    steps: Steps = more.pop("steps", PLAIN_STEPS)
    defaults = {
        "unit": "short",
        "noValue": more.pop("nothing", "nothing yet"),
        "thresholds": {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]},
        **more,
    }
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "targets": [
            {"refId": _letter(place), "datasource": SOURCE, "expr": expression, "legendFormat": legend, **query}
            for place, (legend, expression) in enumerate(queries.items())
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "transformations": transformations,
        "gridPos": {"w": size[0], "h": size[1]},
    }


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def override(panel: Panel, column: str, **properties: Any) -> None:
    """Show one field of a panel in its own way; `__` stands for the dots of Grafana's keys."""
    panel["fieldConfig"]["overrides"].append(
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
        }
    )


# Tiles: one instant query each, so that they show what is, and nothing of what was


def _tile(title: str, text: str, expression: str, judges: bool, **more: Any) -> Panel:
    options = {
        "reduceOptions": REDUCTION,
        "colorMode": "background" if judges else "value",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "center",
    }
    size = more.pop("width", 4), more.pop("height", 3)
    return panel(
        "stat", title, text, {title: expression}, options, size, query={"instant": True, "range": False}, **more
    )


def words_tile(title: str, text: str, cases: Sequence[Case], on: str, **more: Any) -> Panel:
    """A tile of the first case that holds, in words, on its colour; `missing` is the case of no answer."""
    missing = more.pop("missing", UNKNOWN)
    found = mappings(cases, missing=missing)
    return _tile(title, text, numbered(cases, on), True, nothing=missing.words, mappings=found, **more)


def amount_tile(title: str, text: str, amount: str, otherwise: Sequence[Case], on: str, **more: Any) -> Panel:
    """A tile of an amount, which is never negative, and of words where there is none; by `steps` it judges it."""
    missing = more.pop("missing", UNKNOWN)
    expression = either(on, amount, negative(otherwise, on)) if otherwise else amount
    found = mappings(otherwise, first=-1, step=-1, missing=missing)
    return _tile(title, text, expression, "steps" in more, nothing=missing.words, mappings=found, **more)


# What stands over time, or over images


def curves(title: str, text: str, queries: Queries, **more: Any) -> Panel:
    """Values over time; `steps` are drawn as areas or, if so told by `steps_as`, as lines."""
    style = {"mode": more.pop("steps_as", "area") if "steps" in more else "off"}
    look = {"fillOpacity": 5, "showPoints": "auto", "thresholdsStyle": style, **more.pop("custom", {})}
    options = {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    size = more.pop("width", 8), more.pop("height", 7)
    return panel("timeseries", title, text, queries, options, size, color=PALETTE, custom=look, **more)


def by_images(title: str, text: str, images: str, queries: Queries, **more: Any) -> Panel:
    """Values of one job over the images that it has seen, joined by the time of the scrapes."""
    series = [
        {
            # Grafana draws no series of which it is not told the frame.
            "frame": {"matcher": {"id": "byIndex", "options": 0}},
            "x": {"matcher": {"id": "byName", "options": "images"}},
            "y": {"matcher": {"id": "byName", "options": legend}},
        }
        for legend in queries
    ]
    join = {"id": "joinByField", "options": {"byField": "Time", "mode": "inner"}}
    return _against(title, text, {"images": images, **queries}, series, transformations=[join], **more)


def jobs_by_images(title: str, text: str, images: str, value: str, **more: Any) -> Panel:
    """One value of each of several jobs over the images that it has seen: a frame for each job."""
    names = {"Value #A": "images", "Value #B": "value"}
    transformations: list[dict[str, Any]] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
        {"id": "partitionByValues", "options": {"fields": ["job_id"], "keepFields": False}},
    ]
    queries = {"images": images, "value": value}
    return _against(
        title, text, queries, [], query={"format": "table"}, transformations=transformations, **{"width": 12} | more
    )


def _against(title: str, text: str, queries: Queries, series: list[Any], **more: Any) -> Panel:
    options = {
        "mapping": "manual" if series else "auto",
        "series": series,
        "legend": {**LEGEND, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    size = more.pop("width", 8), more.pop("height", 8)
    look = {"show": "points+lines", "pointSize": {"fixed": 3}, "lineWidth": 1}
    return panel("xychart", title, text, queries, options, size, custom=look, color=PALETTE, **more)


def timeline(title: str, text: str, rows: dict[str, Sequence[Case]], on: str) -> Panel:
    """States over time, a row for each; the rows share one list of numbers."""
    queries: Queries = {}
    words: list[Case] = []
    for legend, cases in rows.items():
        queries[legend] = numbered(cases, on, first=1 + len(words))
        words += cases
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "rowHeight": 0.8,
        "alignValue": "left",
        "legend": {**LEGEND, "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    look = {"fillOpacity": 80, "lineWidth": 0}
    found = mappings(words, missing=None)
    return panel(
        "state-timeline", title, text, queries, options, (24, 5), mappings=found, color=THRESHOLDS, custom=look
    )


# Lists


def bars(title: str, text: str, expression: str, **more: Any) -> Panel:
    """One bar for each job, as it is now."""
    options = {"reduceOptions": REDUCTION, "orientation": "horizontal", "displayMode": "gradient", "valueMode": "color"}
    return panel(
        "bargauge", title, text, {"{{job_id}}": expression}, options, (8, 8), query={"instant": True, "range": False},
        min=0, steps=[("blue", None)], **more,
    )  # fmt: skip


def table(
    title: str,
    text: str,
    queries: Queries,
    columns: Sequence[str],
    *,
    sort_by: str,
    is_joined: bool = True,
    **more: Any,
) -> Panel:
    """A line for each job: `queries` by the names of their columns, joined by the job; other columns are labels."""
    joins = [{"id": "joinByField", "options": {"byField": "job_id", "mode": "outer"}}] if is_joined else []
    # Of one query alone Grafana calls the values just so.
    names = {f"Value #{_letter(place)}": column for place, column in enumerate(queries)} | {
        "Value": next(iter(queries))
    }
    order = {old: columns.index(new) for old, new in names.items() if new in columns}
    order |= {label: place for place, label in enumerate(columns) if label not in queries}
    transformations = [
        *joins,
        {"id": "organize", "options": {"excludeByName": {}, "renameByName": names, "indexByName": order}},
        {"id": "filterFieldsByName", "options": {"include": {"pattern": f"^({'|'.join(columns)})$"}}},
    ]
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": sort_by, "desc": False}]}
    return panel(
        "table", title, text, queries, options, (more.pop("width", 24), more.pop("height", 8)),
        query={"format": "table", "instant": True, "range": False}, transformations=transformations,
        custom={"align": "auto", "cellOptions": {"type": "auto"}}, **more,
    )  # fmt: skip


def words_column(panel: Panel, column: str, found: list[dict[str, Any]]) -> None:
    """Show the numbers of a column in the words and on the colours of value mappings."""
    override(panel, column, mappings=found, custom__cellOptions={"type": "color-background", "mode": "basic"})


# Pages


def text_panel(title: str, text: str, content: str, *, width: int = 24, height: int = 4) -> Panel:
    """Sentences, in Markdown."""
    return {
        "type": "text",
        "title": title,
        "description": text,
        "options": {"mode": "markdown", "content": content},
        "gridPos": {"w": width, "h": height},
    }


def row(title: str, panels: Sequence[Panel] = ()) -> Panel:
    """A heading; with panels it is closed, and opens to show them."""
    return {
        "type": "row", "title": title, "collapsed": bool(panels), "panels": list(panels),
        "gridPos": {"w": 24, "h": 1},
    }  # fmt: skip
