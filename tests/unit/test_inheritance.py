"""The tests inherit nothing of who runs them: they pass beside a stack of his own, too."""

import os
import subprocess
import sys
from pathlib import Path

from ganservice.stack_file import SETTINGS_FILE

LOOK = """
import tests.conftest, boto3
from ganservice.settings import Settings
settings = Settings()
print(settings.broker_url, settings.store_url, settings.store_access_key, settings.lease_s, settings.cache_dir)
print(boto3.Session().get_credentials(), boto3.Session().profile_name, boto3.Session().region_name)
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
    own = {
        "HOME": str(tmp_path),
        "GANSERVICE_LEASE_S": "77",
        "GANSERVICE_STORE_ACCESS_KEY": "own",
        "GANSERVICE_CACHE_DIR": str(tmp_path),
        "AWS_PROFILE": "own",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "AWS_", "GANSERVICE_"))}
    done = subprocess.run([sys.executable, "-c", LOOK], env=clean | own, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"None None None 30.0 {tmp_path}", "None default None"]
