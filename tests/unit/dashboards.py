"""Grafana's dashboards, as they are committed."""

import json
from pathlib import Path
from typing import Any

DASHBOARDS = Path("deploy/kubernetes/ganservice/files/dashboards")
PAGES = {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def expressions(page: dict[str, Any]) -> list[str]:
    """The queries of every panel of a page."""
    return [target["expr"] for panel in page["panels"] for target in panel.get("targets", [])]
