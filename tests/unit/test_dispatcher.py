"""What a dispatcher does when it cannot go on, and what it tells of it."""

import logging
import subprocess
import sys

import pytest

from ganservice.errors import BrokerOutage, JobUnreadable, LeadershipLost, OutageKind
from workers.dispatch.pace import rest_s
from workers.dispatch.troubles import LONGEST_PAUSE_S, Troubles

HANGING = """
import threading, time
from ganservice.settings import Settings
from workers.dispatch import dispatcher
from workers.dispatch.cluster import RayCluster

class Hanging(dispatcher.Dispatcher):
    def tick(self):
        time.sleep(3600)

dispatcher.STUCK_S = 0.5
Hanging(Settings(broker_url="redis://127.0.0.1:9/0"), RayCluster()).run(threading.Event())
"""


def test_a_dispatcher_that_hangs_ends_itself_and_says_where() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "in tick" in done.stderr


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def fail_by(error: Exception) -> None:
    raise error


def test_errors_of_one_kind_are_told_once(told: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for error in (ValueError("one"), ValueError("two"), JobUnreadable("three")):
        with troubles.contained("settling a gang"):
            fail_by(error)
    with troubles.contained("adopting a gang"):
        fail_by(ValueError("four"))
    assert told.messages == ["settling a gang: one", "settling a gang: three", "adopting a gang: four"]
    # What an operator can mend is one line.
    assert [record.exc_info is None or not record.exc_info for record in told.records] == [False, True, False]


@pytest.mark.parametrize("error", [BrokerOutage("away"), LeadershipLost("another leads")])
def test_what_concerns_everybody_is_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)), Troubles().contained("settling a gang"):
        raise error


def test_an_outage_is_told_when_it_begins_changes_and_ends(told: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    troubles.end()
    away, full = BrokerOutage("away"), BrokerOutage("full", OutageKind.FULL)
    pauses = [troubles.begin(away) for _ in range(30)]
    assert pauses[0] < 1 < pauses[-1] <= LONGEST_PAUSE_S
    troubles.begin(full)
    troubles.end()
    troubles.end()
    assert told.messages == ["away; waiting for it", "full; waiting for it", "it is well again after 0 s"]
    assert troubles.begin(away) < 1, "the next outage begins anew"


@pytest.mark.parametrize(("took_s", "expected_s"), [(0.002, 0.04), (0.2, 4.0), (15.0, 5.0), (3600.0, 5.0)])
def test_a_slow_answer_holds_nobody_up_for_long(took_s: float, expected_s: float) -> None:
    """Fifteen seconds are three time-outs of a Redis that was frozen."""
    assert rest_s(took_s, share=0.05, longest_s=5.0) == pytest.approx(expected_s)
