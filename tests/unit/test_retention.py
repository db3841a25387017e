"""Which checkpoints of a training are kept, and to which one it goes back."""

from hypothesis import given
from hypothesis import strategies as st

from ganservice.evaluation import Evaluation, Protocol
from ganservice.retention import NOTHING, Written, good_checkpoint, kept_by_attempt
from ganservice.spec import Checkpoints, Start

STORED = {1_000: "jobs/a/1000.pt", 2_000: "jobs/a/2000.pt", 3_000: "jobs/a/3000.pt"}
START = Start(job_id="before", images=500, checkpoint="starts/s.pt", sha256="0" * 64)


def evaluation(images: int, distance: float, checkpoint: str | None = None) -> Evaluation:
    protocol = Protocol(
        data_digest="d", only=None, split="train", real=10, network="classifier", network_digest="n", resize="none",
        samples=100, seed=0, truncation=None, neighbours=5, block=10,
    )  # fmt: skip
    return Evaluation(
        job_id="a", images=images, checkpoint=checkpoint or STORED[images], protocol=protocol, errors={}, seconds=1.0,
        at=float(images), by="e", measures={"classifier_frechet_distance": distance},
    )  # fmt: skip


def test_it_is_the_newest_from_before_the_trouble() -> None:
    assert good_checkpoint(STORED, [], None, before_images=3_000) == (2_000, STORED[2_000])
    assert good_checkpoint(STORED, [], START, before_images=10_000) == (3_000, STORED[3_000])


def test_it_is_the_best_where_any_was_evaluated() -> None:
    evaluations = [evaluation(1_000, 5.0), evaluation(2_000, 9.0)]
    assert good_checkpoint(STORED, evaluations, None, before_images=3_000) == (1_000, STORED[1_000])


def test_the_evaluation_of_a_checkpoint_that_is_gone_does_not_count() -> None:
    gone = evaluation(1_000, 1.0, checkpoint="jobs/a/of-an-abandoned-attempt.pt")
    assert good_checkpoint(STORED, [gone, evaluation(2_000, 9.0)], None, 10_000) == (2_000, STORED[2_000])


def test_a_judge_that_only_advises_chooses_none() -> None:
    advice = evaluation(1_000, 1.0).model_copy(update={"advisory": True})
    assert good_checkpoint(STORED, [advice], None, before_images=3_000) == (2_000, STORED[2_000])
    assert good_checkpoint(STORED, [advice, evaluation(3_000, 9.0)], None, 10_000) == (3_000, STORED[3_000])


def test_it_is_the_start_where_nothing_is_older_than_the_trouble() -> None:
    assert good_checkpoint(STORED, [], START, before_images=1_000) == (500, START.checkpoint)
    weights = START.model_copy(update={"weights_only": True})
    assert good_checkpoint({}, [], weights, before_images=1_000) == (0, START.checkpoint)
    assert good_checkpoint({}, [], None, before_images=1_000) == (0, "")


# What an attempt keeps.

POLICIES = st.builds(
    Checkpoints, keep_last=st.integers(1, 3), keep_every_images=st.one_of(st.none(), st.integers(1, 40))
)
ACTS = st.lists(st.one_of(st.just("attempt"), st.just("late"), st.integers(0, 20), st.just("write")), max_size=60)


class Bucket:
    """The checkpoints of one job, some of them damaged, and the attempts that write them one after the other."""

    def __init__(self, policy: Checkpoints) -> None:
        self.policy = policy
        self.readable: dict[Written, bool] = {}
        self.attempt, self.images, self.start = 1, 0, NOTHING

    def newest(self) -> Written:
        """The one from which an attempt would go on."""
        return max((written for written, readable in self.readable.items() if readable), default=NOTHING)

    def begin(self) -> None:
        """The next attempt, after whatever ended the last."""
        self.start = self.newest()
        self.attempt, self.images = self.attempt + 1, self.start.images

    def write(self) -> None:
        """The next checkpoint of this attempt, and what it keeps then."""
        self.images += 8
        self.readable[Written(self.images, self.attempt)] = True
        kept = kept_by_attempt(self.readable, self.attempt, self.start, self.policy)
        assert kept <= self.readable.keys()
        self.readable = {written: self.readable[written] for written in kept}

    def damage(self, place: int) -> None:
        """One of them, by its place in the order in which they are tried."""
        newest_first = sorted(self.readable, reverse=True)
        if place < len(newest_first):
            self.readable[newest_first[place]] = False

    def write_late(self) -> None:
        """One of an attempt that has lost its lease, from wherever it had come to."""
        self.readable.setdefault(Written(self.images + 16, self.attempt - 1), True)


@given(acts=ACTS, policy=POLICIES)
def test_no_attempt_deletes_what_it_has_just_told_or_the_only_one_that_can_be_read(
    acts: list[str | int], policy: Checkpoints
) -> None:
    bucket = Bucket(policy)
    for act in acts:
        match act:
            case "attempt":
                bucket.begin()
            case "late":
                bucket.write_late()
            case "write":
                bucket.write()
                told = Written(bucket.images, bucket.attempt)
                assert bucket.readable.get(told)
                assert bucket.newest() >= told
            case int():
                bucket.damage(act)


def test_a_newer_one_of_another_attempt_goes_once_the_own_ones_have_passed_it() -> None:
    start, damaged, own = Written(8, 1), Written(16, 1), Written(16, 2)
    keep_two = Checkpoints(keep_last=2)
    assert kept_by_attempt([start, damaged, Written(12, 2)], 2, start, keep_two) == {start, damaged, Written(12, 2)}
    assert kept_by_attempt([start, damaged, own], 2, start, keep_two) == {start, own}
