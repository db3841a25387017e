"""S3, IAM and STS of AWS as moto answers for them, on loopback, with rights that are checked."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from ganservice.roles import STORE_KEYS, Role
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.lifetime import bound

REGION = "eu-central-1"
# Flask would call an empty answer a page of HTML, which S3 does not.
MOTO = """
import sys, flask, moto.server
flask.Response.default_mimetype = "application/xml"
moto.server.main(sys.argv[1:])
"""
READ, WRITE = ["s3:GetObject"], ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
# AWS lets whoever may list a bucket ask for it, too; moto has its own name for that.
LIST = ["s3:ListBucket", "s3:HeadBucket"]


def policy(role: Role) -> str:
    """What docs/operating.md gives a role at the store."""
    objects = "arn:aws:s3:::gan/"
    rights = [(LIST, ["arn:aws:s3:::gan"]), (READ, [f"{objects}*"])]
    if STORE_KEYS[role]:
        rights.append((WRITE, [f"{objects}{key}*" for key in STORE_KEYS[role]]))
    statements = [{"Effect": "Allow", "Action": actions, "Resource": where} for actions, where in rights]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@dataclass(frozen=True)
class Aws:
    """Where AWS answers in this test."""

    url: str

    def client(self, service: str) -> Any:
        """A client of one service, with every right for as long as none is checked."""
        session: Any = boto3.Session()  # whose type knows the services that the tests of others take, by name
        return session.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="any", aws_secret_access_key="any"
        )

    def make_bucket(self, region: str = REGION) -> None:
        """Make the bucket `gan`."""
        self.client("s3").create_bucket(Bucket="gan", CreateBucketConfiguration={"LocationConstraint": region})

    def make_user(self) -> Settings:
        """A user with the rights of an operator: three requests."""
        iam = self.client("iam")
        iam.create_user(UserName="gan")
        iam.put_user_policy(UserName="gan", PolicyName="gan", PolicyDocument=policy(Role.OPERATOR))
        key = iam.create_access_key(UserName="gan")["AccessKey"]
        return self.settings(store_access_key=key["AccessKeyId"], store_secret_key=key["SecretAccessKey"])

    def make_role(self, role: Role = Role.OPERATOR) -> str:
        """A role of AWS with the rights of one of ours, by its name there: two requests."""
        iam = self.client("iam")
        arn: str = iam.create_role(RoleName="gan", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        iam.put_role_policy(RoleName="gan", PolicyName="gan", PolicyDocument=policy(role))
        return arn

    def settings(self, **changes: Any) -> Settings:
        """Of the bucket `gan` there."""
        return Settings(store_url=f"{self.url}/gan", **{"store_region": REGION} | changes)


@contextmanager
def aws(unchecked_requests: int) -> Iterator[Aws]:
    """AWS, which checks nobody's rights in its first requests; what it was asked is told with what fails inside."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(unchecked_requests)}
    command = bound([sys.executable, "-c", MOTO, "-H", "127.0.0.1", "-p", str(port)])
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

        def listens() -> bool:
            assert process.poll() is None, "moto does not start; `pip install ganservice[dev]` brings it"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                return False
            return True

        try:
            wait_until(listens)
            yield Aws(f"http://127.0.0.1:{port}")
        except BaseException as error:
            log.seek(0)
            error.add_note(f"moto, of which {unchecked_requests} requests were unchecked:\n{log.read()}")
            raise
        finally:
            process.terminate()
            process.wait(timeout=60)
