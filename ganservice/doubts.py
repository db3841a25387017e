"""Doubts: settings of a training that a spec may have and that cannot work, each in a line that says why. Pure.

They are said at submission. None is refused: what was submitted before anybody knew stays readable.
"""

from collections.abc import Iterator
from typing import get_args

from ganservice.recipe import (
    Adam,
    DcganDiscriminator,
    Label,
    Minimax,
    NonSaturating,
    Recipe,
    Relativistic,
    WassersteinGp,
)
from ganservice.recipe.augment import ColourChange, GeometricChange
from ganservice.recipe.networks.resnet import ResnetDiscriminator
from ganservice.recipe.networks.stylegan2 import Stylegan2Discriminator
from ganservice.recipe.optimisers import Ramp, at
from ganservice.spec import TrainSpec

# Of the first, random weights, in the average that is published.
MAX_SHARE_OF_FIRST_WEIGHTS = 0.01
# Gulrajani et al. (2017), algorithm 1: five steps of D for each of G; betas of 0 and 0.9.
MOMENTUM_OF_WASSERSTEIN = 0.5
# Karras et al. (2020), "StyleGAN2-ADA", section 2.2: changes leak into what G makes beyond about this probability.
MAX_PROBABILITY = 0.8


def doubts(spec: TrainSpec) -> list[str]:
    """What cannot work in a training, beginning with the key; nothing of most."""
    return [
        *_of_labels(spec.recipe),
        *_of_penalties(spec.recipe),
        *_of_augment(spec.recipe),
        *_of_optimiser("optimiser_g", spec.recipe.optimiser_g, spec),
        *_of_optimiser("optimiser_d", spec.recipe.optimiser_d, spec),
        *_of_average(spec),
        *_of_watch(spec),
        *_of_origin(spec),
        *_of_groups(spec),
    ]


def _of_groups(spec: TrainSpec) -> Iterator[str]:
    network, recipe = spec.recipe.discriminator, spec.recipe
    rows = recipe.batch_size // spec.resources.workers
    if isinstance(network, Stylegan2Discriminator) and rows % network.group:
        yield (
            f"recipe.discriminator.group: {network.group} does not divide the {rows} images of a worker, so that all "
            "of these are one group: how many workers there are changes what is trained"
        )


def _of_labels(recipe: Recipe) -> Iterator[str]:
    loss = recipe.loss
    if not isinstance(loss, NonSaturating | Minimax):
        return
    fake, real = loss.probabilities
    for name, label, mean in (("real_label", loss.real_label, real), ("fake_label", loss.fake_label, fake)):
        if mean > 1:
            yield (
                f"recipe.loss.{name}: {_shown(label)} is more than 1 in the mean, which no probability reaches: D's "
                "loss falls without end, and its logits grow"
            )
    if real < fake:
        yield (
            f"recipe.loss.real_label: {_shown(loss.real_label)} is below fake_label, {_shown(loss.fake_label)}: D then "
            "wants what G wants, and neither works against the other"
        )


def _of_penalties(recipe: Recipe) -> Iterator[str]:
    loss, network = recipe.loss, recipe.discriminator
    has_spectral_norm = isinstance(network, DcganDiscriminator | ResnetDiscriminator) and network.spectral_norm
    if isinstance(loss, WassersteinGp) and recipe.d_steps == 1:
        momentum = recipe.optimiser_d.betas[0]
        if momentum >= MOMENTUM_OF_WASSERSTEIN:
            yield (
                f"recipe.d_steps: 1 with loss.kind wgan_gp and optimiser_d.betas[0] {momentum:g}: such a D is not near "
                "enough to its optimum for a distance; its authors take d_steps: 5 and betas: [0.0, 0.9]"
            )
    if isinstance(loss, Relativistic) and not loss.penalises_gradients and not has_spectral_norm:
        yield (
            "recipe.loss.r1: 0, as is r2: nothing bounds D's gradient, without which this loss does not settle "
            "(Huang et al. 2024, section 2)"
        )
    if isinstance(loss, NonSaturating | Relativistic) and loss.penalty_every_steps > 1 and not loss.penalises_gradients:
        yield (
            f"recipe.loss.penalty_every_steps: {loss.penalty_every_steps}, but there are no penalties, whose weight is "
            "r1; set it, or leave this out"
        )
    if isinstance(network, DcganDiscriminator) and network.spectral_norm and network.batch_norm:
        yield (
            "recipe.discriminator.spectral_norm: bounds nothing with batch_norm, which scales each layer anew; "
            "choose one"
        )


