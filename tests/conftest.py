"""What tests of every kind share."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec

# Tests run side by side, one for each core: threads of torch that wait for each other would stand in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"

# How long an example takes says more about the machine's load than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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


def wait_until(ask: Callable[[], Any], within_s: float = 20.0) -> Any:
    """The first true answer of `ask`; fails if none comes in time."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r} after {within_s:g} s"
        time.sleep(0.01)
    return answer


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """eventually(ask): the first true answer of `ask`; the test fails if none comes."""
    return wait_until
