"""What a dispatcher is told that Ray does not let in."""

import re
import sys
from pathlib import Path

import pytest
import ray

from ganservice.errors import ClusterUnreachable
from tests.integration.ray_head import ray_head
from workers.dispatch.cluster import cluster


def test_a_dispatcher_of_another_ray_is_told_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, python = ray.__version__, sys.version.split()[0]
    with ray_head(tmp_path) as head:
        for name, value in head.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ray, "__version__", "2.59.0")
        with pytest.raises(ClusterUnreachable) as refused, cluster(head.address):
            pass
    expected = f"runs Ray {here} on Python {python}, and this is Ray 2.59.0 on Python {python}; "
    assert re.match(rf"the cluster at {head.address} {re.escape(expected)}", str(refused.value))
    assert "RAY_AUTH_TOKEN" not in str(refused.value)
