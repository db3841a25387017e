"""Where judges disagree with the one that chooses the best checkpoint."""

from collections.abc import Sequence

import pytest

from ganservice.evaluation import Evaluation, Protocol, best_of
from ganservice.judges import disagreements, other_judges


def judged(network: str, distances: Sequence[float | None], *, samples: int = 1_000) -> list[Evaluation]:
    """What a judge found of checkpoints at 10, 20, ... images; of None nothing."""
    protocol = Protocol(
        data_digest="d", only=None, split="train", real=60_000, network=network, network_digest=network, resize="none",
        samples=samples, seed=0, truncation=None, neighbours=5, block=1_000,
    )  # fmt: skip
    return [
        Evaluation(
            job_id="tiny-1", images=images, checkpoint=f"c/{images}", protocol=protocol, errors={}, seconds=1.0, by="e",
            at=images, measures={f"{network}_frechet_distance": distance}, advisory=network != "classifier",
        )
        for images, distance in zip(range(10, 1_000, 10), distances, strict=False)
        if distance is not None
    ]  # fmt: skip


FALLING = (9.0, 7.0, 5.0, 4.0, 3.0, 2.9)


@pytest.mark.parametrize(
    "others",
    [
        (90.0, 70.0, 50.0, 40.0, 30.0, 29.0),
        (90.0, 70.0, 50.0, 40.0, 29.0, 29.5),  # another best, by less than its numbers scatter
        (9.0, 7.0),
        (None,) * 5 + (1.0,),
        (None,) * 6 + (0.1, 0.2, 0.3, 0.1),  # of checkpoints that nobody else has judged
        (),
    ],
    ids=["alike", "within its scatter", "too few", "one", "none in common", "nobody"],
)
def test_judges_that_tell_the_same_story_are_not_spoken_of(others: Sequence[float | None]) -> None:
    assert disagreements([*judged("pixels", others), *judged("classifier", FALLING)]) == []


def test_another_best_beyond_the_scatter_is_told() -> None:
    others = (9.0, 7.0, 5.0, 1.0, 2.0, 6.0)
    [told] = disagreements([*judged("classifier", FALLING), *judged("pixels", others)])
    assert (told.judge, told.best.images, told.chosen.images, told.checkpoints) == (
        "pixels_frechet_distance",
        40,
        60,
        6,
    )
    assert str(told) == (
        "judges disagree: by pixels_frechet_distance the best is at 40 images (1; 6 at 60, which was chosen), "
        "ranks of 6 checkpoints correlate by 0.47"
    )


def test_other_ranks_are_told_though_the_best_is_the_same() -> None:
    others = (1.5, 1.8, 2.1, 2.4, 2.7, 1.0)
    [told] = disagreements([*judged("classifier", FALLING), *judged("pixels", others)])
    assert told.best is told.chosen
    # Of 15 pairs the 5 with the last checkpoint are ranked alike, the other 10 the other way round.
    assert told.correlation == pytest.approx(-1 / 3)
    assert str(told) == ("judges disagree: by pixels_frechet_distance ranks of 6 checkpoints correlate by -0.33")


def test_another_number_of_samples_is_no_other_judge() -> None:
    same = judged("classifier", (1.0, 9.0, 8.0), samples=500)
    assert disagreements([*judged("classifier", FALLING), *same]) == []
    assert other_judges([*judged("classifier", FALLING), *same]) == []


def test_each_other_judge_is_heard_under_the_protocol_that_it_used_most() -> None:
    evaluations = [
        *judged("pixels", FALLING),
        *judged("pixels", (0.1, 0.2), samples=500),
        *judged("onnx", FALLING[::-1]),
        *judged("classifier", FALLING),
    ]
    assert best_of(evaluations) == judged("classifier", FALLING)[-1]
    assert other_judges(evaluations) == [judged("pixels", FALLING), judged("onnx", FALLING[::-1])]
    [told] = disagreements(evaluations)
    assert (told.judge, told.best.images, told.correlation) == ("onnx_frechet_distance", 10, -1)


def test_without_a_choice_nobody_disagrees() -> None:
    assert disagreements([]) == []
    assert other_judges([]) == []
