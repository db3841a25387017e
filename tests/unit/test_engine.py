"""Engines: a step that is recorded and replayed does what the step itself does, or is not replayed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from tests.tape import Operation, TapeRecorder, TapeRecording
from tests.trainings import CHANGES, IMAGES, LABELS_OF_IMAGES, MLP, NO_NORM, different, leaves, recipe, run
from workers.gan import trainer as trainer_module
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.data.examples import Examples
from workers.gan.engine import WARM_UP, EngineChoice, Recorder, agree, choose_engine
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TOTAL = 112  # images: lazy parts are due often enough to be recorded, and ramps have ended by half of it
ALONE = WorkerGroup()
SCHEDULED = {
    "optimiser_g": {"schedule": {"warm_up_images": 40, "decay": "linear", "decay_until_images": TOTAL}},
    "ema": {"half_life_images": 400, "warm_up_share": 0.5},
}
RECORDABLE = {**CHANGES, "schedule": MLP | SCHEDULED}


class NoRecorder(TapeRecorder):
    """Runs all parts as they come, in everything else as one that records."""

    def record(self, _: Callable[[], list[Tensor]]) -> TapeRecording:
        raise RuntimeError("nothing is recorded here")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Make a trainer whose steps a recorder records."""

    def make(recorder: Recorder | None, asked: Recipe | None = None) -> Trainer:
        choice = EngineChoice("graph" if recorder else "eager", "as the test has it")
        monkeypatch.setattr(trainer_module, "find_engine", lambda *_: (choice, recorder))
        return Trainer(asked or recipe(), Examples(IMAGES, LABELS_OF_IMAGES), seed=3, device=CPU)

    return make


@pytest.mark.parametrize("changes", RECORDABLE.values(), ids=RECORDABLE)
def test_recorded_steps_are_bit_for_bit_the_steps_themselves(
    make: Callable[..., Trainer], changes: dict[str, Any]
) -> None:
    recorder, asked = TapeRecorder(), recipe(**changes)
    recorded, by_itself = make(recorder, asked), make(NoRecorder(), asked)
    reports, expected = run(recorded, TOTAL), run(by_itself, TOTAL)
    assert recorded.engine_trouble is None
    assert sum(recording.replays for recording in recorder.recordings) > TOTAL // 16
    assert different(recorded.state_dict(), by_itself.state_dict()) == []
    kept = {"loss_g", "loss_d", "grad_norm_g", "grad_norm_d", "score_real", "score_fake", "augment_probability"}
    assert [row.model_dump(include=kept) for row in reports] == [row.model_dump(include=kept) for row in expected]


