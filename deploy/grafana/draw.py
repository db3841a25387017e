"""Draws a dashboard from Prometheus' own answers, where there is no Grafana to look at:

python deploy/grafana/draw.py http://127.0.0.1:9090 job --var job=JOB --end UNIX_TIME --minutes 12 --into picture.png
"""

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ganservice.metrics_server import basic_auth
from ganservice.proxies import ProxyHandler

DASHBOARDS = Path(__file__).parents[1] / "kubernetes" / "ganservice" / "files" / "dashboards"
POINTS = 240
Series = dict[str, tuple[list[float], list[float]]]  # minutes and values, by legend


class Answers:
    """What Prometheus has to say about a span of time."""

    def __init__(
        self, base: str, variables: dict[str, str], end: float, minutes: float, password: Path | None = None
    ) -> None:
        self._base, self._end, self._span_s = base, end, 60 * minutes
        self._opener = urllib.request.build_opener(ProxyHandler())
        if password:
            self._opener.addheaders.append(("Authorization", basic_auth(password.read_text().strip())))
        self._variables = {"$__range": f"{minutes:.0f}m"} | {f"${name}": value for name, value in variables.items()}

    def curves(self, panel: dict[str, Any]) -> Series:
        """The curves of all queries of a panel."""
        curves: Series = {}
        for target in panel["targets"]:
            step = {"start": self._end - self._span_s, "end": self._end, "step": self._span_s / POINTS}
            for series in self._ask("query_range", target["expr"], step):
                points = [(float(at), float(value)) for at, value in series["values"]]
                minutes = [(at - self._end + self._span_s) / 60 for at, _ in points]
                curves[_legend(target, series["metric"])] = minutes, [value for _, value in points]
        return curves

    def values(self, panel: dict[str, Any]) -> dict[str, float]:
        """At the end of the span."""
        return {
            _legend(target, series["metric"]): float(series["value"][1])
            for target in panel["targets"]
            for series in self._ask("query", target["expr"], {"time": self._end})
        }

    def _ask(self, path: str, expression: str, arguments: dict[str, float]) -> list[Any]:
        for name, value in sorted(self._variables.items(), reverse=True):
            expression = expression.replace(name, value)
        query = urllib.parse.urlencode({"query": expression, **arguments})
        with self._opener.open(f"{self._base}/api/v1/{path}?{query}") as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
        return result


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    text = re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), target["legendFormat"])
    return f"{text} {labels['job_id']}" if target.get("format") == "table" else text


def draw(page: dict[str, Any], answers: Answers, into: Path) -> None:
    """All panels, in their places."""
    panels = [panel for panel in page["panels"] if panel["type"] != "text"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(16, rows * 0.42 + 0.8))
    figure.suptitle(page["title"])
    for panel in panels:
        place = panel["gridPos"]
        left, bottom = place["x"] / 24, 0.96 * (1 - (place["y"] + place["h"]) / rows)
        width, height = place["w"] / 24, 0.96 * place["h"] / rows
        # Titles and scales stand outside the axes.
        axes = figure.add_axes((left + 0.03, bottom + 0.03, width - 0.04, height - 0.05))
        axes.set_title(panel["title"], fontsize=9)
        axes.tick_params(labelsize=7)
        if panel["type"] == "timeseries":
            _draw_curves(axes, panel, answers.curves(panel))
        elif panel["type"] == "xychart":
            _draw_against(axes, answers.curves(panel))
        else:
            _draw_values(axes, panel, answers.values(panel))
    figure.savefig(into, dpi=70)


def _draw_curves(axes: Axes, panel: dict[str, Any], curves: Series) -> None:
    for legend, (minutes, values) in curves.items():
        axes.plot(minutes, values, label=legend, linewidth=1)
    defaults = panel["fieldConfig"]["defaults"]
    low, high = defaults.get("min"), defaults.get("max")
    if "scaleDistribution" in defaults.get("custom", {}):
        axes.set_yscale("log")
        low = low or None  # there is no 0 on a logarithmic scale
    axes.set_ylim(low, high)
    axes.set_xlabel("minutes", fontsize=7)
    _say_nothing(axes, panel, curves)
    if curves:
        axes.legend(fontsize=6)


def _draw_against(axes: Axes, curves: Series) -> None:
    if len(curves) == 2:
        (first, images), (second, distances) = ((dict(zip(*c, strict=True)), n) for n, c in curves.items())
        shared = sorted(first.keys() & second.keys())
        axes.plot([first[at] for at in shared], [second[at] for at in shared], "o-", markersize=3)
        axes.set_xlabel(images, fontsize=7)
        axes.set_ylabel(distances, fontsize=7)


def _draw_values(axes: Axes, panel: dict[str, Any], values: dict[str, float]) -> None:
    if panel["type"] == "bargauge" and values:
        axes.barh(range(len(values)), list(values.values()), color="lightsteelblue")
        axes.set_yticks([])
        for row, (legend, value) in enumerate(values.items()):
            axes.text(0, row, f" {legend}: {value:.3g}", va="center", fontsize=7)
        return
    axes.axis("off")
    lines = [f"{legend}: {value:,.4g}" for legend, value in values.items()]
    axes.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=10 if len(lines) < 4 else 7)
    _say_nothing(axes, panel, values)


def _say_nothing(axes: Axes, panel: dict[str, Any], data: Any) -> None:
    if not data:
        axes.text(
            0.5, 0.5, panel["fieldConfig"]["defaults"]["noValue"], ha="center", transform=axes.transAxes, fontsize=8
        )


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="address of Prometheus")
    parser.add_argument("page", choices=[path.stem for path in DASHBOARDS.glob("*.json")])
    parser.add_argument("--var", action="append", default=[], help="name=value of a variable of the dashboard")
    parser.add_argument("--end", type=float, default=time.time(), help="Unix time, s")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--password", type=Path, help="file that holds Prometheus' password, if it asks for one")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    variables = {"jobs": ".*", "protocol": ".*"} | dict(pair.split("=", 1) for pair in arguments.var)
    page = json.loads((DASHBOARDS / f"{arguments.page}.json").read_text())
    answers = Answers(arguments.base, variables, arguments.end, arguments.minutes, arguments.password)
    draw(page, answers, arguments.into)


if __name__ == "__main__":
    main()
