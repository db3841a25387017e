"""What each kind of machine must have installed: nothing more is imported there."""

import subprocess
import sys

import pytest

from ganservice.errors import NotConfigured


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("ganservice.cli", {"torch", "ray", "numpy", "boto3", "redis"}),
        ("ganservice.exporter", {"torch", "ray", "numpy", "matplotlib", "PIL"}),
        ("workers.dispatcher", {"torch", "matplotlib", "PIL", "safetensors", "onnx"}),
    ],
)
def test_what_a_process_does_not_need(module: str, spared: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not spared & set(done.stdout.split())


def test_a_worker_imports_torch_before_it_holds_its_lease() -> None:
    code = "import sys; from workers.member import Member; Member(None, None, 0).get_ready(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()


def test_a_command_whose_libraries_are_missing_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from ganservice.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "sample", "x"], capture_output=True, text=True, check=False)
    expected = "error: this takes torch, which is not installed: pip install 'ganservice[train]'\n"
    assert (done.returncode, done.stderr) == (NotConfigured.exit_code, expected)
