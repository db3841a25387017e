"""The table: the machine at its head, then a line for each row as soon as it is known, in Markdown."""

import os
from pathlib import Path

import torch

from tests.benchmarks.sides import Row
from workers.gan.precision import bf16_pays

CPUINFO = Path("/proc/cpuinfo")
HEADS = ("part", "what", "ours", "other", "ratio", "least to most", "rounds")
WIDTHS = (15, 40, 36, 40, 6, 16, 6)


def head() -> str:
    """The machine, and the names of the columns."""
    bf16 = "pays" if bf16_pays(torch.device("cpu")) else "would not pay, and is left out"
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return "\n".join(
        (
            f"{processor()}; {cores} cores, load {load:.1f} before; torch {torch.__version__}; bf16 {bf16}.",
            "Medians of measurements taken in turn, and the least and the greatest ratio of a round.",
            "",
            _line(HEADS),
            _line(tuple("-" * width for width in WIDTHS)),
        )
    )


def line(part: str, row: Row) -> str:
    """A row of the table."""
    if not row.figures:
        return _line((part, row.what, row.ours, f"{row.other}: {row.trouble}", "-", "-", "0"))
    ours, other = row.medians
    least, most = row.spread
    return _line(
        (
            part,
            row.what,
            f"{row.ours} {_figure(ours)}",
            f"{row.other} {_figure(other)}",
            f"{row.ratio:.3g}",
            f"{least:.3g} to {most:.3g}",
            str(len(row.figures)) + (f", then {row.trouble}" if row.trouble else ""),
        )
    )


def processor(cpuinfo: Path = CPUINFO) -> str:
    """The processor's own name, with its widest instructions, which the name of a virtual one does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    flags = {flag for text in lines if text.startswith("flags") for flag in text.split()}
    widest = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags]
    return f"{names[0] if names else 'an unknown processor'} ({', '.join(widest) or 'without AVX2'})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)) + " |"
