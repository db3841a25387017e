"""What tests of every kind share."""

import pytest

from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec


@pytest.fixture(scope="session")
def spec() -> TrainSpec:
    """The smallest job worth asking for; `model_copy(update=...)` makes another of it."""
    return parse_spec(
        {
            "name": "tiny",
            "images": 64,
            "recipe": {
                "data": {"dataset": "digits", "image_size": 8, "channels": 1},
                "generator": {"kind": "mlp", "widths": [16]},
                "discriminator": {"kind": "mlp", "widths": [16]},
                "batch_size": 8,
            },
        },
        source="tests/conftest.py",
    )
