"""What each kind of machine must have installed: nothing more is imported there."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from ganservice.cli.extras import remedy
from ganservice.errors import NotConfigured


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("ganservice.cli", {"torch", "ray", "numpy", "boto3", "redis"}),
        ("ganservice.exporter", {"torch", "ray", "numpy", "matplotlib", "PIL"}),
        ("workers.dispatch.dispatcher", {"torch", "matplotlib", "PIL", "safetensors", "onnx"}),
    ],
)
def test_what_a_process_does_not_need(module: str, spared: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not spared & set(done.stdout.split())


def modules_of_extras() -> dict[str, set[str]]:
    """What each package that only an extra brings is imported as, by the package's name."""
    packages = {re.split(r"[^\w-]", line)[0].lower() for line in requires("ganservice") or [] if "extra ==" in line} - {
        "ganservice"
    }
    modules: dict[str, set[str]] = {}
    for module, brought_by in packages_distributions().items():
        for package in packages & {name.lower().replace("_", "-") for name in brought_by}:
            modules.setdefault(package, set()).add(module)
    return modules


def test_the_contract_of_the_control_plane_names_all_that_a_worker_brings() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (forbidden,) = (each["forbidden_modules"] for each in contracts if each["name"].endswith("knows no tensors"))
    extras = project["project"]["optional-dependencies"]
    brought = {re.split(r"[^\w-]", line)[0] for name in ("client", "dispatch", "train") for line in extras[name]}
    modules = modules_of_extras()
    assert [package for package in brought - {"ganservice"} if not modules[package] & set(forbidden)] == []


def test_a_worker_imports_torch_before_it_holds_its_lease() -> None:
    code = (
        "import sys; from workers.dispatch.worker import Worker; Worker(None, None, 0).get_ready(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()


def test_a_command_whose_libraries_are_missing_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from ganservice.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "sample", "x"], capture_output=True, text=True, check=False)
    expected = "error: this takes torch, which is not installed: pip install 'ganservice[train]'\n"
    assert (done.returncode, done.stderr) == (NotConfigured.exit_code, expected)


def test_a_module_of_ours_that_is_missing_is_no_matter_of_extras() -> None:
    with pytest.raises(ModuleNotFoundError):
        remedy(ModuleNotFoundError("no such module", name="workers.gone"))
