"""Progress as curves and as lines of JSON."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from ganservice.job import Progress

PANELS: list[tuple[str, list[tuple[str, str]]]] = [
    ("Loss", [("loss_g", "G"), ("loss_d", "D")]),
    ("Probability that D gives", [("d_real", "D(x)"), ("d_fake", "D(G(z))")]),
    ("Gradient norm", [("grad_norm_g", "G"), ("grad_norm_d", "D")]),
    ("Images/s", [("images_per_s", "throughput")]),
]


def metrics_jsonl(history: Sequence[Progress]) -> bytes:
    """One Progress a line."""
    return "".join(progress.model_dump_json() + "\n" for progress in history).encode()


def curves_png(history: Sequence[Progress], title: str) -> bytes:
    """Losses, probabilities, gradient norms and throughput against images seen, as one PNG."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    figure.suptitle(title)
    images = [progress.images for progress in history]
    for axes, (label, series) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS, strict=True):
        for field, name in series:
            values = [getattr(progress, field) for progress in history]
            axes.plot(images, values, label=name, marker="." if len(images) < 30 else None)
        if label.startswith("Probability"):
            axes.set_ylim(0, 1)
            axes.axhline(0.5, color="0.7", linewidth=0.8, linestyle="--")
        axes.set(title=label)
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in figure.axes[2:]:
        axes.set_xlabel("images seen")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