@pytest.mark.parametrize("changes", RECORDABLE.values(), ids=RECORDABLE)
def test_engines_train_alike(make: Callable[..., Trainer], changes: dict[str, Any]) -> None:
    """But for the last digits of a learning rate and of an average's share that lie on the device."""
    asked = recipe(**changes)
    recorded, eager = make(TapeRecorder(), asked), make(None, asked)
    run(recorded, asked.images_per_step), run(eager, asked.images_per_step)
    theirs = leaves(eager.state_dict())
    for path, value in leaves(recorded.state_dict()).items():
        if isinstance(value, Tensor) and "/param_groups/" not in path:
            torch.testing.assert_close(value, theirs[path], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("changes", [MLP, CHANGES["r3gan"], CHANGES["stylegan2"]], ids=["mlp", "r3gan", "stylegan2"])
def test_a_resume_of_recorded_steps_changes_no_bit(make: Callable[..., Trainer], changes: dict[str, Any]) -> None:
    asked = recipe(**changes)
    uninterrupted, first, resumed = (make(TapeRecorder(), asked) for _ in range(3))
    run(uninterrupted, TOTAL)
    before = run(first, 64)
    resumed.load_state_dict(decode_checkpoint(encode_checkpoint(snapshot(first.state_dict()), before))[0])
    run(resumed, TOTAL)
    assert different(resumed.state_dict(), uninterrupted.state_dict()) == []


def test_a_checkpoint_of_one_engine_is_gone_on_with_by_the_other(make: Callable[..., Trainer]) -> None:
    for first, second in ((TapeRecorder(), None), (None, TapeRecorder())):
        began, resumed, alone = make(first), make(second), make(None)
        before = run(began, 48)
        resumed.load_state_dict(decode_checkpoint(encode_checkpoint(snapshot(began.state_dict()), before))[0])
        run(resumed, TOTAL), run(alone, TOTAL)
        for name, weight in alone.generator.named_parameters():
            torch.testing.assert_close(resumed.generator.get_parameter(name), weight, rtol=1e-3, atol=1e-4)


def test_a_trainer_that_gets_another_state_forgets_what_it_has_recorded(make: Callable[..., Trainer]) -> None:
    """Moments are other tensors then, and recordings would move those of before."""
    recorder = TapeRecorder()
    trainer, other = make(recorder), make(None)
    run(trainer, 64), run(other, 48)
    trainer.load_state_dict(snapshot(other.state_dict()))
    run(trainer, TOTAL), run(other, TOTAL)
    for name, weight in other.generator.named_parameters():
        torch.testing.assert_close(trainer.generator.get_parameter(name), weight, rtol=1e-3, atol=1e-4)


def test_what_changes_from_step_to_step_is_recorded_once_it_stays(make: Callable[..., Trainer]) -> None:
    recorder = TapeRecorder()
    ramp = {"start": 2.0, "end": 0.5, "until_images": 40}
    trainer = make(recorder, recipe(loss={"kind": "relativistic", "r1": ramp}, **NO_NORM))
    run(trainer, 32 + 8 * WARM_UP)
    assert len(recorder.recordings) == 1  # of G, whose loss has no penalty
    run(trainer, 32 + 8 * (WARM_UP + 1))
    assert len(recorder.recordings) == 2


def test_a_step_that_asks_its_device_is_never_recorded(make: Callable[..., Trainer]) -> None:
    recorder = TapeRecorder()
    trainer, expected = make(recorder), make(NoRecorder())
    trainer.discriminator.register_forward_pre_hook(lambda _, images: (images[0] + 0 * images[0].mean().item(),))
    run(trainer, TOTAL), run(expected, TOTAL)
    assert trainer.engine_trouble is not None
    assert "cannot be recorded: operation not permitted" in trainer.engine_trouble
    assert recorder.recordings == []
    assert different(trainer.state_dict(), expected.state_dict()) == []


class WrongRecorder(TapeRecorder):
    """Its recordings do all but the last of what moves G's weights."""

    def record(self, part: Callable[[], list[Tensor]]) -> TapeRecording:
        recording = super().record(part)
        adam = next(each for each in reversed(recording.operations) if "_fused_adam_" in str(each.function))
        recording.operations.remove(adam)
        return recording


def test_a_recording_that_does_something_else_is_found_out_before_it_counts(make: Callable[..., Trainer]) -> None:
    trainer, expected = make(WrongRecorder()), make(NoRecorder())
    run(trainer, TOTAL), run(expected, TOTAL)
    assert trainer.engine_trouble == "a recorded step found other numbers than the step itself"
    assert different(trainer.state_dict(), expected.state_dict()) == []


class UnwrittenRecorder(TapeRecorder):
    """Its recordings leave in G's weights what nobody has written, as a graph may of memory that is not its own."""

    def record(self, part: Callable[[], list[Tensor]]) -> TapeRecording:
        recording = super().record(part)
        adam = next(each for each in reversed(recording.operations) if "_fused_adam_" in str(each.function))
        recording.operations.append(Operation(torch.Tensor.fill_, (adam.args[0][0], math.nan), {}, [-1]))
        return recording


class FullRecorder(TapeRecorder):
    """Its recordings leave no memory for a replay."""

    def record(self, part: Callable[[], list[Tensor]]) -> TapeRecording:
        def full() -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        recording = super().record(part)
        recording.replay = full  # type: ignore[method-assign]
        return recording


@pytest.mark.parametrize(
    ("recorder", "trouble"),
    [
        (UnwrittenRecorder, "a recorded step found other numbers than the step itself"),
        (FullRecorder, "a step cannot be recorded: CUDA out of memory"),
    ],
)
def test_a_training_goes_on_whatever_becomes_of_a_recording(
    make: Callable[..., Trainer], recorder: type[TapeRecorder], trouble: str
) -> None:
    trainer, expected = make(recorder()), make(NoRecorder())
    run(trainer, TOTAL), run(expected, TOTAL)
    assert trainer.engine_trouble == trouble
    assert different(trainer.state_dict(), expected.state_dict()) == []


def test_a_network_that_replaces_what_it_keeps_is_not_recorded(make: Callable[..., Trainer]) -> None:
    recorder = TapeRecorder()
    trainer = make(recorder)
    trainer.discriminator.register_buffer("passes", torch.zeros(()))

    def count(network: nn.Module, _: object) -> None:
        network.passes = network.get_buffer("passes") + 1

    trainer.discriminator.register_forward_pre_hook(count)
    run(trainer, TOTAL)
    assert trainer.engine_trouble == "a step puts new tensors in the place of what it keeps"
    assert recorder.recordings == []
    assert trainer.discriminator.passes == 3 * TOTAL // 8


def test_numbers_that_are_none_agree_with_their_like_alone() -> None:
    before, expected = torch.zeros(3), torch.tensor([1.0, math.nan, math.inf])
    assert agree(expected.clone(), expected, before)
    for at, wrong in ((0, math.nan), (0, 1.1), (1, 0.0), (2, -math.inf), (2, 7.0)):
        found = expected.clone()
        found[at] = wrong
        assert not agree(found, expected, before)


@pytest.mark.parametrize(
    ("changes", "device", "workers", "pieces", "engine", "reason"),
    [
        ({}, GPU, 1, None, "graph", "faster"),
        ({"engine": "graph"}, GPU, 1, None, "graph", "as ordered"),
        ({"engine": "eager"}, GPU, 1, None, "eager", "as ordered"),
        ({}, CPU, 1, None, "eager", "only a GPU"),
        ({"engine": "graph"}, CPU, 1, None, "eager", "only a GPU"),
        ({}, GPU, 2, None, "eager", "gang"),
        ({"engine": "graph"}, GPU, 1, 4, "eager", "pieces"),
    ],
)
def test_the_engine_is_chosen_by_recipe_and_hardware(
    changes: dict[str, Any], device: torch.device, workers: int, pieces: int | None, engine: str, reason: str
) -> None:
    choice = choose_engine(recipe(**changes), device, WorkerGroup(0, workers), pieces)
    assert choice.engine == engine
    assert reason in choice.reason
