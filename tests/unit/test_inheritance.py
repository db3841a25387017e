"""The tests inherit nothing of who runs them: they pass beside a stack of his own, too."""

import os
import subprocess
import sys
from pathlib import Path

from ganservice.stack_file import SETTINGS_FILE

LOOK = """
import boto3
from ganservice.settings import Settings

def test_look(capsys):
    found, session = Settings(), boto3.Session()
    with capsys.disabled():
        print()
        print("found", found.broker_url, found.store_url, found.store_access_key, found.lease_s, found.cache_dir)
        print("found", session.get_credentials(), session.profile_name, session.region_name)
"""


def test_neither_a_stack_nor_settings_nor_keys_of_the_cloud_reach_the_tests(tmp_path: Path) -> None:
    state = tmp_path / ".local" / "state" / "ganservice"
    state.mkdir(parents=True)
    (state / SETTINGS_FILE).write_text(
        '{"broker_url": "redis://127.0.0.1:1", "store_url": "http://127.0.0.1:1/gan", "store_access_key": "own"}'
    )
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[own]\naws_access_key_id = own\naws_secret_access_key = own\n")
    (tmp_path / ".aws" / "config").write_text("[profile own]\nregion = eu-west-1\n")
    (tmp_path / "test_look.py").write_text(LOOK)
    own = {
        "HOME": str(tmp_path),
        "GANSERVICE_LEASE_S": "77",
        "GANSERVICE_STORE_ACCESS_KEY": "own",
        "GANSERVICE_CACHE_DIR": str(tmp_path),
        "AWS_PROFILE": "own",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "AWS_", "GANSERVICE_"))}
    # As the tests are run, with what their conftest sets up.
    run = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*run, "-c", "pyproject.toml", str(tmp_path / "test_look.py")],
        env=clean | own, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.removeprefix("found ") for line in done.stdout.splitlines() if line.startswith("found ")]
    assert found == [f"None None None 30.0 {tmp_path}", "None default None"]