def _of_augment(recipe: Recipe) -> Iterator[str]:
    changes, probability = recipe.augment.changes, recipe.augment.probability
    leaking = [change for change in changes if change in (*get_args(GeometricChange), *get_args(ColourChange))]
    if leaking and isinstance(probability, float) and probability > MAX_PROBABILITY:
        yield (
            f"recipe.augment.probability: {probability:g} of {leaking[0]}: where nearly every real picture is changed, "
            f"G learns to make changed ones (Karras et al. 2020, StyleGAN2-ADA, section 2.2); choose at most "
            f"{MAX_PROBABILITY:g}, or kind: adaptive"
        )


def _of_optimiser(name: str, adam: Adam, spec: TrainSpec) -> Iterator[str]:
    key, images, schedule = f"recipe.{name}", spec.total_images, adam.schedule
    if adam.betas[0] > at(adam.betas[1], images):
        yield f"{key}.betas: {list(adam.betas)}: the first is of the gradient, the second of its square; exchanged?"
    if schedule.warm_up_images >= images:
        yield (
            f"{key}.schedule.warm_up_images: {schedule.warm_up_images:,} of {images:,} images: the learning rate never "
            "comes to what it should be"
        )
    if schedule.decay_until_images is None:
        return
    if schedule.decay_from_images >= images:
        yield (
            f"{key}.schedule.decay_from_images: {schedule.decay_from_images:,}, but the training ends at {images:,} "
            "images: the learning rate never falls"
        )
    idle = images - max(schedule.decay_until_images, spec.first_images)
    # The last step may begin a moment before its end.
    if schedule.final_share == 0 and idle > spec.recipe.images_per_step:
        yield (
            f"{key}.schedule.decay_until_images: {schedule.decay_until_images:,}: the learning rate is 0 from there "
            f"on: nothing is learned in the last {idle:,} of {images:,} images; set final_share, or a later end"
        )


def _of_average(spec: TrainSpec) -> Iterator[str]:
    """What a job starts from brings an average of its own."""
    ema, images = spec.recipe.ema, spec.total_images
    if isinstance(ema.half_life_images, Ramp):
        return
    share = 0.5 ** (images / ema.half_life_images)
    if spec.start is None and ema.warm_up_share is None and share > MAX_SHARE_OF_FIRST_WEIGHTS:
        yield (
            f"recipe.ema.half_life_images: {ema.half_life_images:,} of {images:,} images: {share:.0%} of the average "
            "that is published would still be the first, random weights; set ema.warm_up_share: 0.05"
        )


def _of_watch(spec: TrainSpec) -> Iterator[str]:
    watch, images = spec.health, spec.total_images - spec.first_images
    if watch.action != "warn" and watch.span_reports * spec.report_every_images > images:
        yield (
            f"health.span_reports: {watch.span_reports} reports of {spec.report_every_images:,} images are more than "
            f"the {images:,} images of the training: health.action {watch.action} never comes to it"
        )


def _of_origin(spec: TrainSpec) -> Iterator[str]:
    """Layers that keep what they never learned; and other data than what the job gone on from learned, under the same
    name: who names another set knows."""
    if spec.recipe.freeze_d and spec.start is None:
        yield (
            f"recipe.freeze_d: {spec.recipe.freeze_d}, but the training starts from no other: layers of D that nobody "
            "trained would never learn; start it --from a job"
        )
    changes = spec.start.changes if spec.start else {}
    if spec.start and "recipe.data.digest" in changes and "recipe.data.dataset" not in changes:
        before, now = changes["recipe.data.digest"]
        yield (
            f"recipe.data.digest: {spec.start.job_id} learned {before}, but the name means {now} now, with classes "
            f"that may be others; --set recipe.data.digest={before} keeps to the former"
        )


def _shown(label: Label) -> str:
    return f"{label:g}" if isinstance(label, float) else f"[{label[0]:g}, {label[1]:g}]"
