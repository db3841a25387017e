from typing import Any

import pytest
from pydantic import ValidationError

from ganservice.cli.evaluate import evaluate_command
from ganservice.errors import RequestError
from ganservice.judging import Judging, NetworkWeights
from ganservice.mistakes import describe_mistake
from ganservice.recipe import Pictures


@pytest.mark.parametrize(
    ("judging", "expected"),
    [
        ({"samples": 3}, "samples: found 3, expected greater than or equal to 100"),
        ({"measures": ("beauty",)}, "measures.0: found \"beauty\", expected 'frechet', 'kernel', "),
        (
            {"weights": NetworkWeights(source="here", sha256="0" * 64)},
            "weights: expected together with network: inception_v3 or onnx, and only then",
        ),
    ],
)
def test_a_mistake_says_what_was_found_and_what_was_expected(judging: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Judging(**judging)
    mistake, *_ = caught.value.errors()
    assert describe_mistake(".".join(map(str, mistake["loc"])), mistake).startswith(expected)
    assert "found" not in describe_mistake("key", mistake, shows_value=False)


def test_a_number_in_the_place_of_a_text_is_told_in_quotes() -> None:
    with pytest.raises(ValidationError) as caught:
        Pictures.model_validate({"dataset": "digits", "image_size": 8, "channels": 1, "only": [5]})
    mistake, *_ = caught.value.errors()
    assert describe_mistake("only.0", mistake) == 'only.0: found 5, expected a valid string, such as "5"'


def test_a_key_that_is_not_there_is_missing() -> None:
    with pytest.raises(ValidationError) as caught:
        NetworkWeights.model_validate({"source": "here"})
    [mistake] = caught.value.errors()
    assert describe_mistake("weights.sha256", mistake) == "weights.sha256 is missing"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x" * 5_000, "source: found .*, expected at most 1000 characters"),
        ("\udced\udca0", "source: found .*, expected a valid string"),
    ],
)
def test_weights_from_a_place_that_none_can_have_are_a_mistake_of_who_typed_it(
    source: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in (("BROKER", "redis://127.0.0.1:9"), ("STORE", "http://127.0.0.1:9/b")):
        monkeypatch.setenv(f"GANSERVICE_{name}_URL", url)
    words = ["a", "--network", "inception_v3", "--weights", source, "--sha256", "0" * 64]
    with pytest.raises(RequestError, match=expected):
        evaluate_command.main(words, standalone_mode=False)
