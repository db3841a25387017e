"""Where a trainer stands once a checkpoint is put into it, and what of its past goes on counting."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from ganservice.errors import DataInvalid, DigestMismatch
from ganservice.recipe.losses import WassersteinGp
from ganservice.spec import Start, TrainSpec
from workers.attempt.restore import Restored, StoredCheckpoint, load
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint
from workers.gan.data.examples import Examples
from workers.gan.pauses import Paused
from workers.gan.trainer import Trainer

IMAGES = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KEY = "starts/other/000000000016.pt"


def trainer(spec: TrainSpec) -> Trainer:
    return Trainer(spec.recipe, Examples(IMAGES), seed=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def stored(spec: TrainSpec) -> StoredCheckpoint:
    """Of a training after two reports."""
    trained = trainer(spec)
    history = list(trained.train(16, 8))
    state, past = decode_checkpoint(encode_checkpoint(trained.state_dict(), history))
    return StoredCheckpoint(KEY, 1_000, state, past)


def continued(spec: TrainSpec, key: str, *, weights_only: bool) -> TrainSpec:
    """The spec of a job that goes on from another one's checkpoint."""
    start = Start(job_id="other", checkpoint=key, images=16, sha256="5" * 64, weights_only=weights_only)
    return spec.model_copy(update={"start": start})


def weights(of: Trainer) -> list[torch.Tensor]:
    return list(of.sampling_generator.state_dict().values())


def test_without_a_checkpoint_it_is_the_very_beginning(spec: TrainSpec) -> None:
    fresh = trainer(spec)
    assert load(None, spec, fresh) == Restored()
    assert fresh.images_seen == 0


@pytest.mark.parametrize("changes", [{}, {"key": KEY, "weights_only": False}, {"key": "own", "weights_only": True}])
def test_a_checkpoint_is_put_in_whole(spec: TrainSpec, stored: StoredCheckpoint, changes: dict[str, Any]) -> None:
    """An own one too where the job began with another one's weights alone."""
    fresh = trainer(spec)
    restored = load(stored, continued(spec, **changes) if changes else spec, fresh)
    assert fresh.images_seen == 16
    assert [report.images for report in restored.history] == [8, 16]
    assert restored.precision == fresh.precision
    assert restored.checkpoint
    assert (restored.checkpoint.key, restored.checkpoint.images, restored.checkpoint.bytes) == (KEY, 16, 1_000)


def test_a_start_by_weights_alone_has_no_past(spec: TrainSpec, stored: StoredCheckpoint) -> None:
    whole, fresh = trainer(spec), trainer(spec)
    load(stored, spec, whole)
    restored = load(stored, continued(spec, KEY, weights_only=True), fresh)
    assert fresh.images_seen == 0
    assert (restored.history, restored.precision) == ((), None)
    assert restored.checkpoint
    assert restored.checkpoint.images == 0
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(weights(fresh), weights(whole), strict=True))


def other_networks(spec: TrainSpec, latent_size: int) -> TrainSpec:
    recipe = spec.recipe.model_copy(update={"latent_size": latent_size})
    changes = {"recipe.latent_size": (spec.recipe.latent_size, latent_size)}
    asked = continued(spec.model_copy(update={"recipe": recipe}), KEY, weights_only=True)
    assert asked.start
    return asked.model_copy(update={"start": asked.start.model_copy(update={"changes": changes})})


def test_of_other_networks_a_start_takes_the_weights_that_fit(spec: TrainSpec, stored: StoredCheckpoint) -> None:
    asked = other_networks(spec, 3)
    fresh = trainer(asked)
    first = {name: weight.clone() for name, weight in fresh.generator.state_dict().items()}
    restored = load(stored, asked, fresh)
    assert (fresh.images_seen, restored.history) == (0, ())
    assert restored.transfer
    share, whole = restored.transfer.shares
    assert 0 < share < whole == 1
    assert any("begins at random" in line for line in restored.transfer.lines)
    for name, weight in fresh.generator.state_dict().items():
        theirs = stored.state["g"][name]
        assert torch.equal(weight, theirs if theirs.shape == weight.shape else first[name])
    for name, weight in fresh.discriminator.state_dict().items():
        assert torch.equal(weight, stored.state["d"][name])
    assert all(report.images for report in fresh.train(16, 8))


