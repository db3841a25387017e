"""Every quantity that the reports of a training give, and how it is shown: the one list of them.

The exporter and `docs/metrics.md`, the report page, the curves in a bundle, `ganctl show` and `watch` and the
dashboards all read it: a quantity added to `job.Progress` is shown everywhere by a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ganservice.job import OPTIMAL_VALUE, Progress
from ganservice.spec import HealthWatch

Text = Callable[[Progress], str]
Place = Literal["show", "tile", "watch"]


@dataclass(frozen=True)
class Curve:
    """One number of a report: the field or property of Progress that holds it, and what tells it from its sisters."""

    field: str
    legend: str
    label: str | None = None  # value of the metric's label, where the quantity has several curves


@dataclass(frozen=True)
class Quantity:
    """Something that a report tells of a training, by one number or by one for each network or kind of picture."""

    metric: str  # name in Prometheus, without the prefix; its end is the unit
    meaning: str  # the metric's help
    curves: tuple[Curve, ...]
    label: str | None = None  # of the metric, where there are several curves
    # The metric is read from the Job, which is told of it by each heartbeat, not from the last report.
    is_live: bool = False
    # The metric goes when the attempt ends.
    only_while_running: bool = False
    # It tells of time or of machines: two runs of one training agree on all else.
    of_machine: bool = False

    # The chart on the report page, in the bundle and on the Job dashboard; there is none without a title.
    title: str = ""
    reading: str = ""  # how to read it
    limits: tuple[float, float | None] | None = None  # of its values
    level: float | None = None  # a value worth comparing with
    bad_below: float | None = None
    is_log: bool = False
    on_dashboard: bool = True

    # What is written of a report that has measured every curve. A text of "" is left out.
    name: str = ""  # under which the texts stand
    show: Text | None = None  # in `ganctl show`
    tile: Text | None = None  # at the head of the report page
    watch: Text | None = None  # in the line of `ganctl watch`

    def text(self, place: Place, progress: Progress) -> str:
        """The text that shows this quantity of a report in one place."""
        text: Text | None = getattr(self, place)
        is_measured = all(getattr(progress, curve.field) is not None for curve in self.curves)
        return text(progress) if text and is_measured else ""


def _value(progress: Progress) -> str:
    value, divergence = progress.value or 0.0, progress.jensen_shannon or 0.0
    implied = f"implies a Jensen-Shannon divergence of {divergence:.4f} nats"
    return f"{value:.4f}, {value - OPTIMAL_VALUE:+.4f} from -log 4; " + (
        implied if divergence >= 0 else "D is far from its optimum, so that it implies nothing"
    )


QUANTITIES = (
    Quantity(
        metric="job_loss",
        meaning="Mean loss.",
        curves=(Curve("loss_g", "G", "generator"), Curve("loss_d", "D", "discriminator")),
        label="network",
        title="Loss",
        reading="It says who is ahead, not how good the pictures are.",
        name="loss",
        show=lambda p: f"G {p.loss_g:.4f}, D {p.loss_d:.4f}",
        tile=lambda p: f"G {p.loss_g:.3f}, D {p.loss_d:.3f}",
        watch=lambda p: f"loss G {p.loss_g:.3f} D {p.loss_d:.3f}",
    ),
    Quantity(
        metric="job_discriminator_probability",
        meaning="Mean probability D gives: D(x) for real, D(G(z)) for generated pictures.",
        curves=(Curve("d_real", "D(x)", "real"), Curve("d_fake", "D(G(z))", "generated")),
        label="pictures",
        title="Probability that D gives; both 0.5 at the optimum",
        reading="Far apart, D has won; alike, G has.",
        limits=(0, 1),
        level=0.5,
        name="D(x), D(G(z))",
        show=lambda p: f"{p.d_real:.3f}, {p.d_fake:.3f}; both 0.5 at the optimum",
        tile=lambda p: f"{p.d_real:.2f}, {p.d_fake:.2f}",
        watch=lambda p: f"D(x) {p.d_real:.2f} D(G(z)) {p.d_fake:.2f}",
    ),
    Quantity(
        metric="job_discriminator_score",
        meaning="Mean logit D gives to real and to generated pictures.",
        curves=(Curve("score_real", "real", "real"), Curve("score_fake", "generated", "generated")),
        label="pictures",
        title="Score that D gives",
        reading="The further apart, the surer D tells them from one another.",
        # Where D gives probabilities, they stand in the place of its scores.
        name="scores",
        show=lambda p: f"real {p.score_real:.3f}, generated {p.score_fake:.3f}" if p.d_real is None else "",
        watch=lambda p: f"scores: real {p.score_real:.2f} generated {p.score_fake:.2f}" if p.d_real is None else "",
    ),
    Quantity(
        metric="job_discriminator_accuracy_ratio",
        meaning="Share of real and of generated pictures that D is right about; 0.5 where it cannot tell.",
        curves=(Curve("d_accuracy_real", "real", "real"), Curve("d_accuracy_generated", "generated", "generated")),
        label="pictures",
        title="Share of pictures that D is right about",
        reading="Both 0.5 where D cannot tell real from generated; where both stay near 1, D has won.",
        limits=(0, 1),
        level=0.5,
        name="D is right about",
        show=lambda p: f"{p.d_accuracy_real:.1%} of real, {p.d_accuracy_generated:.1%} of generated pictures",
    ),
    Quantity(
        metric="job_discriminator_held_out_gap_ratio",
        meaning="How far D's scores of pictures that it learned lie above those of held-out ones, -1 to 1.",
        curves=(Curve("d_held_out_gap", "gap"),),
        title="Gap between learned and held-out pictures",
        reading="About 0 where D scores both alike; the further it rises, the more D knows its training set by heart.",
        level=0.0,
        name="held-out gap",
        show=lambda p: f"{p.d_held_out_gap:+.3f}; 0 where D scores held-out pictures as those that it learned",
    ),
    Quantity(
        metric="job_augment_probability",
        meaning="Probability with which D sees a picture changed by each augmentation; only where it may change.",
        curves=(Curve("augment_probability", "probability"),),
        title="Probability of each augmentation",
        reading="Where it is led, it rises while D is too sure of real pictures; near 1 there are too few of them.",
        limits=(0, 1),
        name="augmentation",
        show=lambda p: f"each change of a picture with a probability of {p.augment_probability:.3f}",
        watch=lambda p: f"augmentation {p.augment_probability:.2f}",
    ),
    Quantity(
        metric="job_value_nats",
        meaning="Value V(G, D) of the two-player game; -log 4 at the optimum.",
        curves=(Curve("value", "V"),),
        title="Value V(G, D); -log 4 at the optimum",
        reading="The higher above it, the better D tells real from generated pictures.",
        level=OPTIMAL_VALUE,
        name="value",
        show=_value,
    ),
    Quantity(
        metric="job_jensen_shannon_nats",
        meaning="Jensen-Shannon divergence of data and generator that V implies.",
        curves=(Curve("jensen_shannon", "divergence"),),
        title="Jensen-Shannon divergence that V implies, nats",
        reading="It holds as far as D is near its optimum; below 0, D is far from it.",
        level=0.0,
    ),
    Quantity(
        metric="job_diversity_ratio",
        meaning="Distance from a sample to its nearest other sample, over that of real pictures.",
        curves=(Curve("diversity", "samples"),),
        title="Diversity of samples; 1 as the data's",
        reading="Near 0 all samples are alike.",
        limits=(0, None),
        level=1.0,
        bad_below=HealthWatch().min_diversity,
        name="diversity",
        show=lambda p: f"{p.diversity:.2f} of the data's",
        tile=lambda p: f"{p.diversity:.2f}",
    ),
    Quantity(
        metric="job_modes",
        meaning="Modes of a mixture that have a good sample.",
        curves=(Curve("modes", "modes"),),
        title="Modes covered",
        limits=(0, None),
        on_dashboard=False,  # only mixtures in the plane have modes: the panel of any other job would be empty
        name="modes",
        show=lambda p: f"{p.modes} covered, {p.good_share:.1%} of samples good",
        watch=lambda p: f"{p.modes} modes, {p.good_share:.0%} good",
    ),
    Quantity(
        metric="job_good_sample_ratio",
        meaning="Share of samples near a mode of a mixture.",
        curves=(Curve("good_share", "good"),),
        title="Share of good samples",
        limits=(0, 1),
        on_dashboard=False,  # as the modes
    ),
    Quantity(
        metric="job_gradient_norm",
        meaning="Mean norm of the gradient.",
        curves=(Curve("grad_norm_g", "G", "generator"), Curve("grad_norm_d", "D", "discriminator")),
        label="network",
        title="Gradient norm",
        reading="Where it vanishes, the network learns nothing more.",
        is_log=True,
    ),
    Quantity(
        metric="job_images_per_second",
        meaning="Throughput, over the last heartbeats.",
        curves=(Curve("images_per_s", "throughput"),),
        is_live=True,
        of_machine=True,
        title="Images/s",
        limits=(0, None),
    ),
    Quantity("job_steps", "Steps the model as it stands has taken.", (Curve("step", "steps"),)),
    Quantity(
        "job_step_seconds",
        "Mean time of a training step.",
        (Curve("step_s", "step"),),
        only_while_running=True,
        of_machine=True,
    ),
    Quantity(
        metric="job_stall_seconds",
        meaning="Time in which training stood still before a report, for a checkpoint and a sample grid.",
        curves=(Curve("stall_s", "stall"),),
        only_while_running=True,
        of_machine=True,
        title="Stall for checkpoints and samples, s",
        reading="Each is copied and handed to the uploader; where the store is slower than they come, training waits.",
        limits=(0, None),
        name="stall",
        show=lambda p: f"{p.stall_s:.2f} s for a checkpoint and samples, before the last report" if p.stall_s else "",
    ),
    Quantity(
        "job_used_cpus",
        "CPUs that the workers of the gang keep busy.",
        (Curve("used_cpus", "CPUs busy"),),
        only_while_running=True,
        of_machine=True,
    ),
    Quantity(
        "job_memory_bytes",
        "Memory of the workers of the gang.",
        (Curve("memory_bytes", "memory"),),
        only_while_running=True,
        of_machine=True,
    ),
    Quantity(
        "job_gpu_busy_ratio",
        "Share of time the GPUs of the gang are busy.",
        (Curve("gpu_busy", "GPUs busy"),),
        only_while_running=True,
        of_machine=True,
    ),
    Quantity(
        "job_gpu_memory_bytes",
        "GPU memory of the workers of the gang.",
        (Curve("gpu_memory_bytes", "GPU memory"),),
        only_while_running=True,
        of_machine=True,
    ),
)
# Those that are drawn against the images seen.
CHARTS = tuple(quantity for quantity in QUANTITIES if quantity.title)
# Fields of Progress on which two runs of one training need not agree.
OF_MACHINE = {curve.field for quantity in QUANTITIES if quantity.of_machine for curve in quantity.curves}


def texts(place: Place, progress: Progress) -> dict[str, str]:
    """All that stands in one place about a report, by the names of the quantities."""
    return {quantity.name: text for quantity in QUANTITIES if (text := quantity.text(place, progress))}
