"""What values-cloud.yaml has a cluster do at its installation, on a cloud on loopback."""

import os
import subprocess
import sys
from pathlib import Path

from ganservice.roles import NAMES, Role
from tests.deploy.chart import containers, render, values_of
from tests.integration.aws import REGION, aws
from tests.integration.broker import running

[EXPORTER] = [name for name, role in NAMES.items() if role is Role.EXPORTER]


def test_the_bucket_is_found_by_a_role_without_keys_and_redis_by_the_least_rights(tmp_path: Path) -> None:
    [container] = containers(render(values_of("values-cloud.yaml")), "bucket")
    (tmp_path / "token").write_text("of the service account")
    # The fourth request takes the role.
    with aws(unchecked_requests=4) as cloud, running("valkey", tmp_path) as broker:
        cloud.make_bucket()
        secret = {
            "exporter-broker-url": broker.url_of(EXPORTER),
            "store-url": f"{cloud.url}/gan",
        }
        environment = {
            each["name"]: each["value"] if "value" in each else secret[each["valueFrom"]["secretKeyRef"]["key"]]
            for each in container["env"]
        }
        assert environment["GANSERVICE_STORE_REGION"] == REGION
        # As the cloud puts them into a pod whose account has a role.
        role = {
            "AWS_ROLE_ARN": cloud.make_role(Role.EXPORTER),
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ENDPOINT_URL_STS": cloud.url,
        }
        machine = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(
            container["command"], env=machine | environment | role, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("works, external") == 2