def test_nothing_is_taken_of_networks_that_have_nothing_in_common(spec: TrainSpec, stored: StoredCheckpoint) -> None:
    asked = other_networks(spec, 3)
    state = stored.state | {part: {"x": torch.zeros(1)} for part in ("g", "d", "ema")}
    with pytest.raises(DataInvalid, match="nothing of the job gone on from fits"):
        load(replace(stored, state=state), asked, trainer(asked))
    for damage in ({"g": None}, {"d": "x"}):
        with pytest.raises(DigestMismatch, match="does not hold the state of its recipe"):
            load(replace(stored, state=stored.state | damage), asked, trainer(asked))


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no moments": lambda state: state.pop("adam_d"),
    "no networks": lambda state: state.pop("g"),
    "a network that is none": lambda state: state.update(d=None),
    "other weights": lambda state: state["ema"].popitem(),
    "moments of other weights": lambda state: state["adam_g"]["state"][0].update(exp_avg=torch.zeros(3)),
    "moments that are none": lambda state: state["adam_g"]["state"][0].update(exp_avg="x"),
    "half of the moments": lambda state: state["adam_g"]["state"][0].pop("exp_avg_sq"),
    "a step for each": lambda state: state["adam_g"]["state"][0].update(step=torch.zeros(7)),
    "a span of no steps": lambda state: state.update(span={"steps": 0, "sums": torch.zeros(1, 9)}),
    "a span of words": lambda state: state.update(span={"steps": "x", "sums": torch.zeros(1, 9)}),
    "a span of another loss": lambda state: state.update(span={"steps": 1, "sums": torch.zeros(1, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("damage", HOSTILE)
def test_a_state_of_another_trainer_is_told_by_one_line(spec: TrainSpec, stored: StoredCheckpoint, damage: str) -> None:
    state = copy.deepcopy(stored.state)
    HOSTILE[damage](state)
    with pytest.raises(DigestMismatch, match=f"^{KEY}: does not hold the state of its recipe: [^\n]+$"):
        load(replace(stored, state=state), spec, trainer(spec))


def test_how_optimisers_work_is_for_the_recipe_to_say(spec: TrainSpec, stored: StoredCheckpoint) -> None:
    state = copy.deepcopy(stored.state)
    hostile = {"amsgrad": True, "maximize": True, "weight_decay": 1e9, "lr": "x", "foreach": 7, "capturable": True}
    for name in ("adam_g", "adam_d"):
        state[name]["param_groups"][0].update(hostile)
    sound, turned = trainer(spec), trainer(spec)
    load(stored, spec, sound)
    load(replace(stored, state=state), spec, turned)
    sound.step()
    turned.step()
    assert all(map(torch.equal, weights(sound), weights(turned)))


@pytest.mark.parametrize(
    "plain", [{"images_seen": -1}, {"images_seen": 10**400}, {"steps": "x"}, {"precision": "\x1b[2J"}, {"steps": None}]
)
def test_a_checkpoint_whose_plain_values_are_out_of_bounds_is_none(
    stored: StoredCheckpoint, plain: dict[str, Any]
) -> None:
    with pytest.raises(DigestMismatch, match="cannot be read"):
        decode_checkpoint(encode_checkpoint(stored.state | plain, []))


@pytest.mark.parametrize("state", [None, [], {1: 2}, "x"])
def test_a_checkpoint_without_a_state_by_names_is_none(state: Any) -> None:
    with pytest.raises(DigestMismatch, match="cannot be read"):
        decode_checkpoint(encode_checkpoint(state, []))


def test_what_another_job_had_counted_between_two_reports_is_none_of_its_successors(spec: TrainSpec) -> None:
    """Its loss may be another, whose means are of other things."""
    paused = trainer(spec)
    reports = paused.train(640, 640, lambda: paused.images_seen >= 16)
    with pytest.raises(Paused):
        list(reports)
    state, past = decode_checkpoint(encode_checkpoint(paused.state_dict(), []))
    assert state["span"]
    other = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"loss": WassersteinGp(kind="wgan_gp")})})
    for key, start in ((KEY, KEY), ("own", "own")):
        fresh = trainer(other if key == KEY else spec)
        load(StoredCheckpoint(key, 1_000, state, past), continued(other, start, weights_only=False), fresh)
        assert len(list(fresh.train(640, 640))) == 1
