"""What two real workers on loopback learn and agree on."""

import copy
import dataclasses
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganservice.errors import Diverged
from ganservice.job import Lease, Outcome, Progress, Reason
from ganservice.quantities import OF_MACHINE
from ganservice.recipe import Recipe
from ganservice.settings import Settings
from ganservice.spec_file import parse_spec
from tests.conftest import wait_until
from tests.unit.gangs import WORLD_SIZE, Gang, two_workers
from workers.attempt import training
from workers.attempt.context import WorkerContext
from workers.gan import gradient_exchange, pauses
from workers.gan import trainer as trainer_module
from workers.gan.data.examples import Examples
from workers.gan.networks.batch_norm import SynchronisedBatchNorm, synchronise
from workers.gan.trainer import Trainer
from workers.gan.worker_group import PEER_TIMEOUT, WorkerGroup

CPU = torch.device("cpu")
DATA = {"dataset": "digits", "image_size": 28, "channels": 1}
DCGAN = {
    "generator": {"kind": "dcgan", "widths": (6, 4, 4)},
    "discriminator": {"kind": "dcgan", "widths": (4, 4, 6), "batch_norm": True},
}
MLP = {"generator": {"kind": "mlp", "widths": (16,)}, "discriminator": {"kind": "mlp", "widths": (16, 8)}}
# A bucket of these small networks.
FEW_BYTES = 256
MEANS = {
    "loss_g", "loss_d", "score_real", "score_fake", "grad_norm_g", "grad_norm_d", "d_accuracy_real",
    "d_accuracy_generated", "augment_probability",
}  # fmt: skip

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    with two_workers(tmp_path_factory.mktemp("gang") / "rendezvous") as run:
        yield run


# A training by two workers is that by one.


