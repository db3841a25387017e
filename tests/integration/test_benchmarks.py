"""The benchmark as it is run: on servers of its own, whatever is configured, each part once with tiny sizes."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from ganservice.settings import Settings
from tests.benchmarks import __main__ as benchmark
from tests.benchmarks.servers import own_servers
from tests.lifetime import bound

# It takes a whole stack: tests/acceptance/test_benchmarks.py.
OF_A_STACK = "first_step"


def test_it_asks_its_own_broker_where_a_stack_is_configured(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users = settings.require_broker()
    (tmp_path / "settings.json").write_text(f'{{"broker_url": "{users}", "store_url": "http://127.0.0.1:1/users"}}')
    monkeypatch.setenv("GANSERVICE_BROKER_URL", users)
    monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:1/users")
    before = dict(os.environ)
    with own_servers("broker", "store") as own:
        assert own.require_broker() != users
        assert own.require_store() != "http://127.0.0.1:1/users"
        assert Settings().require_broker() == own.require_broker(), "what it starts must ask the same"
        client = redis.Redis.from_url(own.require_broker())
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        folder, pid = own.state_dir, client.info("server")["process_id"]
        client.close()
    assert dict(os.environ) == before
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_every_part_runs_and_no_peer_fails() -> None:
    parts = {*benchmark.PARTS, *benchmark.BY_NAME} - {OF_A_STACK}
    command = [sys.executable, "-m", "tests.benchmarks", *sorted(parts), "--tiny", "--seconds", "4"]
    done = subprocess.run(bound(command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert {line.split()[1] for line in lines} == parts


def test_a_part_that_is_none_is_refused_in_a_line() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "job"]
    done = subprocess.run(bound(command), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: no part is called job; there are training, jobs," in done.stderr
