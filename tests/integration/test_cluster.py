"""What a dispatcher is told that Ray does not let in."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from ganservice.settings import child_environment
from tests.conftest import wait_until
from tests.integration.ray_head import ray_head

# In a process of its own: one that has been a driver of a cluster keeps its token, and can be none of another.
OF_ANOTHER_RAY = """
import sys, ray
ray.__version__ = "2.59.0"
from ganservice.errors import ClusterUnreachable
from workers.dispatch.cluster import cluster
try:
    with cluster(sys.argv[1]):
        pass
except ClusterUnreachable as error:
    print(error)
"""


def test_a_dispatcher_of_another_ray_is_told_both_versions(tmp_path: Path) -> None:
    here, python = version("ray"), sys.version.split()[0]
    with ray_head(tmp_path) as head:

        def refusal() -> str:
            command = (sys.executable, "-c", OF_ANOTHER_RAY, head.address)
            environment = child_environment(**head.environment)
            return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout

        # A head that has only just come up refuses everybody.
        refused = wait_until(lambda: (said := refusal()) and "runs Ray" in said and said)
    expected = f"runs Ray {here} on Python {python}, and this is Ray 2.59.0 on Python {python}; "
    assert re.match(rf"the cluster at {head.address} {re.escape(expected)}", refused)
    assert "RAY_AUTH_TOKEN" not in refused
