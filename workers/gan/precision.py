"""Precision: in which numbers networks compute. It is decided here, and only here is a dtype named for autocast."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ganservice.recipe import Precision, PrecisionOption

# Measures of quality and searches in latent space: their numbers must not depend on the machine that finds them.
MEASURING: Precision = "fp32"

# What Linux calls the instructions that multiply numbers of bfloat16.
TILES, VECTORS = "amx_bf16", "avx512_bf16"
# Its vectors of bf16 go at half the pace: what is won is lost in conversions. A DCGAN of 28 px took 1.3 times as long
# in bf16 as in fp32 on a Xeon without tiles, a residual G of grouped convolutions twice as long.
VENDOR_OF_SLOW_VECTORS = "GenuineIntel"
AMPERE = (8, 0)
# Instruction sets to which a user may hold oneDNN, and that have none of these, or no tiles.
ONEDNN_WITHOUT = {"sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni"}
ONEDNN_WITHOUT_TILES = {"avx512_core_bf16", "avx512_core_fp16", "avx10_1_512"}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which networks compute: in fp32 it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@dataclass(frozen=True)
class Choice:
    """A precision, and why it is this one."""

    precision: Precision
    reason: str


def choose_precision(option: PrecisionOption, pays: bool, checkpoint: Precision | None = None) -> Choice:
    """Choose what the option says; for "auto" the faster one, but fp32 where `checkpoint` is in it."""
    if option != "auto":
        return Choice(option, "as ordered")
    if not pays:
        return Choice("fp32", "bf16 would not be faster")
    if checkpoint == "fp32":
        return Choice("fp32", "as the checkpoint")
    return Choice("bf16", "faster on this hardware")


def bf16_pays(device: torch.device) -> bool:
    """Whether networks are faster in bfloat16 on a device: on a CPU with AMX, or with AVX512-BF16 that is not Intel's;
    on a GPU from Ampere on."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    has_onednn: bool = torch.backends.mkldnn.is_available()
    return device.type == "cpu" and has_onednn and bool(cpu_flags() & {TILES, VECTORS})


def slows_in_bf16(device: torch.device, *networks: nn.Module) -> bool:
    """Whether these networks gain nothing by bfloat16 where others do: those of grouped convolutions on a CPU.

    On an AMD EPYC with AVX512-BF16 a narrow R3GAN made 180 images/s in bf16 and 227 in fp32, a DCGAN 490 and 320.
    """
    modules = (module for network in networks for module in network.modules())
    return device.type == "cpu" and any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in modules)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The instructions of this machine's processor, less those that oneDNN may not use and those that are slow; none
    where the system does not tell."""
    allowed = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "all").casefold()
    if allowed in ONEDNN_WITHOUT:
        return set()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    pairs = [(key.strip(), values.split()) for key, _, values in (line.partition(":") for line in lines)]
    flags = {flag for key, values in pairs if key == "flags" for flag in values}
    slow = {VECTORS} if ("vendor_id", [VENDOR_OF_SLOW_VECTORS]) in pairs else set()
    return flags - slow - ({TILES} if allowed in ONEDNN_WITHOUT_TILES else set())


def allow_tensor_float(device: torch.device) -> None:
    """Let a GPU from Ampere on multiply matrices of fp32 in TF32, as torch lets it convolve; older ones have none."""
    # On a CPU the same call would let matrices of fp32 be multiplied in bf16.
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


@contextlib.contextmanager
def whole_fp32() -> Iterator[None]:
    """Compute fp32 with all its digits, on GPUs too, whose TF32 has three: what is measured compares everywhere."""
    matrices, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matrices)
        torch.backends.cudnn.allow_tf32 = convolutions


def measure_slowdown(device: torch.device) -> float:
    """How many times as long a step of a small convolutional network takes in bf16 as in fp32, measured in a moment."""
    network = nn.Sequential(nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(), nn.Conv2d(64, 128, 4, 2, 1)).to(device)
    images = torch.zeros(32, 32, 14, 14, device=device)
    # The first of each pays for what is prepared only once.
    fp32, bf16 = (min(_step_s(network, images, precision) for _ in range(3)) for precision in ("fp32", "bf16"))
    return bf16 / fp32


def _step_s(network: nn.Module, images: Tensor, precision: Precision) -> float:
    started = time.perf_counter()
    with autocast(precision, images.device):
        loss = network(images).float().square().mean()
    loss.backward()
    loss.item()  # waits for a GPU
    return time.perf_counter() - started
