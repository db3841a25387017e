"""Builds the Grafana dashboards from their description beside it: `python -m deploy.grafana.build`.

They lie in the Helm chart, which can only read files below itself; Docker Compose mounts them from there. A test
holds them to this description, and their queries to the metrics there are.
"""

import json
from pathlib import Path

from deploy.grafana.fleet import fleet
from deploy.grafana.job import job
from deploy.grafana.quality import quality

DASHBOARDS = Path(__file__).parents[1] / "kubernetes" / "ganservice" / "files" / "dashboards"


def files() -> dict[str, str]:
    """The text of every file, by name."""
    pages = {"fleet": fleet(), "job": job(), "quality": quality()}
    return {f"{name}.json": json.dumps(page, indent=2) + "\n" for name, page in pages.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (DASHBOARDS / name).write_text(text)
