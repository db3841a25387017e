"""Draws a dashboard from Prometheus' own answers, where there is no Grafana to look at:

python -m deploy.grafana.draw http://127.0.0.1:9090 job --var job=JOB --end UNIX_TIME --minutes 12 --into picture.png
"""

import argparse
import json
import textwrap
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from deploy.grafana import tiles
from deploy.grafana.build import DASHBOARDS
from deploy.grafana.frames import Answers
from deploy.grafana.prometheus import Prometheus, Values

# Of a light theme; what judges nothing has no colour.
PAINT = {
    "red": "#e02f44", "dark-red": "#a01020", "yellow": "#f2cc0c", "green": "#73bf69", "blue": "#5794f2",
    "grey": "#b0b0b0", "orange": "#ff9830",
}  # fmt: skip
INCHES_A_ROW = 0.42
MOST_ROWS, MOST_BARS = 14, 20
Panel = dict[str, Any]


def draw(page: dict[str, Any], prometheus: Prometheus, chosen: Values, into: Path) -> None:
    """All panels, in their places; those of closed rows stay hidden."""
    values = prometheus.values(page, chosen)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"])
    figure = plt.figure(figsize=(18, rows * INCHES_A_ROW + 0.6))
    said = ", ".join(f"{name}: {value}" for name, value in values.items() if value and len(str(value)) < 40)
    figure.suptitle(f"{page['title']}    {said}", fontsize=10, y=0.998)
    marks = [
        mark
        for each in page["annotations"]["list"]
        for mark in tiles.marks(
            each, prometheus.result(each["target"]["expr"], values, is_instant=False), prometheus.step_s
        )
    ]
    for panel in page["panels"]:
        place = panel["gridPos"]
        high = 0.985 / rows
        box = (place["x"] / 24, 0.985 - (place["y"] + place["h"]) * high, place["w"] / 24, place["h"] * high)
        axes = _draw_panel(figure, panel, box, prometheus, values)
        for mark in marks if panel["type"] == "timeseries" else ():
            at = (mark.at_s - prometheus.end_s) / 60
            axes.axvline(at, color=PAINT.get(mark.colour, mark.colour), linewidth=0.7, linestyle=":", zorder=0)
    figure.savefig(into, dpi=75)
    plt.close(figure)


def _draw_panel(figure: Any, panel: Panel, box: tuple[float, ...], prometheus: Prometheus, values: Values) -> Axes:
    left, bottom, width, height = box
    row = height / panel["gridPos"]["h"]
    if panel["type"] in ("timeseries", "xychart", "state-timeline"):
        axes: Axes = figure.add_axes((left + 0.028, bottom + 0.9 * row, width - 0.036, height - 1.9 * row))
    else:
        axes = figure.add_axes((left + 0.003, bottom + 0.1 * row, width - 0.006, height - 0.85 * row))
    if panel["type"] not in ("timeseries", "xychart"):
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_title(panel["title"], fontsize=8, loc="left", pad=2)
    axes.tick_params(labelsize=6)
    if panel["type"] == "row":
        axes.axis("off")
    elif panel["type"] == "text":
        text = prometheus.interpolate(panel["options"]["content"].replace("`", ""), values)
        lines = [line for part in text.split("\n") for line in textwrap.wrap(part, int(180 * width))]
        axes.text(0.01, 0.95, "\n".join(lines), va="top", fontsize=7, transform=axes.transAxes)
    else:
        drawer = {
            "stat": _draw_tiles, "bargauge": _draw_bars, "table": _draw_table, "state-timeline": _draw_timeline,
            "timeseries": _draw_curves, "xychart": _draw_points,
        }[panel["type"]]  # fmt: skip
        drawer(axes, panel, prometheus.ask(panel, values), prometheus.end_s)
    return axes


