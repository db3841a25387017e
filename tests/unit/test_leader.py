from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import Progress
from tests.integration.bundles import PROGRESS
from workers.attempt import leader


def report(history: list[Progress], images: int) -> list[Progress]:
    return [*leader.thin(history, 64, 5), PROGRESS.model_copy(update={"images": images})]


@given(st.integers(0, 400))
def test_of_many_reports_the_newest_are_all_kept_and_the_others_evenly(count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leader, "MOST_REPORTS", 20)
        first: list[Progress] = []
        histories = list(accumulate(range(0, 64 * count, 64), report, initial=first))
    for seen, history in enumerate(histories):
        images = [each.images for each in history]
        assert images[-5:] == list(range(0, 64 * seen, 64))[-5:]
        assert len(images) <= 20
        assert images[:1] == [0][:seen]
        assert images == sorted(set(images))
        gaps = {after - before for before, after in pairwise(images)}
        assert max(gaps, default=64) <= 64 * max(1, 4 * seen / 20), "nothing long ago is lost"


def test_a_watch_over_more_reports_than_are_kept_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "MOST_REPORTS", 20)
    history = [PROGRESS.model_copy(update={"images": 64 * at}) for at in range(30)]
    assert leader.thin(history, 64, 50) == history
