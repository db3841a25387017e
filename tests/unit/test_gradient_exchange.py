"""The mean gradients over a gang, exchanged in buckets during the backward pass."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ganservice.errors import NetworkInvalid
from ganservice.job import Reason
from tests.unit.gangs import WORLD_SIZE, Gang, meet, two_workers
from tests.waits import Waits
from workers.attempt.run import reason_of
from workers.gan import gradient_exchange
from workers.gan.gradient_exchange import GradientExchange, split
from workers.gan.networks.batch_norm import synchronise
from workers.gan.worker_group import WorkerGroup


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    with two_workers(tmp_path_factory.mktemp("gang") / "rendezvous") as run:
        yield run


# Which weights go together


def weights(*sizes: int, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in sizes]


def test_a_bucket_is_full_once_it_has_enough_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_exchange, "BUCKET_BYTES", 40)
    assert [[weight.numel() for weight in bucket] for bucket in split(weights(4, 6, 100, 3, 3))] == [
        [4, 6],
        [100],
        [3, 3],
    ]
    assert split([]) == []


def test_weights_of_two_number_formats_are_never_in_one_bucket() -> None:
    asked = weights(2) + weights(3, dtype=torch.float64) + weights(4)
    assert [[weight.dtype for weight in bucket] for bucket in split(asked)] == [
        [torch.float32],
        [torch.float64],
        [torch.float32],
    ]


# One worker, beside another that has the same gradients


class Line:
    """The exchange with a worker that has the same gradients: the sizes of what was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def all_reduce(self, values: Tensor, **_: Any) -> "Line":
        self.sent.append(values.numel())
        values *= 2
        return self

    def wait(self) -> None:
        pass


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line = Line()
    monkeypatch.setattr(dist, "all_reduce", line.all_reduce)
    monkeypatch.setattr(WorkerGroup, "apart", lambda _: None)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(gradient_exchange, "BUCKET_BYTES", 1)
    return line


class Chain(nn.Module):
    """Multiplies a number by its weights in turn, the first one first."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.full((size,), 2.0) for size in sizes)

    def forward(self, value: Tensor) -> Tensor:
        for weight in self.weights:
            value = value * weight.mean()
        return value


BOTH = WorkerGroup(0, 2)


def test_buckets_go_in_one_order_each_as_soon_as_it_may(line: Line) -> None:
    """The gradients of a chain come from its end; of one that is registered the other way round, from its beginning."""
    for order, before_each, sent in ((1, [[], [4], [4, 3]], [4, 3, 2]), (-1, [[], [], []], [2, 3, 4])):
        line.sent.clear()
        chain = Chain(1, 2, 3)
        seen: list[list[int]] = []
        used = list(chain.weights)
        chain.weights = nn.ParameterList(used[::order])
        exchange = GradientExchange(chain, BOTH)
        value = torch.ones(1)
        for weight in used:
            value = value * weight.mean()
            weight.register_post_accumulate_grad_hook(lambda _, seen=seen: seen.append(list(line.sent)))
        exchange.backward(value.sum())
        assert seen == before_each
        assert line.sent == sent


def test_where_none_may_overtake_another_all_buckets_go_after_the_pass(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL wants one order on all workers of what BatchNorm exchanges in a backward pass and of buckets."""
    monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
    chain = Chain(1, 2)
    seen: list[list[int]] = []
    exchange = GradientExchange(chain, BOTH)
    loss = chain(torch.ones(1)).sum()
    loss.register_hook(lambda _: seen.append(list(line.sent)))
    for weight in chain.weights:
        weight.register_post_accumulate_grad_hook(lambda _: seen.append(list(line.sent)))
    exchange.backward(loss)
    assert seen == [[], [], []]
    assert line.sent == [3, 2]