def train(
    group: WorkerGroup, changes: dict[str, Any], micro_batch_size: int | None = None
) -> tuple[State, list[Progress]]:
    """A few steps in float64, so that what differs by more than rounding shows."""
    recipe = Recipe.model_validate({"data": DATA, "latent_size": 5, "batch_size": 8, "precision": "fp32"} | changes)
    images = torch.randint(0, 256, (44, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_exchange, "BUCKET_BYTES", FEW_BYTES)
        patch.setattr(Tensor, "float", Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            examples = Examples(images, torch.arange(44) % 3)
            trainer = Trainer(recipe, examples, 3, CPU, group, micro_batch_size=micro_batch_size)
            reports = list(trainer.train(64, 16))
        finally:
            torch.set_default_dtype(torch.float32)
    state = trainer.state_dict()
    return {f"{part}.{name}": value for part in ("g", "d", "ema") for name, value in state[part].items()}, reports


PLAIN_D = {"discriminator": {"kind": "dcgan", "widths": (4, 4, 6)}}
TRAININGS = {
    "dcgan": DCGAN,
    "mlp": MLP | {"loss": {"real_label": (0.7, 1.2), "fake_label": (0.0, 0.3)}},
    "minimax": DCGAN | {"loss": {"kind": "minimax"}, "d_steps": 2},
    "wgan_gp": DCGAN | PLAIN_D | {"loss": {"kind": "wgan_gp"}, "augment": ("colour", "translation", "cutout")},
    "adaptive": DCGAN
    | PLAIN_D
    | {
        "freeze_d": 1,
        "loss": {"kind": "hinge"},
        "augment": {"changes": ("flip", "scale", "contrast"), "probability": {"kind": "adaptive", "speed_images": 50}},
    },
    "relativistic": DCGAN
    | PLAIN_D
    | {"loss": {"kind": "relativistic"}, "pack": 2, "conditioning": {"classes": 3}, "data": DATA | {"flip": True}},
    "super-resolution": PLAIN_D
    | {
        "super_resolution": {"factor": 2},
        "generator": {"kind": "edsr", "width": 4, "blocks": 1},
        "latent_size": 0,
        "data": DATA | {"flip": True},
    },
    "resnet": {
        "generator": {"kind": "resnet", "width": 4, "attention": 14, "spectral_norm": True},
        "discriminator": {"kind": "resnet", "width": 4, "attention": 14},
        "conditioning": {"classes": 3},
        "loss": {"kind": "hinge"},
    },
    "r3gan": {
        "generator": {"kind": "r3gan", "width": 8, "blocks": 1},
        "discriminator": {"kind": "r3gan", "width": 8, "blocks": 1},
        "loss": {"kind": "relativistic", "r1": {"start": 2.0, "end": 0.5, "until_images": 40}},
    },
    "stylegan2": {
        "generator": {"kind": "stylegan2", "width": 4, "w_size": 8, "path_length_every_steps": 3},
        "discriminator": {"kind": "stylegan2", "width": 4},
        "conditioning": {"classes": 3},
        "loss": {"kind": "non_saturating", "r1": 0.1, "penalty_every_steps": 2},
    },
}
Trained = Callable[[str], list[tuple[State, list[Progress]]]]


@pytest.fixture(scope="module")
def trained(gang: Gang) -> Trained:
    """trained(kind): the same training by one worker, by the first of two and by the second."""
    return cache(lambda kind: [train(WorkerGroup(), TRAININGS[kind]), *gang(train, TRAININGS[kind])])


@pytest.mark.parametrize("kind", TRAININGS)
def test_two_workers_reach_the_weights_of_one(trained: Trained, kind: str) -> None:
    (alone, _), (first, _), _ = trained(kind)
    assert alone.keys() == first.keys()
    for name, weight in alone.items():
        assert weight.dtype in (torch.float64, torch.int64)
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", TRAININGS)
def test_two_workers_report_what_one_reports(trained: Trained, kind: str) -> None:
    (_, alone), (_, first), (_, second) = trained(kind)
    assert len(alone) == 4
    for mine, theirs, others in zip(alone, first, second, strict=True):
        assert theirs.model_dump(include=MEANS) == pytest.approx(mine.model_dump(include=MEANS), abs=1e-9)
        assert others.model_dump(include=MEANS) == theirs.model_dump(include=MEANS)
        assert mine.images == theirs.images == others.images


@pytest.mark.parametrize("kind", TRAININGS)
def test_both_workers_hold_identical_weights(trained: Trained, kind: str) -> None:
    _, (first, _), (second, _) = trained(kind)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("kind", ["mlp", "stylegan2"])
def test_two_workers_that_look_at_a_few_images_at_a_time_reach_the_weights_of_one(gang: Gang, kind: str) -> None:
    """With lazy penalties and path lengths too, which are steps of their own."""
    changes: dict[str, Any] = copy.deepcopy(TRAININGS[kind])
    if kind == "stylegan2":
        changes["discriminator"]["group"] = 1
    (alone, _), ((first, _), (second, _)) = train(WorkerGroup(), changes), gang(train, changes, 2)
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-9, msg=name)
        assert torch.equal(first[name], second[name])


def test_local_batch_norm_makes_another_training(gang: Gang) -> None:
    changes = DCGAN | {"batch_norm": "local"}
    (alone, _), ((first, _), (second, _)) = train(WorkerGroup(), changes), gang(train, changes)
    weights = [name for name in alone if name.endswith("weight") and not name.startswith("ema")]
    assert weights
    for name in weights:
        assert (alone[name] - first[name]).abs().max() > 1e-6
        assert torch.equal(first[name], second[name])


# SynchronisedBatchNorm


def normalise(group: WorkerGroup, images: Tensor, pull: Tensor, state: State) -> tuple[Tensor, Tensor, State, State]:
    """Output, gradient of the images, gradients of the parameters and state, of one forward and backward."""
    channels = images.shape[1]
    alone = group.world_size == 1
    plain = nn.BatchNorm2d(channels) if images.dim() == 4 else nn.BatchNorm1d(channels)
    norm = plain if alone else next(synchronise(nn.Sequential(plain), group).children())
    norm.to(images.dtype).load_state_dict(state)
    own = group.own_rows(images).clone().requires_grad_()
    output = norm(own)
    (output * group.own_rows(pull)).sum().backward()
    assert own.grad is not None
    gradients = {name: weight.grad for name, weight in norm.named_parameters() if weight.grad is not None}
    return output.detach(), own.grad, gradients, norm.state_dict()


# A mean far from zero: the one-pass variance E[x^2] - E[x]^2 would lose all its digits there.
@pytest.mark.parametrize(
    ("shape", "dtype", "offset", "tolerance"),
    [
        ((6, 3, 4, 5), torch.float64, 0, 1e-12),
        ((6, 3, 4, 5), torch.float32, 3000, 2e-3),
        ((6, 3), torch.float64, 0, 1e-12),
    ],
)
def test_synchronised_batch_norm_is_batch_norm_of_the_joined_batch(
    gang: Gang, shape: tuple[int, ...], dtype: torch.dtype, offset: float, tolerance: float
) -> None:
    randn = torch.Generator().manual_seed(1)
    images, pull = (torch.randn(shape, generator=randn, dtype=dtype) for _ in range(2))
    images = images * torch.tensor([0.5, 1, 3], dtype=dtype).view(1, 3, *[1] * (len(shape) - 2)) + offset
    state = {
        "weight": torch.tensor([1.0, 0.5, -2.0], dtype=dtype),
        "bias": torch.tensor([0.0, 1.0, 3.0], dtype=dtype),
        "running_mean": torch.tensor([0.0, 1.0, 2.0], dtype=dtype),
        "running_var": torch.tensor([1.0, 2.0, 3.0], dtype=dtype),
        "num_batches_tracked": torch.tensor(4),
    }
    output, gradient, parameters, after = normalise(WorkerGroup(), images, pull, state)
    answers = gang(normalise, images, pull, state)
    close: dict[str, Any] = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(torch.cat([answer[0] for answer in answers]), output, **close)
    torch.testing.assert_close(torch.cat([answer[1] for answer in answers]), gradient, **close)
    for name, value in parameters.items():
        torch.testing.assert_close(sum(answer[2][name] for answer in answers), value, **close)
    for *_, theirs in answers:
        assert theirs.keys() == after.keys()
        for name, value in after.items():
            torch.testing.assert_close(theirs[name], value, **close)


def penalise(group: WorkerGroup, images: Tensor) -> Tensor:
    """The gradient of a penalty on the gradients of the images, by the images."""
    plain = nn.BatchNorm2d(images.shape[1])
    norm = plain if group.world_size == 1 else next(synchronise(nn.Sequential(plain), group).children())
    norm.to(images.dtype)
    own = group.own_rows(images).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norm(own).pow(3).sum(), own, create_graph=True)
    (twice,) = torch.autograd.grad(gradient.square().sum(), own)
    return twice


