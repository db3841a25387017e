"""What a dispatcher does when it cannot go on."""

import subprocess
import sys

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
