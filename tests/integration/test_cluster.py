"""What a dispatcher is told that Ray does not let in."""

import re
import sys
from pathlib import Path

import pytest
import ray

from ganservice.errors import ClusterUnreachable
from tests.conftest import wait_until
from tests.integration.ray_head import ray_head
from workers.dispatch.cluster import cluster


def test_a_dispatcher_of_another_ray_is_told_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, python = ray.__version__, sys.version.split()[0]
    with ray_head(tmp_path) as head:
        for name, value in head.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ray, "__version__", "2.59.0")
        # A head that has only just come up refuses everybody.
        refused = wait_until(lambda: (said := refusal(head.address)) and "runs Ray" in said and said)
    expected = f"runs Ray {here} on Python {python}, and this is Ray 2.59.0 on Python {python}; "
    assert re.match(rf"the cluster at {head.address} {re.escape(expected)}", refused)
    assert "RAY_AUTH_TOKEN" not in refused


def refusal(address: str) -> str:
    try:
        with cluster(address):
            return ""
    except ClusterUnreachable as error:
        ray.shutdown()
        return str(error)
