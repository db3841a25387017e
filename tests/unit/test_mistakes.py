from typing import Any

import pytest
from pydantic import ValidationError

from ganservice.mistakes import describe_mistake
from ganservice.spec import InceptionWeights, Judging


@pytest.mark.parametrize(
    ("judging", "expected"),
    [
        ({"samples": 3}, "samples: found 3, expected greater than or equal to 100"),
        ({"measures": ("beauty",)}, "measures.0: found \"beauty\", expected 'frechet', 'kernel', "),
        (
            {"weights": InceptionWeights(source="here", sha256="0" * 64)},
            "weights: expected together with network: inception_v3, and only then",
        ),
    ],
)
def test_a_mistake_says_what_was_found_and_what_was_expected(judging: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Judging(**judging)
    mistake, *_ = caught.value.errors()
    assert describe_mistake(".".join(map(str, mistake["loc"])), mistake).startswith(expected)
    assert "found" not in describe_mistake("key", mistake, shows_value=False)
