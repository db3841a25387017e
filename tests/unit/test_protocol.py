"""Which numbers compare, and which checkpoint they choose."""

import re

import pytest
from pydantic import ValidationError

from ganservice.cli.show import evaluation_lines
from ganservice.errors import SpecInvalid
from ganservice.evaluation import (
    BY_CLASS,
    QUALITY_NUMBER,
    VERSION,
    Evaluation,
    Protocol,
    best_of,
    full_name,
    name_pattern,
    quality_front,
)
from ganservice.judging import FILED_NETWORKS, Judging, NetworkWeights, Scaling
from ganservice.spec import EvaluateSpec, Resources, Subject, TrainSpec
from ganservice.spec_file import parse_spec

PROTOCOL = Protocol(
    data_digest="d", only=None, split="train", real=60_000, network="classifier", network_digest="n", resize="none",
    samples=10_000, seed=0, truncation=None, neighbours=5, block=1_000,
)  # fmt: skip


def found(images: int, distance: float | None, protocol: Protocol = PROTOCOL, at: float = 0.0) -> Evaluation:
    return Evaluation(
        job_id="tiny-1", images=images, checkpoint="c", protocol=protocol, errors={}, seconds=1.0, at=at, by="e",
        measures={"classifier_frechet_distance": distance},
    )  # fmt: skip


def test_every_key_of_a_protocol_changes_its_digest() -> None:
    other = PROTOCOL.model_copy(update={"samples": 5_000, "network_digest": "m"})
    assert other.digest != PROTOCOL.digest
    assert PROTOCOL.differences(other) == {"network_digest": ("n", "m"), "samples": (10_000, 5_000)}
    assert PROTOCOL.differences(PROTOCOL) == {}
    for key, value in PROTOCOL.model_dump().items():
        changed = {bool: not value, int: 7, float: 0.5, str: "x", type(None): 0.5}[type(value)]
        if key != "only":
            assert PROTOCOL.model_copy(update={key: changed}).digest != PROTOCOL.digest, key


def test_digests_stay_what_they_were() -> None:
    """Numbers in a queue of before still compare with one another."""
    before = PROTOCOL.model_copy(update={"version": 3})
    assert before.digest == "39ccec7eeaf6"
    assert before.model_copy(update={"network_precision": "bf16"}).digest == "e362204824ee"
    assert PROTOCOL.digest != before.digest


# As the queue of an earlier release holds it.
OF_VERSION_3 = """{
    "job_id": "tiny-1", "images": 10, "attempt": 1, "checkpoint": "c", "protocol": {
        "version": 3, "data_digest": "d", "only": null, "split": "train", "real": 60000, "network": "classifier",
        "network_digest": "n", "network_precision": "fp32", "resize": "none", "quantisation": "uint8",
        "samples": 10000, "seed": 0, "truncation": null, "neighbours": 5, "block": 1000
    },
    "measures": {"classifier_frechet_distance": 0.1, "classifier_gan_test_accuracy": 0.9}, "errors": {},
    "class_accuracies": {"a": 0.9, "b": null}, "seconds": 1.0, "at": 9.0, "by": "e", "pictures": {}, "generator": null
}"""


def test_an_evaluation_of_an_earlier_version_is_read_and_compares_with_none_of_now() -> None:
    older = Evaluation.model_validate_json(OF_VERSION_3)
    assert older.class_texts == {"a": ("90.0%", "", ""), "b": ("", "", "")}
    same_but_for_the_code = older.protocol.model_copy(update={"version": VERSION})
    newer = [found(images, 5.0, same_but_for_the_code, at=images) for images in (10, 20)]
    assert newer[0].protocol.differences(older.protocol) == {"version": (4, 3)}
    assert not newer[0].replaces(older)
    assert newer[0].with_older([older]) == newer[0]
    assert best_of([older, *newer]) == newer[1]
    assert quality_front([older, *newer]) == {10}


def test_a_number_is_named_after_its_network_but_for_those_the_field_has_names_for() -> None:
    distances = [full_name(QUALITY_NUMBER, network) for network in ("classifier", "efficientnet_lite0", "inception_v3")]
    assert distances == ["classifier_frechet_distance", "efficientnet_lite0_frechet_distance", "fid"]
    field = [full_name(number, "inception_v3") for number in ("kernel_distance", "score", "precision")]
    assert field == ["kid", "inception_score", "inception_v3_precision"]
    assert all(re.fullmatch(name_pattern(QUALITY_NUMBER), name) for name in distances)
    others = ("kid", "inception_v3_recall", "classifier_kernel_distance")
    assert not any(re.fullmatch(name_pattern(QUALITY_NUMBER), name) for name in others)


def test_the_best_has_the_least_distance_and_of_equals_more_images() -> None:
    evaluations = [found(10, 5.0), found(20, 3.0), found(30, 3.0), found(40, None)]
    best = best_of(evaluations)
    assert best
    assert best.images == 30
    assert best_of([]) is None


