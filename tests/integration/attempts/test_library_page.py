"""docs/library.md: its code, run from top to bottom by who reads it, beside a dispatcher that is the test."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganservice.job import State
from tests.integration.attempts.in_process import InProcess

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "library.md"
pytestmark = pytest.mark.usefixtures("quick_bundles")


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec that the README shows, as a training of seconds."""
    [spec] = re.findall(r"```yaml\n(name: my-first-gan\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tree = yaml.safe_load(spec) | {"images": 640, "report_every_images": 320}
    tree["resources"] = {"cpus_per_worker": 1}
    del tree["evaluate"]
    (tmp_path / "my-first-gan.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_page_runs(
    service: InProcess, readers_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    first, *others = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(others) == 3
    exec(compile(first, PAGE, "exec"), names)  # noqa: S102 # our own page
    trained = threading.Thread(target=service.finish, args=(names["job"].id,))
    trained.start()
    for block in others:
        exec(compile(block, PAGE, "exec"), names)  # noqa: S102
    trained.join()
    job = service.job(names["job"].id)
    assert (job.state, job.name) == (State.SUCCEEDED, "narrow")
    assert (job.spec.tags, job.spec.note) == (("lesson",), "half as wide")
    assert (readers_folder / job.id / "manifest.json").exists()
    assert len(names["losses"]) == 2
    assert names["pictures"].shape == (64, 28, 28, 1)
    assert names["walk"].shape == (21, 28, 28, 1)
    assert f"{job.id} queued" in capsys.readouterr().out
