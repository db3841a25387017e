"""To which checkpoint a training in trouble goes back."""

from ganservice.evaluation import Evaluation, Protocol
from ganservice.retention import good_checkpoint
from ganservice.spec import Start

STORED = {1_000: "jobs/a/1000.pt", 2_000: "jobs/a/2000.pt", 3_000: "jobs/a/3000.pt"}
START = Start(job_id="before", images=500, checkpoint="starts/s.pt", sha256="0")


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


def test_it_is_the_start_where_nothing_is_older_than_the_trouble() -> None:
    assert good_checkpoint(STORED, [], START, before_images=1_000) == (500, START.checkpoint)
    weights = START.model_copy(update={"weights_only": True})
    assert good_checkpoint({}, [], weights, before_images=1_000) == (0, START.checkpoint)
    assert good_checkpoint({}, [], None, before_images=1_000) == (0, "")
