"""Kinds of networks that an installed package brings, in a process that has it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
SPEC = {
    "name": "tiny",
    "images": 1_000,
    "recipe": {
        "data": {"dataset": "digits", "image_size": 28, "channels": 1},
        "generator": {"kind": "tiny"},
        "discriminator": {"kind": "tiny"},
    },
}
USE = """
import json, sys
from ganservice.recipe.networks import kinds_of
from ganservice.spec_file import parse_spec
if "tiny" not in kinds_of("generator"):
    sys.exit("no tiny")
spec = parse_spec(json.loads(sys.argv[1]), "spec.yaml")
assert "torch" not in sys.modules, "the keys of a kind take no torch"
from workers.gan.networks import package_versions
from workers.gan.sizes import network_sizes
sizes, versions = network_sizes(spec), package_versions(spec.recipe)
print(json.dumps([sizes["parameters_g"], versions, type(spec.recipe.generator).__name__]))
"""


def install(folder: Path, keys: str, layers: str, kind: str = "tiny") -> None:
    """As pip does: the modules, and what the package says of itself."""
    package, about = folder / "tiny_networks", folder / "tiny_networks-1.2.3.dist-info"
    for each in (package, about):
        each.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "keys.py").write_text(keys)
    (package / "layers.py").write_text(layers)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-networks\nVersion: 1.2.3\n")
    (about / "entry_points.txt").write_text(f"[ganservice.networks]\n{kind} = tiny_networks.keys:KIND\n")


def use(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{USE}", json.dumps(SPEC)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def example() -> tuple[str, str]:
    """The keys and the layers of the handbook's example."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return blocks[-2], blocks[-1]


def test_the_kind_of_a_package_is_asked_for_built_counted_and_told(tmp_path: Path, example: tuple[str, str]) -> None:
    install(tmp_path, *example)
    done = use(tmp_path)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [100 * 784 + 784, {"tiny-networks": "1.2.3"}, "Tiny"]


@pytest.mark.parametrize(
    ("keys", "kind", "told"),
    [
        ("raise RuntimeError('half installed')", "tiny", "cannot be imported: half installed"),
        ("KIND = 5", "tiny", "expected a NetworkKind"),
        (None, "dcgan", "networks of kind dcgan are there already; these are passed over"),
        (None, "other", "expected the key kind to be Literal['other'], as its entry point"),
    ],
)
def test_a_package_that_cannot_be_used_costs_its_own_kinds_and_a_line(
    tmp_path: Path, example: tuple[str, str], keys: str | None, kind: str, told: str
) -> None:
    install(tmp_path, keys or example[0], example[1], kind)
    done = use(tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.rstrip().endswith("no tiny")
    assert "Traceback" not in done.stderr
