"""The client of S3, as this project sets it up: quick to say that a store is away, and never sent elsewhere."""

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    InvalidRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from ganservice.errors import SettingsInvalid
from ganservice.proxies import proxies_of
from ganservice.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A store that says nothing for so long after a request, of a part at most, does not answer.
SILENCE_S = 30.0
# As above, for what a person waits for.
HASTY_SILENCE_S = 8.0


def s3_client(settings: Settings, endpoint: str, *, in_haste: bool = False) -> "S3Client":
    """A client of S3 for `endpoint`; one in haste gives up on a silent store soon, and does not try it again.

    Raises:
        SettingsInvalid: boto3 finds fault with what it is given, or with the user's AWS configuration.
    """
    secret = settings.store_secret_key
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=3 if in_haste else 5,
        read_timeout=HASTY_SILENCE_S if in_haste else SILENCE_S,
        # One try more bridges what is over in a second; who waits out an outage wants to hear of it soon.
        retries={"mode": "standard", "total_max_attempts": 2},
        proxies=proxies_of(endpoint),
        # Checksums beyond S3's first ones are not understood by every server; we keep our own sha256.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=settings.store_access_key,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=settings.store_region,
            config=config,
        )
    except PartialCredentialsError as error:
        raise SettingsInvalid(
            "GANSERVICE_STORE_ACCESS_KEY and GANSERVICE_STORE_SECRET_KEY: one is set without the other; set both, or "
            "neither for the usual AWS chain"
        ) from error
    except InvalidRegionError as error:
        # What stands there instead may be an address with a password in it.
        raise SettingsInvalid(
            "GANSERVICE_STORE_REGION: is no name of a region; expected one such as eu-central-1, letters, digits and "
            "hyphens"
        ) from error
    except (BotoCoreError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsInvalid(
            f"the store at {endpoint} cannot be asked ({reason}); look at GANSERVICE_STORE_URL and _REGION, "
            "and without keys there at AWS_PROFILE and the AWS configuration"
        ) from error
    # boto3 follows a redirect by asking for the bucket's region, and that answer's redirect again, without an end.
    client.meta.events.register_first("needs-retry.s3", _stop_at_redirect)
    if in_haste:
        client.meta.events.register_first("needs-retry.s3", _stop_at_silence)
    return client


def _stop_at_redirect(response: Any, operation: Any, **_: Any) -> None:
    if response is not None and 300 <= response[0].status_code < 400:
        raise ClientError(response[1], operation.name)


def _stop_at_silence(caught_exception: Exception | None, **_: Any) -> None:
    if isinstance(caught_exception, (ConnectTimeoutError, ReadTimeoutError)):
        raise caught_exception
