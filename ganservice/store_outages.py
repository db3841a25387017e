"""Errors of botocore, and what a store says no with, in our words: an outage of some kind, or a wrong setting."""

import re
from typing import Any

from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError

from ganservice.addresses import hide_secrets
from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    GanServiceError,
    OutageKind,
    SettingsInvalid,
    StoreOutage,
)


class NotInTermsOfS3(Exception):
    """A server answers as if all were well, and not as S3 does."""


DOCTOR = "see `ganctl doctor`"
KEYS = "GANSERVICE_STORE_ACCESS_KEY and GANSERVICE_STORE_SECRET_KEY"
NO_STORE = "is no S3 store: something else, such as a console or a login page, answers there"
# By S3's own word for an error, whatever the status: the kind of the outage, and what it means.
BY_CODE: dict[str, tuple[OutageKind, str]] = {
    "RequestTimeTooSkewed": (OutageKind.REFUSED, "refuses us, for its clock and ours differ too much; set them"),
    "NoSuchBucket": (OutageKind.FAILING, "has no bucket"),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
        (OutageKind.REFUSED, "refuses our credentials: they have expired; get new ones"),
    ),
    **dict.fromkeys(
        (
            "InsufficientStorage", "InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded", "XMinioObjectQuotaExceeded",
        ),
        (OutageKind.FULL, "has no room left"),
    ),
    **dict.fromkeys(
        (
            "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
            "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "ServiceUnavailable",
            "XMinioServerNotInitialized",
        ),
        (OutageKind.BUSY, "is busy and asks to come back later"),
    ),
}  # fmt: skip
# By the status of HTTP, where the word is not known.
BY_STATUS: dict[int, tuple[OutageKind, str]] = {
    401: (OutageKind.REFUSED, "refuses our credentials"),
    403: (OutageKind.REFUSED, "refuses our credentials"),
    408: (OutageKind.BUSY, "is busy and asks to come back later"),
    429: (OutageKind.BUSY, "is busy and asks to come back later"),
    503: (OutageKind.BUSY, "is busy and asks to come back later"),
    507: (OutageKind.FULL, "has no room left"),
}
WRONG_REGION = (
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint", "PermanentRedirect",
)  # fmt: skip
NO_CREDENTIALS = (
    botocore.NoCredentialsError, botocore.CredentialRetrievalError, botocore.NoAuthTokenError,
    botocore.TokenRetrievalError, botocore.SSOError, botocore.LoginError, botocore.MetadataRetrievalError,
    botocore.RefreshWithMFAUnsupportedError, botocore.UnknownCredentialError,
)  # fmt: skip
# What each error of a connection means; the first class that fits, with such words in its text, holds.
BY_CLASS: tuple[tuple[type[Exception], str, OutageKind, str], ...] = (
    (botocore.ReadTimeoutError, "", OutageKind.UNREACHABLE, "does not answer"),
    (botocore.ConnectTimeoutError, "", OutageKind.UNREACHABLE, "cannot be reached: no connection comes about"),
    (botocore.ProxyConnectionError, "", OutageKind.UNREACHABLE, "cannot be reached: the proxy fails"),
    (botocore.InvalidProxiesConfigError, "", OutageKind.UNREACHABLE, "cannot be reached: the proxy cannot be used"),
    (botocore.SSLError, "EOF", OutageKind.UNREACHABLE, "ended the connection"),
    (botocore.SSLError, "CERTIFICATE", OutageKind.FAILING, "is not trusted; name its authority by AWS_CA_BUNDLE=FILE"),
    (botocore.SSLError, "", OutageKind.FAILING, "does not speak TLS as we do; is it http:// in GANSERVICE_STORE_URL?"),
    (botocore.EndpointConnectionError, "", OutageKind.UNREACHABLE, "cannot be reached"),
    (botocore.ConnectionClosedError, "BadStatusLine", OutageKind.FAILING, "is no S3 store: it speaks no HTTP"),
    (botocore.ConnectionClosedError, "", OutageKind.UNREACHABLE, "ended the connection"),
    (botocore.ResponseStreamingError, "", OutageKind.UNREACHABLE, "broke off its answer"),
    (botocore.IncompleteReadError, "", OutageKind.UNREACHABLE, "broke off its answer"),
    (botocore.HTTPClientError, "", OutageKind.UNREACHABLE, "cannot be asked"),
    (ResponseParserError, "", OutageKind.FAILING, NO_STORE),
    (NotInTermsOfS3, "", OutageKind.FAILING, NO_STORE),
)
# What urllib3 puts around the reason of an error.
HOST = re.compile(r"^\w+\(host=.*?\): ")
WRAPPED = re.compile(
    r"^\('Connection \w+[.:] ?(?P<before>[^']*)', (?:IncompleteRead|\w+\(['\"](?P<within>.*)['\"]\)\)$).*"
)
UNREAD = re.compile(r"(?<=Failed to parse: )\S+")
LIBRARIES = ("boto3", "botocore", "s3transfer", "urllib3", "http")


