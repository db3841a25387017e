"""How far an evaluation says it is."""

import pytest

from ganservice.judging import Judging
from workers.attempt.course import Course
from workers.gan.evaluation.parts import Part, costs


class Told:
    """What a course told, and the clock it goes by."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps: list[tuple[float, float | None]] = []

    def __call__(self, share_done: float, left_s: float | None) -> None:
        self.steps.append((share_done, left_s))


def test_a_course_tells_the_share_that_is_done_and_the_time_that_is_left() -> None:
    told = Told()
    course = Course(told, clock=lambda: told.now_s)
    course.begin({Part.CLASSIFIER: 60.0, Part.GENERATED: 20.0, Part.MEASURES: 20.0})
    course.advance(Part.CLASSIFIER, 0.01)
    told.now_s = 30.0
    course.advance(Part.CLASSIFIER, 0.5)
    told.now_s = 80.0
    course.advance(Part.CLASSIFIER, 1.0)
    course.advance(Part.GENERATED, 1.0)
    course.advance(Part.MEASURES, 1.0)
    shares, left = zip(*told.steps, strict=True)
    assert shares == pytest.approx([0.006, 0.3, 0.6, 0.8, 1.0])
    assert left[0] is None, "nothing is known yet"
    assert left[1:] == pytest.approx([70.0, 80.0 * 0.4 / 0.6, 20.0, 0.0])


def test_what_the_store_holds_already_is_no_part() -> None:
    told = Told()
    course = Course(told, clock=lambda: told.now_s)
    course.begin({Part.CLASSIFIER: 1_000.0, Part.GENERATED: 20.0, Part.MEASURES: 20.0})
    course.skip(Part.CLASSIFIER)
    course.advance(Part.CLASSIFIER, 0.0)
    course.advance(Part.GENERATED, 0.5)
    assert [share for share, _ in told.steps] == pytest.approx([0.25])


def test_the_share_never_falls_and_ends_at_one() -> None:
    told = Told()
    course = Course(told)
    parts = costs(Judging(measures=("classes", "copying", "gan_train")), 60_000, 10_000, supplement=1_000)
    assert all(cost > 0 for cost in parts.values())
    course.begin(parts)
    for part in Part:
        for share in (0.0, 0.5, 1.0):
            course.advance(part, share)
    shares = [share for share, _ in told.steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_only_the_classifier_is_trained_and_only_gan_train_trains_a_student() -> None:
    parts = costs(Judging(network="efficientnet_lite0", measures=("frechet",)), 60_000, 0, supplement=1_000)
    left_out = Part.CLASSIFIER, Part.HELD_OUT, Part.SUPPLEMENT, Part.STUDENT
    assert {parts[part] for part in left_out} == {0}
    assert parts[Part.TRAINING] > costs(Judging(measures=("frechet",)), 60_000, 0)[Part.TRAINING]


@pytest.mark.parametrize(
    ("split", "measures", "looked"),
    [
        ("train", ["frechet"], {Part.TRAINING}),
        ("test", ["frechet", "kernel", "classes", "manifolds"], {Part.HELD_OUT}),
        ("test", ["frechet", "birthdays"], {Part.TRAINING, Part.HELD_OUT}),
        ("test", ["frechet", "gan_train"], {Part.TRAINING, Part.HELD_OUT}),
        ("train", ["frechet", "copying"], {Part.TRAINING, Part.HELD_OUT}),
    ],
)
def test_a_split_that_nothing_is_compared_with_costs_nothing(
    split: str, measures: list[str], looked: set[Part]
) -> None:
    judging = Judging.model_validate({"network": "efficientnet_lite0", "split": split, "measures": measures})
    parts = costs(judging, 60_000, 10_000)
    assert {part for part in (Part.TRAINING, Part.HELD_OUT) if parts[part]} == looked
