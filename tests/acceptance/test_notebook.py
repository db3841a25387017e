"""The notebook of the documentation, executed on a whole stack: its code runs, and it shows what docs/ has of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganservice.job import State
from tests.acceptance.conftest import Stack
from tests.lifetime import bound

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
# A training of seconds, of as many reports.
SHORTER = {"192_000": "3_200", "6_400": "640"}
JUPYTER_EXECUTE = Path(sys.executable).with_name("jupyter-execute")


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(notebook: dict[str, Any]) -> list[list[list[str]]]:
    """For each cell and each of its outputs the kinds in which it is there: text, table, picture."""
    return [[sorted(output.get("data", output)) for output in cell["outputs"]] for cell in code_cells(notebook)]


def test_the_notebook_runs_and_shows_what_is_printed_in_it(stack: Stack, tmp_path: Path) -> None:
    shipped, text = json.loads(NOTEBOOK.read_text()), NOTEBOOK.read_text()
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    path = tmp_path / "notebook.ipynb"
    path.write_text(text)
    done = subprocess.run(
        bound([str(JUPYTER_EXECUTE), "--inplace", str(path)]),
        cwd=tmp_path, env={**os.environ, **stack.environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    executed = json.loads(path.read_text())
    assert [cell["execution_count"] for cell in code_cells(executed)] == list(range(1, len(code_cells(shipped)) + 1))
    assert shown(executed) == shown(shipped), "execute docs/notebook.ipynb anew; see CONTRIBUTING.md"
    with stack.queue() as queue:
        job = queue.get(queue.resolve("notebook"))
    assert (job.state, job.images, job.spec.tags) == (State.SUCCEEDED, 3_200, ("docs",))
    assert (tmp_path / job.id / "manifest.json").exists()


def test_the_notebook_is_small_and_tells_nothing_of_who_ran_it() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 200_000
    assert str(Path.home()) not in text
    assert [cell["metadata"] for cell in json.loads(text)["cells"]] == [{}] * text.count('"cell_type"')
