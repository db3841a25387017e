"""From the training set to the step: by whichever way, the same bits in the same order."""

import copy
import gc
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganservice.recipe import Recipe
from tests.conftest import wait_until
from workers.gan import real_batches
from workers.gan.data.arrays import map_arrays
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.real_batches import AHEAD, DEVICE_SHARE, Way, choose_way
from workers.gan.trainer import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGES = torch.randint(0, 256, (44, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(44) % 3
RECIPE: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 28, "channels": 1, "flip": True},
    "generator": {"kind": "dcgan", "widths": (6, 4, 4)},
    "discriminator": {"kind": "dcgan", "widths": (4, 4, 6)},
    "conditioning": {"classes": 3},
    "latent_size": 5,
    "batch_size": 8,
    "d_steps": 2,
    "precision": "fp32",
}  # 44 images are no multiple of a batch: batches run across the ends of epochs, and of shards.
Train = Callable[[Rows, Way], Trainer]


def shards(folder: Path, *at: int) -> Rows:
    paths = []
    for number, part in enumerate(np.split(IMAGES.numpy(), at)):
        paths.append(folder / f"{len(at)}-{number}.npy")
        np.save(paths[-1], part)
    return Rows(map_arrays(paths))


def trainer(patch: pytest.MonkeyPatch, rows: Rows, way: Way) -> Trainer:
    patch.setattr(real_batches, "choose_way", lambda *_: way)
    others = Examples(rows.select(torch.arange(0, 44, 5)), LABELS[::5])
    return Trainer(Recipe.model_validate(RECIPE), Examples(rows, LABELS), seed=3, device=CPU, held_out=others)


def weights(trained: Trainer, images: int = 144) -> list[Tensor]:
    """The weights after so many images, and what D told last of pictures that are looked at in passing."""
    *_, last = trained.train(images, 48)
    networks = (trained.generator, trained.discriminator)
    return [value.clone() for network in networks for value in network.parameters()] + [
        torch.tensor(last.d_held_out_gap)
    ]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Train:
    return partial(trainer, monkeypatch)


@pytest.fixture
def expected(make: Train) -> list[Tensor]:
    """The weights of a training on a set in memory."""
    return weights(make(Rows.of(IMAGES), Way.MAPPED))


@pytest.mark.parametrize("cuts", [(), (20,), (1, 7, 30, 43)])
@pytest.mark.parametrize("way", Way)
def test_weights_are_the_same_whichever_way_the_rows_come(
    make: Train, expected: list[Tensor], tmp_path: Path, cuts: tuple[int, ...], way: Way
) -> None:
    found = weights(make(shards(tmp_path, *cuts), way))
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("way", Way)
def test_a_training_goes_on_to_the_same_weights_by_another_way(
    make: Train, expected: list[Tensor], tmp_path: Path, way: Way
) -> None:
    first = make(Rows.of(IMAGES), Way.MAPPED)
    weights(first, 48)
    resumed = make(shards(tmp_path, 11, 33), way)
    weights(resumed, 16)  # elsewhere: what is read ahead there is of no use
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert all(map(torch.equal, weights(resumed), expected))


@pytest.mark.parametrize("way", [Way.MAPPED, Way.AHEAD])
def test_the_disk_goes_ahead_of_who_reads(
    make: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    begun, taken = list[list[int]](), list[list[int]]()
    begin, take = Rows.begin, Rows.take

    def beginning(rows: Rows, indices: Tensor) -> None:
        begun.append(indices.tolist())
        begin(rows, indices)

    def taking(rows: Rows, indices: Tensor, **how: Any) -> Tensor:
        taken.append(indices.tolist())
        return take(rows, indices, **how)

    trained = make(shards(tmp_path, 20), way)
    monkeypatch.setattr(Rows, "begin", beginning)
    monkeypatch.setattr(Rows, "take", taking)
    for _ in range(12):
        trained.step()
    wait_until(lambda: len(begun) == len(taken))
    assert begun[: len(taken) - AHEAD] == taken[AHEAD:], "over the ends of epochs as well"


def test_an_error_of_who_reads_ahead_is_the_error_of_the_step(make: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Tensor:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Rows, "take", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        make(Rows.of(IMAGES), Way.AHEAD).step()


def test_who_reads_ahead_ends_with_the_training(make: Train) -> None:
    def readers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("rows")]

    gc.disable()  # many trainings of one process would be held until it comes round
    try:
        trained = make(Rows.of(IMAGES), Way.AHEAD)
        trained.step()
        assert readers()
        del trained
        wait_until(lambda: not readers())
    finally:
        gc.enable()


def test_what_fits_lies_on_the_gpu_and_what_does_not_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows.of(IMAGES)
    assert choose_way(rows, CPU) is Way.MAPPED
    for free_bytes, way in ((rows.bytes / DEVICE_SHARE, Way.RESIDENT), (rows.bytes / DEVICE_SHARE - 1, Way.AHEAD)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free_bytes: (free, 10**12))
        assert choose_way(rows, CUDA) is way
    some = rows.select(torch.arange(4))
    assert choose_way(some, CUDA) is Way.RESIDENT
