"""The tools that look after what is installed, as `make` runs them."""

import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest

from deploy.supply.runtime import VERSION as RUNTIME


def make(target: str, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A target, with the packages that this Python has."""
    venv = Path(sys.executable).parent.parent
    command = ["make", "--silent", f"--assume-old={venv}/installed-supply", f"VENV={venv}", target, *more]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_bill_of_materials_names_every_package() -> None:
    done = make("sbom")
    assert done.returncode == 0, done.stderr
    bill = json.loads(Path("build/sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "ganservice"
    # Where packages are installed, whatever this process has put into its path: Ray brings packages of its own.
    places = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    installed = {(found.metadata["Name"], found.version) for found in distributions(path=places)}
    named = {(component["name"], component["version"]) for component in bill["components"]}
    assert {name for name, _ in installed - named} <= {"ganservice"}
    assert all(component.get("purl") for component in bill["components"])
    assert ("onnxruntime-web", RUNTIME) in named


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_an_audit_without_the_database_says_that_it_knows_nothing(name: str) -> None:
    done = make("audit", **{name: "http://127.0.0.1:9"})
    assert done.returncode != 0
    assert "Error 3" in done.stderr
    assert done.stdout.startswith("unknown: ")
    assert "no hole" not in done.stdout
