"""What networks compute in, on hardware that is faked both ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganservice.recipe import Recipe
from workers.gan import precision, trainer
from workers.gan.data.examples import Examples
from workers.gan.precision import autocast, bf16_pays, choose_precision, cpu_flags, measure_slowdown
from workers.gan.trainer import Trainer

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
RECIPE: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 8, "channels": 1},
    "generator": {"kind": "mlp", "widths": (16,)},
    "discriminator": {"kind": "mlp", "widths": (16,)},
    "latent_size": 4,
    "batch_size": 8,
}
PLANE = {"data": {"kind": "mixture", "layout": "ring", "modes": 4, "std": 0.02, "points": 16}}

Has = Callable[[bool], None]


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Has:
    """has(True): trainers find a device on which bf16 pays; has(False): one on which it does not."""

    def fake(bf16: bool) -> None:
        monkeypatch.setattr(trainer, "bf16_pays", lambda _: bf16)

    return fake


def make(**changes: Any) -> Trainer:
    recipe = Recipe.model_validate(RECIPE | changes)
    return Trainer(recipe, Examples(IMAGES), 0, CPU)


def test_auto_is_fp32_for_grouped_convolutions_on_a_cpu_whatever_it_has(has: Has) -> None:
    has(True)
    grouped = {"kind": "r3gan", "width": 4, "group_width": 2, "blocks": 1}
    assert make(discriminator=grouped).precision == "fp32"
    assert make(discriminator=grouped, precision="bf16").precision == "bf16"
    assert make().precision == "bf16"


# What a machine has


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "fpu avx2 fma", False),
        ("AuthenticAMD", "fpu avx2 avx512f avx512_vnni", False),
        ("AuthenticAMD", "fpu avx2 avx512f avx512_bf16", True),
        ("GenuineIntel", "fpu avx2 avx512f avx512_bf16", False),
        ("GenuineIntel", "fpu avx512f avx512_bf16 amx_tile amx_bf16", True),
    ],
)
def test_bf16_pays_on_a_cpu_with_a_fast_instruction_for_it(
    vendor: str, flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    (tmp_path / "cpuinfo").write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n"
    )
    found = cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "cpu_flags", lambda: found)
    assert bf16_pays(CPU) is expected


@pytest.mark.parametrize(
    ("limit", "flags", "expected"),
    [
        ("AVX2", "avx512_bf16 amx_bf16", False),
        ("avx512_core", "avx512_bf16 amx_bf16", False),
        ("AVX512_CORE_BF16", "avx512_bf16", True),
        ("AVX512_CORE_BF16", "amx_bf16", False),
        ("AVX512_CORE_AMX", "amx_bf16", True),
    ],
)
def test_bf16_does_not_pay_where_its_user_forbids_the_instructions(
    limit: str, flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert bool(cpu_flags(tmp_path / "cpuinfo")) is expected


def test_a_system_that_tells_nothing_of_its_cpu_is_taken_for_one_without_bf16(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "missing") == set()


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_pays_on_a_gpu_from_ampere_on(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert bf16_pays(torch.device("cuda")) is expected


def test_a_device_of_another_kind_computes_fp32() -> None:
    assert not bf16_pays(torch.device("meta"))


# What is chosen


@pytest.mark.parametrize(
    ("asked", "pays", "checkpoint", "expected"),
    [
        ("auto", True, None, "bf16"),
        ("auto", False, None, "fp32"),
        ("auto", True, "fp32", "fp32"),
        ("auto", True, "bf16", "bf16"),
        ("auto", False, "bf16", "fp32"),
        ("auto", False, "fp32", "fp32"),
        ("fp32", True, "bf16", "fp32"),
        ("bf16", False, "fp32", "bf16"),
    ],
)
def test_an_order_is_obeyed_and_a_checkpoint_followed_where_the_hardware_can(
    asked: Any, pays: bool, checkpoint: Any, expected: str
) -> None:
    assert choose_precision(asked, pays, checkpoint).precision == expected


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_recipe_leaves_the_choice_to_the_hardware(has: Has, bf16: bool, expected: str) -> None:
    has(bf16)
    assert Recipe.model_validate(RECIPE).precision == "auto"
    assert make().precision == expected


@pytest.mark.parametrize("bf16", [True, False])
def test_points_in_the_plane_are_fp32_unless_ordered_otherwise(has: Has, bf16: bool) -> None:
    has(bf16)
    assert make(**PLANE).precision == "fp32"
    assert make(**PLANE, precision="bf16").precision == "bf16"


@pytest.mark.parametrize(("chosen", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_compute_in_what_was_chosen(chosen: Any, expected: torch.dtype) -> None:
    with autocast(chosen, CPU):
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == expected


@pytest.mark.parametrize("there", [True, False])
def test_a_resumed_training_keeps_the_precision_of_its_checkpoint_where_it_can(has: Has, there: bool) -> None:
    has(there)
    saved = make()
    has(True)
    resumed = make()
    resumed.load_state_dict(saved.state_dict())
    assert resumed.precision == saved.precision == ("bf16" if there else "fp32")
    assert resumed.state_dict()["precision"] == saved.precision


def test_a_training_goes_on_in_fp32_where_the_precision_of_its_checkpoint_is_not_to_be_had(has: Has) -> None:
    has(True)
    saved = make()
    has(False)
    resumed = make()
    resumed.load_state_dict(saved.state_dict())
    assert (saved.precision, resumed.precision) == ("bf16", "fp32")
    assert next(iter(resumed.train(8, 8))).images == 8


def test_a_checkpoint_that_names_no_precision_leaves_the_choice(has: Has) -> None:
    has(True)
    state = make().state_dict()
    del state["precision"]
    resumed = make()
    resumed.load_state_dict(state)
    assert resumed.precision == "bf16"


def test_an_order_weighs_more_than_a_checkpoint(has: Has) -> None:
    has(True)
    resumed = make(precision="fp32")
    resumed.load_state_dict(make().state_dict())
    assert resumed.precision == "fp32"


def test_the_slowdown_is_a_ratio_of_measured_times() -> None:
    assert 0 < measure_slowdown(CPU) < 10_000


def test_no_other_file_names_a_number_format_for_autocast() -> None:
    root = Path(precision.__file__).parents[1]
    naming = [path.name for path in root.rglob("*.py") if "bfloat16" in path.read_text(encoding="utf-8")]
    assert naming == ["precision.py"]