def test_a_look_under_another_protocol_chooses_nothing() -> None:
    other = PROTOCOL.model_copy(update={"samples": 100})
    evaluations = [found(10, 5.0), found(20, 6.0), found(30, 0.1, other, at=9.0)]
    best = best_of(evaluations)
    assert best
    assert best.images == 10
    # Of two protocols used as often, the later one counts.
    assert best_of([found(10, 5.0), found(30, 8.0, other, at=9.0)]) == found(30, 8.0, other, at=9.0)


def test_what_is_advisory_chooses_nothing_where_anything_else_does() -> None:
    other = PROTOCOL.model_copy(update={"network": "pixels"})

    def advisory(images: int, distance: float) -> Evaluation:
        measures = {"pixels_frechet_distance": distance}
        return found(images, None, other, at=9.0).model_copy(update={"advisory": True, "measures": measures})

    further = [advisory(images, 1.0 / images) for images in (10, 20, 30)]
    assert best_of([*further, found(10, 5.0), found(20, 6.0)]) == found(10, 5.0)
    assert best_of(further) == further[-1]
    # Asked for by hand, the same numbers count as any others'.
    by_hand = [each.model_copy(update={"advisory": False}) for each in further]
    assert best_of([*by_hand, found(10, 5.0), found(20, 6.0)]) == by_hand[-1]


def test_the_quality_front_is_every_checkpoint_that_was_the_best_so_far() -> None:
    evaluations = [found(10, 9.0), found(20, 7.0), found(30, 8.0), found(40, 6.0), found(50, 6.5)]
    assert quality_front(evaluations) == {10, 20, 40}
    assert quality_front([]) == set()


def test_the_same_checkpoint_under_the_same_protocol_is_evaluated_anew() -> None:
    assert found(10, 5.0).replaces(found(10, 6.0, at=3.0))
    assert not found(10, 5.0).replaces(found(20, 5.0))
    assert not found(10, 5.0).replaces(found(10, 5.0, PROTOCOL.model_copy(update={"samples": 100})))


def test_a_number_is_shown_with_its_error() -> None:
    evaluation = found(10, 5.0).model_copy(update={"measures": {"kid": 0.01234, "x": None}, "errors": {"kid": 0.0011}})
    assert [evaluation.text(name) for name in ("kid", "x", "y")] == ["0.01234 +- 0.0011", "", ""]


def test_an_evaluation_is_the_best_in_the_place_of_the_one_it_replaces() -> None:
    known = [found(10, 5.0), found(20, 3.0)]
    assert found(30, 2.0).is_best_among(known)
    assert not found(30, 4.0).is_best_among(known)
    assert found(20, 4.0).is_best_among(known)
    assert not found(20, 6.0).is_best_among(known)
    assert not found(30, None).is_best_among(known)


# What can be asked for


def evaluated(spec: TrainSpec, **evaluate: object) -> TrainSpec:
    tree = spec.model_dump(mode="json") | {"evaluate": evaluate}
    return parse_spec(tree, "here")


def test_a_training_says_how_it_is_evaluated(spec: TrainSpec) -> None:
    asked = evaluated(spec, every_images=100_000, judging={"samples": 500, "measures": ["frechet"]}).evaluate
    assert asked
    assert (asked.every_images, asked.judging.samples, asked.judging.network) == (100_000, 500, "classifier")


@pytest.mark.parametrize(
    ("evaluate", "expected"),
    [
        ({"every_images": 70_000}, "multiple of checkpoints.every_images = 50000"),
        ({"resources": {"workers": 2}}, "evaluate.resources.workers: found 2; an evaluation has one worker"),
        ({"judging": {"network": "inception_v3"}}, "weights: expected together with network: inception_v3 or onnx"),
        ({"judging": {"network": "onnx"}}, "evaluate.judging.weights: expected together with network"),
        (
            {"judging": {"network": "pixels", "scaling": {}}},
            "evaluate.judging.scaling: is for network: onnx; pixels has",
        ),
        ({"also": ["vgg"]}, "evaluate.also.0.network: found .vgg., expected"),
        ({"also": [{"network": "pixels", "measure": 1}]}, "unknown key evaluate.also.0.measure; did you mean"),
        ({"also": [{"network": "pixels", "measures": ["kernel"]}]}, "evaluate.also.measures: expected frechet"),
        ({"also": ["pixels", "pixels"]}, "evaluate.also: found pixels twice, or as in judging"),
        ({"also": ["classifier"]}, "evaluate.also: found classifier twice, or as in judging"),
        (
            {
                "also": [
                    {"network": "onnx", "weights": {"source": "a", "sha256": "0" * 64}, "scaling": {"mean": [1, 2]}}
                ]
            },
            r"evaluate.also.0.scaling.mean: found 2 numbers, expected 1 or 3",
        ),
        ({"judging": {"samples": 10}}, "evaluate.judging.samples: found 10"),
        ({"judging": {"network": "vgg"}}, "evaluate.judging.network"),
        ({"every_image": 1}, "unknown key evaluate.every_image; did you mean evaluate.every_images"),
    ],
)
def test_mistakes_in_what_is_asked(spec: TrainSpec, evaluate: dict[str, object], expected: str) -> None:
    with pytest.raises(SpecInvalid, match=expected):
        evaluated(spec, **evaluate)


