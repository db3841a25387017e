import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workers.gan.latent import lerp, slerp, walk

VECTORS = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3).map(torch.tensor)


@given(start=VECTORS, end=VECTORS, share=st.floats(0, 1))
def test_slerp_goes_from_end_to_end_and_its_length_between_theirs(start: Tensor, end: Tensor, share: float) -> None:
    found = slerp(start, end, share)
    assert found.isfinite().all()
    torch.testing.assert_close(slerp(start, end, 0.0), start, rtol=0, atol=1e-4)
    torch.testing.assert_close(slerp(start, end, 1.0), end, rtol=0, atol=1e-4)
    if min(start.norm(), end.norm()) > 1e-3:
        expected = (1 - share) * start.norm() + share * end.norm()
        torch.testing.assert_close(found.norm(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ([1.0, 0.0], [0.0, 1.0], [math.sqrt(0.5), math.sqrt(0.5)]),
        ([2.0, 0.0], [0.0, 4.0], [3 * math.sqrt(0.5), 3 * math.sqrt(0.5)]),
        ([1.0, 0.0], [3.0, 0.0], [2.0, 0.0]),  # parallel: straight on
        ([0.0, 0.0], [0.0, 1.0], [0.0, 0.5]),  # from zero there is no direction
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
        ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]),  # opposite: by a half circle, not through zero
    ],
)
def test_the_middle_of_a_slerp(start: list[float], end: list[float], middle: list[float]) -> None:
    torch.testing.assert_close(slerp(torch.tensor(start), torch.tensor(end), 0.5), torch.tensor(middle))


def test_one_number_has_no_circle() -> None:
    assert slerp(torch.tensor([1.0]), torch.tensor([-1.0]), 0.5).item() == 0


def test_a_walk_visits_every_point() -> None:
    points = torch.randn(4, 8)
    walked = walk(points, 5, lerp)
    assert walked.shape == (16, 8)
    torch.testing.assert_close(walked[::5], points)
