"""The least rights that docs/operating.md names suffice: on SeaweedFS, and on AWS as moto has it."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from ganservice.embedded.stack import Stack
from ganservice.errors import OutageKind, SettingsInvalid, StoreOutage
from ganservice.objects import PART_BYTES, ObjectStore
from ganservice.probes import check_store, store_warnings
from ganservice.roles import Role, store_actions
from ganservice.settings import Settings
from tests.integration.aws import LIST, READ, REGION, WRITE, aws
from tests.integration.store import Store
from tests.integration.strangers import http_server


def use(settings: Settings) -> None:
    """All that is done to a store; the bucket is there."""
    objects = ObjectStore(settings)
    objects.create_bucket()
    check_store(objects)
    assert all("s3:ListBucketMultipartUploads" in warning for warning in store_warnings(objects))
    objects.put("large", bytes(PART_BYTES + 1))
    assert [found.key for found in objects.list_objects("")] == ["large"]
    objects.abort_uploads("")
    objects.delete("large")


def examine_by_doctor(settings: Settings) -> str:
    store_alone = settings.model_copy(update={"broker_url": None, "ray_address": None})
    [store] = [each for each in Stack(store_alone).examine() if each.part == "store"]
    return store.state


def test_the_rights_in_the_handbook_are_those_of_the_tests() -> None:
    handbook = Path("docs/operating.md").read_text()
    [text] = re.findall(r"^### Rights at the store$(.*?)^### ", handbook, re.MULTILINE | re.DOTALL)
    # Without the right that is taken off here, old uploads stay.
    assert set(re.findall(r"s3:\w+", text)) - {"s3:ListBucketMultipartUploads"} == {*READ, *WRITE, LIST[0]}


def test_seaweedfs_takes_a_user_who_may_make_no_bucket(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config = tmp_path / "store" / "s3.json"
    identities = json.loads(config.read_text())
    keys = {"accessKey": "limited", "secretKey": "secret"}
    actions = store_actions(Role.OPERATOR, "gan")
    identities["identities"].append({"name": "limited", "credentials": [keys], "actions": actions})
    config.write_text(json.dumps(identities))
    limited = store.settings.model_copy(
        update={"store_access_key": "limited", "store_secret_key": SecretStr("secret"), "store_region": REGION}
    )
    try:
        store.start()
        use(limited)
        assert examine_by_doctor(limited) == "works, external"
        elsewhere = limited.model_copy(update={"store_url": limited.require_store().replace("/gan", "/other")})
        with pytest.raises(StoreOutage) as refused:
            ObjectStore(elsewhere).create_bucket()
        assert refused.value.kind is OutageKind.REFUSED
    finally:
        store.kill()


def test_aws_takes_a_user_who_may_make_no_bucket() -> None:
    with aws(unchecked_requests=4) as cloud:
        cloud.make_bucket()
        limited = cloud.make_user()
        use(limited)
        assert examine_by_doctor(limited) == "works, external"
        with pytest.raises(StoreOutage) as refused:
            ObjectStore(limited.model_copy(update={"store_url": f"{cloud.url}/other"})).create_bucket()
        assert refused.value.kind is OutageKind.REFUSED


@pytest.mark.parametrize("region", ["us-east-1", REGION])
def test_a_bucket_is_made_in_the_region_of_the_settings(region: str) -> None:
    with aws(unchecked_requests=100) as cloud:
        ObjectStore(cloud.settings(store_region=region, store_access_key="any", store_secret_key="any")).create_bucket()
        found = cloud.client("s3").get_bucket_location(Bucket="gan")["LocationConstraint"]
    assert (found or "us-east-1") == region


def test_a_bucket_in_another_region_is_a_wrong_setting() -> None:
    with http_server(301, headers={"x-amz-bucket-region": "eu-west-1"}) as url:
        objects = ObjectStore(
            Settings(store_url=f"{url}/gan", store_region=REGION, store_access_key="a", store_secret_key=SecretStr("b"))
        )
        with pytest.raises(SettingsInvalid, match=r"GANSERVICE_STORE_REGION.*set it to eu-west-1"):
            objects.create_bucket()


def test_a_role_of_the_cloud_opens_the_bucket_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pods have one by an annotated service account: the cloud puts a token and two variables into each of them."""
    # The fourth request takes the role, by the token alone.
    with aws(unchecked_requests=4) as cloud:
        cloud.make_bucket()
        role = cloud.make_role()
        (tmp_path / "token").write_text("of the service account")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ROLE_ARN", role)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
        use(cloud.settings())