def test_only_the_last_of_several_passes_is_exchanged(line: Line) -> None:
    chain = Chain(1, 2)
    exchange = GradientExchange(chain, BOTH)
    for step in range(2):
        chain.zero_grad()
        for _ in range(2):
            chain(torch.ones(1)).sum().backward()
        assert len(line.sent) == 2 * step
        exchange.backward(chain(torch.ones(1)).sum())
        assert [weight.grad.tolist() for weight in chain.weights if weight.grad is not None] == [[6.0], [3.0, 3.0]]
        chain(torch.ones(1)).sum().backward()  # of whoever looks at gradients between two steps
        assert len(line.sent) == 2 * step + 2


def test_what_learns_is_asked_in_every_step(line: Line) -> None:
    chain = Chain(1, 2, 3)
    exchange = GradientExchange(chain, BOTH)
    for learns, sizes in ((True, [4, 3, 2]), (False, [4, 2]), (True, [4, 3, 2])):
        line.sent.clear()
        chain.zero_grad()
        chain.weights[1].requires_grad_(learns)
        exchange.backward(chain(torch.ones(1)).sum())
        assert line.sent == sizes
        assert (chain.weights[1].grad is not None) == learns


@pytest.mark.usefixtures("line")
def test_gradients_keep_the_memory_layout_of_their_weights() -> None:
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    exchange = GradientExchange(layer, BOTH)
    images = torch.randn(2, 3, 5, 5)
    (alone,) = torch.autograd.grad(layer(images).square().sum(), layer.weight)
    exchange.backward(layer(images).square().sum())
    assert layer.weight.grad is not None
    assert layer.weight.grad.stride() == layer.weight.stride()
    torch.testing.assert_close(layer.weight.grad, alone)


def test_where_no_gradient_is_missing_the_device_is_not_waited_for(line: Line) -> None:
    chain = Chain(1, 2)
    exchange = GradientExchange(chain, BOTH)
    with Waits() as waits:
        exchange.backward(chain(torch.ones(1)).sum())
    assert waits.found == []
    assert line.sent == [3, 2]


class Twice(Chain):
    """Uses its weight in two blocks that are computed again in the backward pass."""

    def forward(self, value: Tensor) -> Tensor:
        for _ in range(2):
            value = checkpoint(super().forward, value, use_reentrant=True)
        return value


def test_a_gradient_that_comes_in_parts_is_refused_in_one_line(line: Line) -> None:
    network = Twice(1)
    exchange = GradientExchange(network, BOTH)
    with pytest.raises(NetworkInvalid, match="use_reentrant=False"):
        exchange.backward(network(torch.ones(1, requires_grad=True)).sum())
    assert line.sent == [2]


def test_a_worker_alone_exchanges_nothing() -> None:
    chain = Chain(1, 2)
    GradientExchange(chain, WorkerGroup()).backward(chain(torch.ones(1)).sum())
    assert [weight.grad.tolist() for weight in chain.weights if weight.grad is not None] == [[2.0], [1.0, 1.0]]
    assert not any(weight._post_accumulate_grad_hooks for weight in chain.weights)  # noqa: SLF001 # nothing else tells


# Two workers


class Sums(nn.Module):
    """Weights of which a worker reaches some."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.zeros(2) for _ in range(4))
        self.weights[3].requires_grad_(False)

    def forward(self, reached: list[int], factor: float) -> Tensor:
        return torch.stack([factor * self.weights[place].sum() for place in reached]).sum()


def average_of_some(group: WorkerGroup, bucket_bytes: int) -> list[list[list[float] | None]]:
    """Gradients of weights that the second worker reached, that both did, that none did, and that learn nothing; then
    of another step, in which the first worker reached the first one alone."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_exchange, "BUCKET_BYTES", bucket_bytes)
        network = Sums()
        exchange = GradientExchange(network, group)
        for reached in ([[1], [0, 1]], [[0], [2]]):
            network.zero_grad()
            exchange.backward(network(reached[group.rank], 4.0 + group.rank))
            found.append([None if weight.grad is None else weight.grad.tolist() for weight in network.weights])
    return found


