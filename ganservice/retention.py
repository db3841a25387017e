"""Retention: which checkpoints of a training are kept, and to which one it goes back. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ganservice.evaluation import Evaluation, best_of
from ganservice.spec import Checkpoints, Start


def kept_checkpoints(images: Iterable[int], policy: Checkpoints) -> list[int]:
    """The checkpoints that `policy` keeps, by their images: the newest, and the first at or after each multiple of
    `keep_every_images`."""
    ordered = sorted(set(images))
    kept = set(ordered[-policy.keep_last :])
    if policy.keep_every_images:
        first_after = {image // policy.keep_every_images: image for image in reversed(ordered)}
        first_after.pop(0, None)
        kept.update(first_after.values())
    return sorted(kept)


@dataclass(frozen=True, order=True)
class Written:
    """A checkpoint by when it was taken and which attempt wrote it, in the order in which attempts start from them."""

    images: int
    attempt: int


# Older than any checkpoint: that of an attempt which began anew, or from another job's checkpoint.
NOTHING = Written(images=0, attempt=0)


def kept_by_attempt(stored: Iterable[Written], attempt: int, start: Written, policy: Checkpoints) -> set[Written]:
    """The checkpoints that remain once `attempt`, which went on from `start`, has written one.

    What is newer than its start and not its own was passed over as damaged, or comes from an attempt that had already
    lost its lease: it counts for nothing, lest it push out what this attempt writes, and stays until that is newer.
    """
    stored = set(stored)
    own = {each for each in stored if each.attempt == attempt}
    counted = own | {each for each in stored if each <= start}
    kept_images = set(kept_checkpoints((each.images for each in counted), policy))
    newest = max(own, default=NOTHING)
    return {each for each in counted if each.images in kept_images} | {each for each in stored if each > newest}


def good_checkpoint(
    stored: Mapping[int, str], evaluations: Sequence[Evaluation], start: Start | None, before_images: int
) -> tuple[int, str]:
    """Images and key of the checkpoint to which a training in trouble goes back; 0 and "" where there is none.

    It is the best by those evaluations that choose, else the newest from before the trouble began at `before_images`,
    else what the training started from. `stored` has the key of each stored checkpoint by its images.
    """
    best = best_of([each for each in evaluations if each.checkpoint in stored.values() and not each.advisory])
    if best:
        return best.images, stored[best.images]
    images = max((images for images in stored if images < before_images), default=0)
    if images == 0 and start:
        return (0 if start.weights_only else start.images), start.checkpoint
    return images, stored.get(images, "")
