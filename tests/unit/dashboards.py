"""Grafana's dashboards, as they are committed, and the series that they may ask for."""

import json
from pathlib import Path
from typing import Any

from deploy.grafana.tiles import panels_of
from ganservice.metrics import METRICS, Kind

DASHBOARDS = Path("deploy/kubernetes/ganservice/files/dashboards")
PAGES = {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def expressions(page: dict[str, Any]) -> list[str]:
    """The queries of every panel of a page."""
    return [target["expr"] for panel in panels_of(page) for target in panel["targets"]]


def series_names() -> set[str]:
    """Every name under which Prometheus has something of ours."""
    ends = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {metric.full_name + end for metric in METRICS.values() for end in ends.get(metric.kind, ("",))}
