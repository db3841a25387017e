"""Progress as curves and as lines of JSON."""

import io
from collections.abc import Sequence

from ganservice.job import Progress
from ganservice.quantities import CHARTS


def metrics_jsonl(history: Sequence[Progress]) -> bytes:
    """One Progress a line."""
    return "".join(progress.model_dump_json() + "\n" for progress in history).encode()


def curves_png(history: Sequence[Progress], title: str, joins: Sequence[int] = ()) -> bytes:
    """Draw all that was measured, against images seen, as one PNG; a line at each of `joins`."""
    from matplotlib.figure import Figure

    last = history[-1]
    charts = [each for each in CHARTS if any(getattr(last, curve.field) is not None for curve in each.curves)]
    rows = -(-len(charts) // 2)
    figure = Figure(figsize=(10, 3.1 * rows), layout="constrained")
    figure.suptitle(title)
    images = [progress.images for progress in history]
    all_axes = list(figure.subplots(rows, 2, sharex=True, squeeze=False).flat)
    for axes, quantity in zip(all_axes, charts, strict=False):
        for curve in quantity.curves:
            values = [getattr(progress, curve.field) for progress in history]
            axes.plot(images, values, label=curve.legend, marker="." if len(images) < 30 else None)
        if quantity.is_log:
            axes.set_yscale("log")
        if quantity.level is not None:
            axes.axhline(quantity.level, color="0.7", linewidth=0.8, linestyle="--")
        if quantity.limits:
            # A little beyond, so that a curve along a limit is seen.
            low, high = quantity.limits
            axes.set_ylim(low - 0.02, None if high is None else high + 0.02)
        for join in joins:
            axes.axvline(join, color="0.7", linewidth=0.8, linestyle=":")
        axes.set(title=quantity.title, xlabel="images seen")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in all_axes[len(charts) :]:
        axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