def explain(error: Exception, address: str, bucket: str, key: str) -> GanServiceError | None:
    """What an error within a call of boto3 about `key` means; None of an error that is no library's but our own."""
    store = f"the store at {address}"
    if isinstance(error, botocore.ClientError):
        return _of_answer(error, store, bucket, key)
    if isinstance(error, botocore.ParamValidationError):
        return SettingsInvalid(f"GANSERVICE_STORE_URL: no bucket {bucket} or no key {key} can be ({_reason(error)})")
    return _of_connection(error, store)


def _of_connection(error: Exception, store: str) -> StoreOutage | None:
    """What an error means before or instead of an answer; None of one that is no library's."""
    reason = _reason(error)
    if isinstance(error, NO_CREDENTIALS):
        return StoreOutage(f"no credentials for {store} ({reason}); set {KEYS}", OutageKind.REFUSED)
    for error_class, words, kind, meaning in BY_CLASS:
        if isinstance(error, error_class) and words in repr(getattr(error, "kwargs", "")):
            return StoreOutage(f"{store} {meaning} ({reason}); {DOCTOR}", kind)
    if isinstance(error, (botocore.BotoCoreError, Boto3Error)) or _comes_from_library(error):
        return StoreOutage(f"{store} fails ({type(error).__name__}: {reason}); {DOCTOR}", OutageKind.FAILING)
    return None


def _of_answer(error: botocore.ClientError, store: str, bucket: str, key: str) -> GanServiceError:
    """What an answer means that is no success."""
    about: Any = error.response["ResponseMetadata"]
    code, status = error.response["Error"].get("Code", ""), int(about["HTTPStatusCode"])
    region = about.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if code in WRONG_REGION or (region and status in (301, 307, 400)):
        right = f"set it to {region}" if region else "set it to that of the bucket"
        return SettingsInvalid(f"GANSERVICE_STORE_REGION: {store} refuses it for bucket {bucket} ({code}); {right}")
    if is_page(about) or 300 <= status < 400:
        return StoreOutage(f"{store} {NO_STORE} ({status})", OutageKind.FAILING)
    if code == "NoSuchKey" or (status == 404 and error.operation_name == "HeadObject"):
        return ArtifactMissing(f"{key}: the store holds no such object")
    if status == 412:
        return ArtifactExists(f"{key}: the store holds other bytes under this key")
    kind, meaning = BY_CODE.get(code) or BY_STATUS.get(status) or (OutageKind.FAILING, f"failed on {key}")
    if code == "NoSuchBucket":
        meaning += f" {bucket}; make it, or correct GANSERVICE_STORE_URL"
    elif code == str(status) and kind is OutageKind.FAILING and not error.operation_name.startswith("Head"):
        meaning += " without a word of S3; perhaps it is no S3 store"
    told = f"{status} {code}" if code and code != str(status) else status  # an answer without a body has no code
    return StoreOutage(f"{store} {meaning} ({told})", kind)


def is_page(about: Any) -> bool:
    """Whether the metadata of an answer tell of a page for people."""
    return str(about.get("HTTPHeaders", {}).get("content-type", "")).startswith("text/html")


def _reason(error: Exception) -> str:
    """The innermost reason of an error on one line, without the address, which is told anyway."""
    cause: Any = getattr(error, "kwargs", {}).get("error") or error
    while isinstance(getattr(cause, "reason", None), Exception):
        cause = cause.reason
    text = HOST.sub("", " ".join(str(cause).split()))
    if wrapped := WRAPPED.match(text):
        text = wrapped["within"] or wrapped["before"]
    # What cannot be read of an address may be a part of a password.
    return hide_secrets(UNREAD.sub("an address", text)) or type(error).__name__


def _comes_from_library(error: Exception) -> bool:
    """Whether an error was raised below the libraries, which let some of what a stranger answers through as it is."""
    frame = error.__traceback__
    while frame is not None:
        if str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in LIBRARIES:
            return True
        frame = frame.tb_next
    return False