def test_a_mixture_is_not_evaluated() -> None:
    recipe = {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1},
        "generator": {"kind": "mlp"},
        "discriminator": {"kind": "mlp"},
    }
    with pytest.raises(SpecInvalid, match="evaluate: is for pictures"):
        parse_spec({"name": "ring", "images": 64, "recipe": recipe, "evaluate": {}}, "here")


def test_further_judges_look_at_the_same_pictures(spec: TrainSpec) -> None:
    weights = {"source": "here", "sha256": "0" * 64}
    own = {"network": "onnx", "weights": weights, "measures": ["frechet", "manifolds"], "scaling": {"std": [0.5]}}
    asked = evaluated(spec, judging={"samples": 500, "seed": 3}, also=["pixels", own]).evaluate
    assert asked
    first, second, third = asked.judgings
    assert first == asked.judging
    assert (second.network, second.measures, second.samples, second.seed) == ("pixels", ("frechet",), 500, 3)
    assert (third.network, third.measures, third.samples) == ("onnx", ("frechet", "manifolds"), 500)
    assert third.weights == NetworkWeights(source="here", sha256="0" * 64)
    assert third.scaling == Scaling(std=(0.5,))
    assert Judging.model_validate(third.model_dump()) == third


def test_weights_come_with_networks_in_files_only() -> None:
    weights = NetworkWeights(source="here", sha256="0" * 64)
    for network in FILED_NETWORKS:
        assert Judging(network=network, weights=weights).weights == weights
    with pytest.raises(ValidationError, match="and only then"):
        Judging(weights=weights)


def test_an_evaluation_has_one_worker(spec: TrainSpec) -> None:
    subject = Subject(job_id="tiny-1", images=64, checkpoint="c")
    two = Resources(workers=2)
    with pytest.raises(ValidationError, match="an evaluation has one worker"):
        EvaluateSpec(name="e", subject=subject, recipe=spec.recipe, judging=Judging(), resources=two)


def test_without_its_distance_an_evaluation_chooses_nothing() -> None:
    assert best_of([found(10, None)]) is None
    best = best_of([found(10, 5.0), found(20, None), found(30, None)])
    assert best
    assert best.images == 10


def test_a_class_is_told_of_by_its_numbers_and_by_the_pictures_that_speak_for_them() -> None:
    by_class = {
        "class_accuracies": {"a": 0.5},
        "class_frechet_distances": {"a": 12.3456, "b": None},
        "class_pictures": {"a": (1_000, 24_000), "b": (1_000, 1)},
    }
    assert found(10, 5.0).model_copy(update=by_class).class_texts == {
        "a": ("50.0%", "12.35", "1,000 beside 24,000 real"),
        "b": ("", "", "1,000 beside 1 real"),
    }
    assert found(10, 5.0).class_texts == {}


def test_show_says_what_is_not_known_and_is_silent_on_classes_of_which_nothing_is() -> None:
    of_classes = {"class_accuracies": {"a": 0.5, "b": None}, "class_frechet_distances": {"b": None}}
    lines = evaluation_lines([found(10, None).model_copy(update=of_classes)], [])
    assert [*lines][1:] == ["  classifier_frechet_distance: ?", "  a: agreement 50.0%"]
    lines = evaluation_lines([found(10, None).model_copy(update={"measures": {}})], [])
    assert [*lines][1:] == ["  no numbers, for what they need is not there; see `ganctl logs e`"]


def test_a_later_look_adds_to_what_was_measured() -> None:
    by_class = {"class_accuracies": {"a": 0.5}, "class_frechet_distances": {"a": 2.0}, "class_pictures": {"a": (9, 9)}}
    older = found(10, 5.0).model_copy(update=by_class)
    newer = found(10, None).model_copy(update={"measures": {"classifier_support": 9.0}})
    elsewhere = older.model_copy(update={"checkpoint": "another"})
    assert newer.with_older([elsewhere]) == newer
    both = newer.with_older([older])
    assert both.measures == {"classifier_frechet_distance": 5.0, "classifier_support": 9.0}
    assert {name: getattr(both, name) for name in BY_CLASS} == by_class


def test_a_training_must_measure_what_chooses_its_best(spec: TrainSpec) -> None:
    with pytest.raises(SpecInvalid, match="frechet among them"):
        evaluated(spec, judging={"measures": ["birthdays"]})