@pytest.mark.parametrize("bucket_bytes", [1, 2**20], ids=["a bucket of each", "all in one"])
def test_a_layer_that_one_worker_leaves_out_has_the_mean_gradient_of_all(gang: Gang, bucket_bytes: int) -> None:
    first: list[list[float] | None] = [[2.5, 2.5], [4.5, 4.5], None, None]
    second: list[list[float] | None] = [[2.0, 2.0], None, [2.5, 2.5], None]
    assert gang(average_of_some, bucket_bytes) == WORLD_SIZE * [[first, second]]


class Norms(nn.Module):
    """Layers with BatchNorm after each, and a last one that some leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.last = nn.Linear(3, 3)

    def forward(self, rows: Tensor, leaves_out: Tensor) -> Tensor:
        found: Tensor = self.body(rows)
        kept, others = found[leaves_out], found[~leaves_out]
        loss = kept.pow(4).sum()
        return loss + self.last(others).pow(4).sum() if len(others) else loss


def learn(group: WorkerGroup, steps: int) -> list[Tensor]:
    """The gradients of some steps, in each of which one worker of two leaves out the last layer."""
    torch.manual_seed(0)
    plain = Norms()
    network = (plain if group.world_size == 1 else synchronise(plain, group)).double()
    rows = torch.randn(8, 3, dtype=torch.float64)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_exchange, "BUCKET_BYTES", 1)
        exchange = GradientExchange(network, group)
        for step in range(steps):
            leaves_out = torch.arange(8) // 4 == step % 2
            network.zero_grad()
            # Of two workers each has half of the rows, and gets the mean of their sums.
            loss = network(group.own_rows(rows), group.own_rows(leaves_out)) * group.world_size / WORLD_SIZE
            exchange.backward(loss)
            found += [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    return found


def test_buckets_and_statistics_of_batch_norm_are_never_taken_for_each_other(gang: Gang) -> None:
    """Who has gradients of the last layer sends them before it takes part in statistics, and who has none after."""
    alone = learn(WorkerGroup(), 4)
    for found in gang(learn, 4):
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-9)


# A worker that ends in the middle


def die() -> None:
    os._exit(1)


def fail() -> None:
    raise ZeroDivisionError


def exchange_once(group: WorkerGroup, stop: Callable[[], object]) -> Reason | None:
    """Why this worker's attempt ends where the last one stops while the exchange is under way."""
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    exchange = GradientExchange(network, group)
    if group.rank:
        next(network.parameters()).register_hook(lambda _: stop())
    try:
        exchange.backward(network(torch.ones(2, 3)).sum())
    except Exception as error:  # noqa: BLE001 # whatever ends an attempt has a reason
        return reason_of(error, group)
    finally:
        group.leave()
    return None


def end(rank: int, rendezvous: str, stop: Callable[[], object], answer: Any, until: Any) -> None:
    gradient_exchange.BUCKET_BYTES = 1
    meet(rank, rendezvous)
    answer.send(exchange_once(WorkerGroup(rank, WORLD_SIZE), stop))
    until.wait()  # no connection is closed because a process ends


@pytest.mark.parametrize("stop", [die, fail])
def test_who_ends_within_an_exchange_ends_the_others(tmp_path: Path, stop: Callable[[], object]) -> None:
    context = multiprocessing.get_context("spawn")
    until = context.Event()
    pipes = [context.Pipe() for _ in range(WORLD_SIZE)]
    workers = [
        context.Process(target=end, args=(rank, str(tmp_path / "rendezvous"), stop, theirs, until), daemon=True)
        for rank, (_, theirs) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    try:
        first, _ = pipes[0]
        assert first.poll(110)  # before a silent peer is given up
        assert first.recv() is Reason.WORKER_DIED
    finally:
        until.set()
        for worker in workers:
            worker.kill()
            worker.join()