def test_synchronised_batch_norm_has_the_second_derivatives_of_batch_norm(gang: Gang) -> None:
    images = torch.randn((6, 3, 4, 5), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(torch.cat(gang(penalise, images)), penalise(WorkerGroup(), images), rtol=0, atol=1e-9)


def count_exchanges(group: WorkerGroup) -> list[int]:
    """How many there are in a pass forward, and in one backward."""
    sizes: list[int] = []
    exchange = dist.all_reduce

    def counted(values: Tensor) -> None:
        sizes.append(values.numel())
        exchange(values)

    norm = SynchronisedBatchNorm(nn.BatchNorm2d(3), group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "all_reduce", counted)
        output = norm(torch.randn(4, 3, 2, 2, requires_grad=True))
        forward = len(sizes)
        output.square().sum().backward()
    return [forward, len(sizes) - forward]


def test_synchronised_batch_norm_takes_one_exchange_in_each_direction(gang: Gang) -> None:
    assert gang(count_exchanges) == [[1, 1], [1, 1]]


def keep_bf16(group: WorkerGroup) -> torch.dtype:
    with torch.autocast("cpu", torch.bfloat16):
        dtype: torch.dtype = SynchronisedBatchNorm(nn.BatchNorm2d(2), group)(
            torch.randn(4, 2, 3, 3, dtype=torch.bfloat16)
        ).dtype
    return dtype


def test_synchronised_batch_norm_keeps_the_precision_of_its_input(gang: Gang) -> None:
    assert gang(keep_bf16) == [torch.bfloat16, torch.bfloat16]


def test_synchronised_batch_norm_needs_no_gang_to_evaluate() -> None:
    plain = nn.BatchNorm2d(3).eval()
    norm = SynchronisedBatchNorm(plain, WorkerGroup(0, WORLD_SIZE)).eval()
    assert norm.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(norm(images), plain(images))


# What workers agree on


def patience(group: WorkerGroup) -> list[timedelta]:
    """How long the second process group, of which there is one, waits for a worker."""
    apart = group.apart()
    assert apart is not None
    assert apart is group.apart() is not dist.group.WORLD
    return [apart._get_backend(CPU).options._timeout]  # noqa: SLF001 # torch tells it in no other way


def test_a_silent_worker_is_given_up_in_the_second_process_group_too(gang: Gang) -> None:
    """Torch would wait for half an hour."""
    assert gang(patience) == [[PEER_TIMEOUT], [PEER_TIMEOUT]]


def choose(group: WorkerGroup, having: tuple[bool, ...]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "bf16_pays", lambda _: having[group.rank])
        recipe = Recipe.model_validate({"data": DATA, "batch_size": 8} | MLP)
        return Trainer(recipe, Examples(torch.zeros(8, 1, 28, 28, dtype=torch.uint8)), 3, CPU, group).precision


@pytest.mark.parametrize(
    ("having", "expected"),
    [((True, True), "bf16"), ((True, False), "fp32"), ((False, True), "fp32"), ((False, False), "fp32")],
)
def test_all_workers_compute_in_what_every_one_of_them_has(gang: Gang, having: tuple[bool, ...], expected: str) -> None:
    assert gang(choose, having) == [expected, expected]


def ask_any(group: WorkerGroup, ranks: set[int]) -> bool:
    return group.any(group.rank in ranks)


@pytest.mark.parametrize(("ranks", "answer"), [(set(), False), ({0}, True), ({1}, True), ({0, 1}, True)])
def test_a_flag_of_any_worker_is_seen_by_all(gang: Gang, ranks: set[int], answer: bool) -> None:
    assert gang(ask_any, ranks) == [answer, answer]


def ask_first(group: WorkerGroup) -> str:
    return group.first_says(f"rank {group.rank}")


def test_the_first_worker_speaks_for_all(gang: Gang) -> None:
    assert gang(ask_first) == ["rank 0", "rank 0"]


class Company(WorkerGroup):
    """Counts how often its workers have heard of each other."""

    heard: ClassVar[list[bool]] = []

    def _any_of_each(self, *flags: bool) -> list[bool]:
        self.heard.append(flags[0])
        return super()._any_of_each(*flags)


def keep_company(group: WorkerGroup) -> str:
    company = Company(group.rank, group.world_size)
    company.heard.clear()

    def call() -> str:
        if company.is_first:  # takes far longer than the other
            wait_until(lambda: len(company.heard) > 3, within_s=120)
        return f"rank {company.rank}"

    return company.together(call)


def hear_of_the_last(group: WorkerGroup) -> str:
    heard: list[None] = []
    company = dataclasses.replace(group, on_motion=lambda: heard.append(None))
    if company.rank == company.world_size - 1:
        company.motion.set()
    company.wait_until(lambda: True)
    return str(len(heard))


def test_what_comes_further_on_one_worker_is_heard_by_all_that_wait(gang: Gang) -> None:
    assert gang(hear_of_the_last) == ["1", "1"]


def fail_together(group: WorkerGroup) -> str:
    try:
        group.together(lambda: 1 / group.rank)
    except ZeroDivisionError as error:
        return str(error)
    return "none"


def test_a_worker_that_takes_long_is_waited_for_in_company(gang: Gang) -> None:
    assert gang(keep_company) == ["rank 0", "rank 1"]


def test_an_error_of_what_is_done_together_is_raised_where_it_was_met(gang: Gang) -> None:
    assert gang(fail_together) == ["division by zero", "none"]


def average(group: WorkerGroup) -> list[float]:
    values = torch.tensor([1.0, 10.0]) * (group.rank + 1)
    group.average(values)
    return values.tolist()


def test_means_are_over_all_workers(gang: Gang) -> None:
    assert gang(average) == [[1.5, 15.0], [1.5, 15.0]]


def test_a_worker_alone_needs_no_process_group() -> None:
    assert not dist.is_initialized()
    alone = WorkerGroup()
    values = torch.tensor([3.0])
    alone.average(values)
    assert alone.together(lambda: "done") == "done"
    assert (alone.is_first, alone.any(True), alone.any(False), alone.first_says("a")) == (True, True, False, "a")
    assert torch.equal(alone.own_rows(torch.arange(5)), torch.arange(5))
    assert values.item() == 3


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_rows_of_all_workers_are_the_batch(world_size: int) -> None:
    batch = torch.arange(24).view(8, 3)
    rows = [WorkerGroup(rank, world_size).own_rows(batch) for rank in range(world_size)]
    assert torch.equal(torch.cat(rows), batch)


# The loop of an attempt


class Recorder:
    """The duties of a first worker that leaves after so many reports, and has room at every third look only."""

    def __init__(self, reports: int) -> None:
        self._left = reports
        self._looks = 0

    def is_told_to_leave(self) -> bool:
        return False

    def report(self, _: Progress) -> Outcome | None:
        self._left -= 1
        return None if self._left else Outcome(reason=Reason.YIELDED)

    def has_room(self) -> bool:
        self._looks += 1
        return self._looks % 3 == 0

    def save(self) -> None:
        assert self._looks % 3 == 0

    def leave(self, outcome: Outcome | None) -> str:
        return outcome.reason if outcome else "left with another"

    def diverge(self, _: Diverged) -> str:
        return "diverged"

    def halt(self) -> str:
        return "halted"

    def succeed(self) -> str:
        return "succeeded"


def _attempt(
    group: WorkerGroup, lr: float, reports: int, told: int | None, report_every: int, until: int | None = None
) -> str | None:
    data = {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.05, "points": 400}
    recipe = {**MLP, "data": data, "latent_size": 2, "batch_size": 8, "optimiser_d": {"lr": lr}}
    asked = {"name": "tiny", "images": 64, "report_every_images": report_every, "recipe": recipe}
    spec = parse_spec(asked, source="here")
    lease = Lease(job_id="tiny-1", attempt=1, token=1, lease_s=30.0, spec=spec, until_images=until)
    leaving = threading.Event()
    if group.rank == told:
        leaving.set()
    # Neither a job that trains points from the start nor its followers ask the store for anything.
    context = WorkerContext(Settings(), lease, None, group, CPU, leaving)  # type: ignore[arg-type]
    if group.is_first:
        return training.train(context, spec, lambda: None, lambda: None, lambda *_: Recorder(reports))
    return training.train(context, spec, lambda: None, lambda: None, lambda *_: training.Follower(leaving))


@pytest.mark.parametrize(
    ("lr", "reports", "until", "end"),
    [
        (1e-3, 9, None, "succeeded"),
        (1e-3, 2, None, Reason.YIELDED),
        (1e30, 9, None, "diverged"),
        (1e-3, 9, 32, "halted"),
        (1e-3, 9, 64, "succeeded"),
    ],
)
def test_followers_end_quietly_whenever_the_first_worker_ends(
    gang: Gang, lr: float, reports: int, until: int | None, end: str
) -> None:
    assert gang(_attempt, lr, reports, None, 16, until) == [end, None]


@pytest.mark.parametrize("report_every", [8, 64], ids=["at a report", "without one"])
def test_a_follower_that_is_told_to_leave_takes_the_gang_with_it(gang: Gang, report_every: int) -> None:
    assert gang(_attempt, 1e-3, 9, 1, report_every) == ["left with another", None]


# A pause between two reports


def pause(group: WorkerGroup, wishes: list[int], kind: str) -> tuple[int, list[str], bool]:
    """Train with a pause after so many images for each worker's wish; what differs from a training without any."""
    plain = {"data": DATA, "latent_size": 5, "batch_size": 8, "precision": "fp32"}
    recipe = Recipe.model_validate(plain | TRAININGS[kind])
    images = torch.randint(0, 256, (44, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def new() -> Trainer:
        return Trainer(recipe, Examples(images), 3, CPU, group)

    whole, first, second = new(), new(), new()
    reports = list(whole.train(96, 48))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_exchange, "BUCKET_BYTES", FEW_BYTES)
        patch.setattr(pauses, "LOOK_S", 0.0)
        with pytest.raises(pauses.Paused):
            list(first.train(96, 48, lambda: first.images_seen >= wishes[group.rank]))
    paused_at = first.images_seen
    # As by way of a checkpoint, which the first worker alone writes.
    states = [copy.deepcopy(first.state_dict())] if group.is_first else [None]
    if group.world_size > 1:
        dist.broadcast_object_list(states, src=0)
    second.load_state_dict(states[0] or {})
    again = list(second.train(96, 48))
    theirs, mine = whole.state_dict(), second.state_dict()
    different = [name for part in ("g", "d", "ema") for name in mine[part]
                 if not torch.equal(mine[part][name], theirs[part][name])]  # fmt: skip
    rows, expected = ([each.model_dump(exclude=OF_MACHINE) for each in found] for found in (again, reports))
    return paused_at, different, rows == expected


@pytest.mark.parametrize("kind", ["dcgan", "adaptive"])
def test_all_workers_pause_after_the_same_step_and_what_follows_is_as_without_it(gang: Gang, kind: str) -> None:
    expected: tuple[int, list[str], bool] = (24, [], True)
    assert gang(pause, [1_000, 20], kind) == [expected, expected]
    assert pause(WorkerGroup(), [20], kind) == expected


def test_the_copy_of_a_network_is_of_the_same_gang() -> None:
    group = WorkerGroup(on_motion=threading.Lock().acquire)
    [same] = copy.deepcopy([group])
    assert same is group
