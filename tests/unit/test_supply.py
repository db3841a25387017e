"""Supply chain: all that is installed is pinned, held to its digests, and under a licence that we take."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.supply.audit import UNKNOWN, VULNERABLE, verdict
from deploy.supply.licences import is_allowed, licence, notice
from deploy.supply.locks import FOLDER, LOCKS, without_torch
from deploy.supply.packages import CONSTRAINTS, OF_TORCH, needed, pins
from deploy.supply.runtime import RUNNING, TERMS, VERSION, stored
from deploy.supply.sbom import with_runtime

PINS = pins(CONSTRAINTS.read_text())
FILES = {name: (FOLDER / f"{name}.txt").read_text() for name in LOCKS}


def test_everything_that_is_installed_is_pinned() -> None:
    assert needed(("local", "efficientnet", "gpu", "dev", "supply")) - {"pip"} <= PINS.keys()  # pip comes with Python
    assert {"hiredis", "setuptools", "nvidia-ml-py"} <= PINS.keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_all_that_its_extras_lead_to(lock: str) -> None:
    wanted = {name for name in needed(LOCKS[lock]) if not OF_TORCH.fullmatch(name)}
    assert wanted <= pins(FILES[lock]).keys(), "make locks"
    assert "setuptools" in pins(FILES[lock]), "what builds this project is held to its digest too"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_and_the_constraints_say_the_same(lock: str) -> None:
    locked = pins(FILES[lock])
    assert locked.items() <= PINS.items(), "make locks"
    assert not any(OF_TORCH.fullmatch(name) for name in locked)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_digests(lock: str) -> None:
    entries = FILES[lock].split("\n")
    for at, line in enumerate(entries):
        if "==" in line:
            assert line.endswith("\\"), line
            assert entries[at + 1].startswith("    --hash=sha256:"), line


def test_of_torch_nothing_is_in_a_lock() -> None:
    text = (
        "a==1 \\\n    --hash=sha256:0\nnvidia-cublas==1 ; x \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"
        "nvidia-ml-py==1 \\\n    --hash=sha256:3\ntorch==2 \\\n    --hash=sha256:4\n"
        "torchmetrics==1 \\\n    --hash=sha256:5\n"
    )
    assert list(pins(without_torch(text))) == ["a", "nvidia-ml-py", "torchmetrics"]
    assert without_torch(text).count("--hash") == 3


def test_setting_up_holds_packages_to_their_digests_before_it_looks_for_any() -> None:
    recipes = Path("Makefile").read_text().split("\n\n")
    setups = [recipe for recipe in recipes if "pip install" in recipe and "installed" in recipe.partition(":")[0]]
    steps = re.compile(r"--require-hashes --requirement deploy/requirements/(\w+)[.]txt|--editable")
    checked = [steps.findall(recipe) for recipe in setups]
    assert ["local", ""] in checked
    assert ["dev", ""] in checked


def test_the_notice_names_every_package_that_users_install() -> None:
    assert Path("NOTICE").read_text() == notice(), "make licences"


def test_every_licence_is_one_that_we_take() -> None:
    for name in needed(("local", "efficientnet", "gpu", "dev")):
        assert OF_TORCH.fullmatch(name) or is_allowed(licence(name)), f"{name}: {licence(name)}"


def test_what_runs_in_browsers_is_what_its_publisher_packs() -> None:
    assert stored() == RUNNING | TERMS, "python -m deploy.supply.runtime"
    program = Path("workers/explorer/runtime/ort.wasm.bundle.min.mjs").read_text()
    assert f"ONNX Runtime Web v{VERSION}" in program


def test_what_runs_in_browsers_is_in_the_bill_of_materials_once() -> None:
    torch = {"name": "torch", "bom-ref": "torch==2"}
    bill = with_runtime(with_runtime({"bomFormat": "CycloneDX", "components": [torch]}))
    first, runtime = bill["components"]
    assert first == torch
    assert runtime["purl"] == f"pkg:npm/onnxruntime-web@{VERSION}"
    assert runtime["licenses"] == [{"license": {"id": "MIT"}}]
    assert Path("workers/explorer/runtime/LICENSE").read_text().startswith("MIT License")
    hashes = {each["name"]: each["hashes"][0]["content"] for each in runtime["components"]}
    assert hashes == RUNNING


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("MIT OR (Apache-2.0 AND LGPL-2.1)", True),
        ("AGPL-3.0", False),
        ("", False),
    ],
)
def test_a_licence_is_taken_by_all_its_parts(expression: str, taken: bool) -> None:
    assert is_allowed(expression) is taken


def test_a_package_that_tells_no_licence_is_asked_about() -> None:
    with pytest.raises(LookupError, match=r"name its licence in deploy/supply/licences[.]py"):
        licence("not-installed-anywhere")


CLEAN = {"name": "a", "version": "1", "vulns": []}
HOLES = [{"id": "CVE-1", "fix_versions": ["3"]}, {"id": "CVE-2", "fix_versions": []}]
HOLED = {"name": "b", "version": "2", "vulns": HOLES}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.mark.parametrize(
    ("dependencies", "code", "says"),
    [
        ([CLEAN], 0, ["all 1 packages were looked up: no hole is known"]),
        ([CLEAN, HOLED], VULNERABLE, ["b 2: CVE-1, mended in 3", "b 2: CVE-2, mended in no release"]),
        ([CLEAN, SKIPPED], UNKNOWN, ["unknown: 1 of 2 packages could not be looked up: c"]),
        ([SKIPPED], UNKNOWN, ["unknown: 1 of 1 packages could not be looked up: c"]),
        ([HOLED, SKIPPED], VULNERABLE, [
            "b 2: CVE-1, mended in 3", "b 2: CVE-2, mended in no release",
            "unknown: 1 of 2 packages could not be looked up: c",
        ]),
        ([], UNKNOWN, ["unknown: the database of vulnerabilities cannot be reached; nothing was looked up"]),
    ],
)  # fmt: skip
def test_nothing_is_called_well_that_was_not_looked_up(
    dependencies: list[dict[str, Any]], code: int, says: list[str]
) -> None:
    assert verdict(json.dumps({"dependencies": dependencies, "fixes": []})) == (code, says)


@pytest.mark.parametrize("report", ["", "Traceback (most recent call last):", "[]", "{}", "null"])
def test_a_report_that_was_not_written_is_no_good_news(report: str, tmp_path: Path) -> None:
    assert verdict(report)[0] == UNKNOWN
    (tmp_path / "report").write_text(report)
    command = [sys.executable, "-m", "deploy.supply.audit", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == UNKNOWN
    assert done.stdout == "unknown: the database of vulnerabilities cannot be reached; nothing was looked up\n"
