"""Progress as curves and as lines of JSON."""

import io
import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from ganservice.job import Progress

# Of each panel: its title, the range of its y axis, a level worth knowing, and the curves by field of Progress.
PANELS: list[tuple[str, tuple[float, float] | None, float | None, dict[str, str]]] = [
    ("Loss", None, None, {"loss_g": "G", "loss_d": "D"}),
    ("Probability that D gives", (0, 1), 0.5, {"d_real": "D(x)", "d_fake": "D(G(z))"}),
    ("Score that D gives", None, None, {"score_real": "real", "score_fake": "generated"}),
    ("Value V(G, D); at the optimum -log 4", None, -math.log(4), {"value": "V"}),
    ("Jensen-Shannon divergence that V implies, nats", None, 0.0, {"jensen_shannon": "JSD"}),
    ("Modes covered", None, None, {"modes": "modes"}),
    ("Share of good samples", (0, 1), None, {"good_share": "good"}),
    ("Diversity of samples; 1 as the data's", None, 1.0, {"diversity": "samples"}),
    ("Gradient norm", None, None, {"grad_norm_g": "G", "grad_norm_d": "D"}),
    ("Images/s", None, None, {"images_per_s": "throughput"}),
]


def metrics_jsonl(history: Sequence[Progress]) -> bytes:
    """One Progress a line."""
    return "".join(progress.model_dump_json() + "\n" for progress in history).encode()


def curves_png(history: Sequence[Progress], title: str, joins: Sequence[int] = ()) -> bytes:
    """Everything that was measured, against images seen, as one PNG; a line at each of `joins`."""
    measured = [panel for panel in PANELS if any(getattr(history[-1], field) is not None for field in panel[3])]
    rows = -(-len(measured) // 2)
    figure = Figure(figsize=(10, 3.1 * rows), layout="constrained")
    figure.suptitle(title)
    images = [progress.images for progress in history]
    all_axes = list(figure.subplots(rows, 2, sharex=True, squeeze=False).flat)
    for axes, (label, limits, level, curves) in zip(all_axes, measured, strict=False):
        for field, name in curves.items():
            values = [getattr(progress, field) for progress in history]
            axes.plot(images, values, label=name, marker="." if len(images) < 30 else None)
        if limits:
            # A little beyond, so that a curve along a limit is seen.
            axes.set_ylim(limits[0] - 0.02, limits[1] + 0.02)
        if level is not None:
            axes.axhline(level, color="0.7", linewidth=0.8, linestyle="--")
        for join in joins:
            axes.axvline(join, color="0.7", linewidth=0.8, linestyle=":")
        axes.set(title=label, xlabel="images seen")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in all_axes[len(measured) :]:
        axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