def _draw_tiles(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:
    found = tiles.tiles(panel, answers, now_s)
    is_filled = panel["options"]["colorMode"] == "background"
    for place, tile in enumerate(found):
        paint = PAINT.get(tile.colour, "white")
        axes.add_patch(Rectangle((place, 0), 1, 1, facecolor=paint if is_filled else "white"))
        words = "\n".join(textwrap.wrap(tile.words, 5 * panel["gridPos"]["w"]))
        ink = "black" if is_filled or paint == "white" else paint
        axes.text(place + 0.5, 0.5, words, ha="center", va="center", fontsize=10, color=ink, weight="bold")
    axes.set_xlim(0, len(found))
    axes.set_ylim(0, 1)


def _draw_bars(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:
    found = tiles.tiles(panel, answers, now_s)[:MOST_BARS]
    lengths = [max(0.0, float(result["value"][1])) for results in answers.values() for result in results]
    for place, tile in enumerate(found):
        length = lengths[place] if place < len(lengths) else 0.0
        axes.barh(-place, length, color=PAINT.get(tile.colour, "lightsteelblue"))
        axes.text(0, -place, f" {tile.name}  {tile.words}", va="center", fontsize=7)
    axes.set_ylim(-max(len(found), 4), 1)


def _draw_table(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:
    rows = tiles.table(panel, answers, now_s)[:MOST_ROWS]
    if not rows:
        _say_nothing(axes, panel)
        return
    columns = list(rows[0])
    texts = [[row[column].words[:34] for column in columns] for row in rows]
    colours = [[_paint_of_cell(panel, column, row[column]) for column in columns] for row in rows]
    lengths = [max(len(column), *(len(line[place]) for line in texts)) + 2 for place, column in enumerate(columns)]
    height = min(1 / (len(rows) + 1), 1.3 / panel["gridPos"]["h"])
    drawn = axes.table(
        texts, colours, colLabels=columns, cellLoc="left", colWidths=[length / sum(lengths) for length in lengths],
        bbox=Bbox.from_bounds(0, 1 - height * (len(rows) + 1), 1, height * (len(rows) + 1)),
    )  # fmt: skip
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)


def _paint_of_cell(panel: Panel, column: str, cell: tiles.Tile) -> str:
    style = tiles.config_of(panel, column).get("custom.cellOptions", {}).get("type")
    return PAINT.get(cell.colour, "white") if style == "color-background" and cell.words != "-" else "white"


def _draw_timeline(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:
    rows = tiles.timeline(panel, answers, now_s)
    for place, spans in enumerate(rows.values()):
        for span, following in zip(spans, [*spans[1:], None], strict=True):
            end_s = following.start_s if following else span.end_s
            axes.barh(-place, end_s - span.start_s, left=span.start_s, color=PAINT.get(span.colour, "white"))
            axes.text(span.start_s, -place, f" {span.words}", va="center", fontsize=7, clip_on=True)
    axes.set_yticks([-place for place in range(len(rows))], list(rows))
    axes.set_ylim(0.5 - max(len(rows), 1), 0.5)
    if not rows:
        _say_nothing(axes, panel)


def _draw_curves(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:
    found = tiles.curves(panel, answers)
    for legend, (times, values) in found.items():
        axes.plot([(at - now_s) / 60 for at in times], values, label=legend, linewidth=1)
    axes.set_xlabel("minutes", fontsize=6)
    _finish(axes, panel, found)


def _draw_points(axes: Axes, panel: Panel, answers: Answers, now_s: float) -> None:  # noqa: ARG001 # as every drawer
    found = tiles.points(panel, answers)
    for legend, (images, values) in found.items():
        axes.plot(images, values, "o-", markersize=2, linewidth=1, label=legend)
    axes.set_xlabel("images", fontsize=6)
    _finish(axes, panel, found)


def _finish(axes: Axes, panel: Panel, found: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    low, high = defaults.get("min"), defaults.get("max")
    if "scaleDistribution" in defaults.get("custom", {}):
        axes.set_yscale("log")
        low = low or None  # there is no 0 on a logarithmic scale
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and found and defaults["custom"].get("thresholdsStyle", {}).get("mode") != "off":
            axes.axhline(step["value"], color=PAINT.get(step["color"], "grey"), linewidth=0.5, linestyle="--")
    axes.set_ylim(low, high)
    if found:
        axes.legend(fontsize=6)
    else:
        _say_nothing(axes, panel)


def _say_nothing(axes: Axes, panel: Panel) -> None:
    words = "\n".join(textwrap.wrap(panel["fieldConfig"]["defaults"]["noValue"], 6 * panel["gridPos"]["w"]))
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, fontsize=8, color="grey")


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="address of Prometheus")
    parser.add_argument("page", choices=[path.stem for path in DASHBOARDS.glob("*.json")])
    parser.add_argument("--var", action="append", default=[], help="name=value of a variable of the dashboard")
    parser.add_argument("--end", type=float, default=time.time(), help="Unix time, s")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--scrape", type=float, default=15.0, help="time between two scrapes, s")
    parser.add_argument("--password", type=Path, help="file that holds Prometheus' password, if it asks for one")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    chosen: Values = dict(pair.split("=", 1) for pair in arguments.var)
    page = json.loads((DASHBOARDS / f"{arguments.page}.json").read_text())
    prometheus = Prometheus(arguments.base, arguments.end, 60 * arguments.minutes, arguments.scrape, arguments.password)
    draw(page, prometheus, chosen, arguments.into)


if __name__ == "__main__":
    main()
