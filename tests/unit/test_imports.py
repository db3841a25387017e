"""What each kind of machine must have installed: nothing more is imported there."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ganservice
from ganservice.errors import NotConfigured
from ganservice.extras import remedy
from tests.extras import modules_of_extras


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("ganservice", {"ganservice.client", "ganservice.bundle", "pydantic", "redis", "boto3", "workers"}),
        ("ganservice.client", {"torch", "ray", "numpy", "PIL", "pandas", "click", "rich"}),
        ("ganservice.cli", {"torch", "ray", "numpy", "boto3", "redis"}),
        ("ganservice.exporter", {"torch", "ray", "numpy", "matplotlib", "PIL"}),
        ("workers.dispatch.dispatcher", {"torch", "matplotlib", "PIL", "safetensors", "onnx"}),
    ],
)
def test_what_a_process_does_not_need(module: str, spared: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not spared & set(done.stdout.split())


def test_the_library_offers_what_it_names() -> None:
    assert set(ganservice.__all__) <= set(dir(ganservice))
    for name in ganservice.__all__:
        assert getattr(ganservice, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'ganservice' has no attribute 'nothing'"):
        _ = ganservice.nothing


def test_the_contract_of_the_control_plane_names_all_that_a_worker_brings() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (forbidden,) = (each["forbidden_modules"] for each in contracts if each["name"].endswith("knows no tensors"))
    extras = project["project"]["optional-dependencies"]
    brought = {re.split(r"[^\w-]", line)[0] for name in ("client", "dispatch", "train") for line in extras[name]}
    modules = modules_of_extras()
    assert [package for package in brought - {"ganservice"} if not modules[package] & set(forbidden)] == []


def test_a_worker_imports_torch_before_it_holds_its_lease() -> None:
    code = """import importlib, sys
from workers.dispatch.worker import Worker
for module in Worker.needed:
    importlib.import_module(module)
print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()
    assert "matplotlib" not in done.stdout.split(), "no first step waits for what draws curves"


def test_a_command_whose_libraries_are_missing_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from ganservice.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "sample", "x"], capture_output=True, text=True, check=False)
    expected = "error: this takes torch, which is not installed: pip install 'ganservice[train]'\n"
    assert (done.returncode, done.stderr) == (NotConfigured.exit_code, expected)


def test_a_program_whose_libraries_are_missing_is_told_what_to_install() -> None:
    hidden = sorted(set().union(*modules_of_extras().values()))
    code = f"""import sys; sys.modules.update(dict.fromkeys({hidden}))
from ganservice import Client, load
from ganservice.errors import NotConfigured
try:
    load("x")
except NotConfigured as error:
    print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "this takes torch, which is not installed: pip install 'ganservice[train]'\n"


def test_a_module_of_ours_that_is_missing_is_no_matter_of_extras() -> None:
    with pytest.raises(ModuleNotFoundError):
        remedy(ModuleNotFoundError("no such module", name="workers.gone"))


def test_no_test_module_is_imported() -> None:
    """What tests share stands in modules of its own, where nobody has to guess which test is its home."""
    tests = Path(__file__).parents[1]
    imports = {
        (str(path.relative_to(tests)), name)
        for path in tests.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    }
    assert len(imports) > 100
    assert [each for each in imports if any(word.startswith("test_") for word in each[1].split("."))] == []
