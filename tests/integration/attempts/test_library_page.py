"""The Python of pages, run from top to bottom as who reads them would, beside a dispatcher that is the test."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("quick_bundles")


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec that the README shows, as a training of seconds; figures are drawn for nobody."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    [spec] = re.findall(r"```yaml\n(name: my-first-gan\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tree = yaml.safe_load(spec) | {"images": 640, "report_every_images": 320}
    tree["resources"] = {"cpus_per_worker": 1}
    del tree["evaluate"]
    (tmp_path / "my-first-gan.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", ["docs/library.md", "README.md"])
def test_the_code_of_a_page_runs(page: str, service: InProcess, readers_folder: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) == {"docs/library.md": 4, "README.md": 1}[page]
    before = {job.id for job in service.queue().list_jobs()}

    def train() -> None:
        [job] = wait_until(lambda: [job for job in service.queue().list_jobs() if job.id not in before])
        service.finish(job.id)

    dispatcher = threading.Thread(target=train)
    dispatcher.start()
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102 # our own page
    dispatcher.join()
    job = names["job"].wait(timeout_s=0)
    assert job.spec.tags == ("lesson",)
    assert len(names["job"].metrics()) == 2
    assert names["pictures"].shape == (64, 28, 28, 1)
    if page == "docs/library.md":
        assert (job.name, job.spec.note) == ("narrow", "half as wide")
        assert (readers_folder / job.id / "manifest.json").exists()
        assert len(names["losses"]) == 2
        assert names["walk"].shape == (21, 28, 28, 1)
