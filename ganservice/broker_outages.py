"""Errors of redis-py, and what a Redis says no with, in our words: an outage of some kind, or a wrong setting."""

import re
import ssl
from collections.abc import Iterator

import redis

from ganservice.errors import BrokerOutage, GanServiceError, OutageKind, RequestError, RightMissing, SettingsInvalid

SETTING = "GANSERVICE_BROKER_URL"
DOCTOR = "see `ganctl doctor`"
NO_REDIS = "answers what no Redis says; something else listens there, or it asks for TLS (rediss://)"
TOO_OLD = "does not know a command; ganservice takes Redis 7 or Valkey"
NO_PASSWORD = f"has no password, and {SETTING} gives one"
# By the first word of an error that Redis answers: the kind of the outage, and what it means.
BY_CODE: dict[str, tuple[OutageKind, str]] = {
    "LOADING": (OutageKind.UNREACHABLE, "is starting and reads its data"),
    "MASTERDOWN": (OutageKind.UNREACHABLE, "is a replica that has lost its primary"),
    "UNBLOCKED": (OutageKind.UNREACHABLE, "has just become a replica"),
    "CLUSTERDOWN": (OutageKind.UNREACHABLE, "belongs to a cluster that is down"),
    "READONLY": (OutageKind.READ_ONLY, "is a replica, which takes no writes; the primary may be elsewhere now"),
    "NOREPLICAS": (OutageKind.READ_ONLY, "takes no writes while it lacks the replicas it was told to have"),
    "OOM": (OutageKind.FULL, "takes no more writes: its memory is full"),
    "MISCONF": (OutageKind.FULL, "takes no more writes: it cannot save them to its disk"),
    "BUSY": (OutageKind.BUSY, "is busy with a script"),
    "TRYAGAIN": (OutageKind.BUSY, "is moving our keys"),
    "MAXCLIENTS": (OutageKind.BUSY, "has as many clients as it takes"),
    "NOAUTH": (OutageKind.REFUSED, f"asks for a password, and {SETTING} has none"),
    "WRONGPASS": (OutageKind.REFUSED, f"refuses the user or the password of {SETTING}"),
    "DENIED": (OutageKind.REFUSED, "takes no clients of other machines: its protected mode is on"),
    "NOPERM": (OutageKind.REFUSED, "refuses our user a right; docs/operating.md says which it needs"),
    "NOSCRIPT": (OutageKind.FAILING, "forgets scripts at once; is it several servers behind one address?"),
    "MOVED": (OutageKind.FAILING, "is one node of a cluster that holds our keys on another node"),
    "ASK": (OutageKind.FAILING, "is one node of a cluster that holds our keys on another node"),
    "CROSSSLOT": (
        OutageKind.FAILING,
        "is a node of a cluster, which ganservice does not know; it takes a single Redis",
    ),
    "NOPROTO": (OutageKind.FAILING, "speaks another protocol; ganservice takes Redis 7 or Valkey"),
    "WRONGTYPE": (
        OutageKind.FAILING,
        f"holds keys of another program under our names; set another database at the end of {SETTING}",
    ),
}
# By words of an error whose first word says nothing; the first that is found holds.
BY_WORDS: tuple[tuple[str, OutageKind, str], ...] = (
    ("max number of clients", OutageKind.BUSY, "has as many clients as it takes"),
    ("invalid password", OutageKind.REFUSED, BY_CODE["WRONGPASS"][1]),
    ("without any password", OutageKind.REFUSED, NO_PASSWORD),
    ("no password is set", OutageKind.REFUSED, NO_PASSWORD),
    ("ACL failure", OutageKind.REFUSED, BY_CODE["NOPERM"][1]),
    ("The user executing the script", OutageKind.REFUSED, BY_CODE["NOPERM"][1]),
    ("unknown command", OutageKind.FAILING, TOO_OLD),
    ("Unknown Redis command", OutageKind.FAILING, TOO_OLD),
    ("Protocol error", OutageKind.FAILING, NO_REDIS),
)
# Before it has answered anything, a server that asks for TLS or for our certificate may say no more than this.
ENDS = "ended the connection; one that always does asks for TLS (rediss://), or for our certificate (?ssl_certfile=)"
CERTIFICATE_ASKED = ("certificate required", "alert bad certificate", "alert unknown ca", "handshake failure")
DATABASES = ("DB index", "invalid DB", "SELECT is not allowed", "Invalid Database")
ENDED = ("closed", "reset by peer", "broken pipe", "eof occurred", "unexpected_eof")
IN_PIPELINE = re.compile(r"^Command # \d+ .* of pipeline caused error: ")
ARGUMENTS = re.compile(r",? with args beginning with:.*$")
# As Redis says where in one of our scripts something went wrong.
IN_SCRIPT = re.compile(r"user_script:\s?(\d+)")
CODES_IN_SCRIPT = re.compile(rf"\b({'|'.join(BY_CODE)})\b")


def explain(error: Exception, address: str) -> GanServiceError | None:
    """What an error within a call of redis-py means; None of an error that is no library's but our own."""
    broker = f"the broker at {address}"
    if isinstance(error, UnicodeEncodeError):
        return RequestError(f"found {ascii(error.object)[:80]}, which is no text; expected letters of Unicode")
    if isinstance(error, redis.DataError):
        return GanServiceError(f"a fault of ganservice itself: it asked {broker} for what cannot be sent ({error})")
    if isinstance(error, redis.RedisError):
        text = _text(error)
        return _of_answer(text, broker) or _of_connection(error, text, broker)
    if _comes_from_library(error):
        reason = " ".join(f"{type(error).__name__} {error}".split())
        return BrokerOutage(f"{broker} {NO_REDIS} ({reason}); {DOCTOR}", OutageKind.FAILING)
    return None


def _text(error: redis.RedisError) -> str:
    """The words of an error on one line, as Redis says them: without our own, among which a password may be."""
    text = ARGUMENTS.sub("", IN_PIPELINE.sub("", " ".join(str(error).split())))
    return f"{error.status_code or ''} {text}".strip() or type(error).__name__


def _of_answer(text: str, broker: str) -> GanServiceError | None:
    """What an answer of Redis that says no means; None where it is not known."""
    if any(words in text for words in DATABASES):
        return SettingsInvalid(f"{SETTING}: {broker} has no database of that number ({text}); set another one")
    code = text.partition(" ")[0]
    line = IN_SCRIPT.search(text)
    if line and code not in BY_CODE:
        # Redis 6 wraps what a command in a script was answered.
        inner = CODES_IN_SCRIPT.search(text)
        code = inner.group(1) if inner else code
    if code in BY_CODE:
        return _outage(*BY_CODE[code], text, broker)
    for words, kind, meaning in BY_WORDS:
        if words in text:
            return _outage(kind, meaning, text, broker)
    if line:
        # Waiting mends no fault of a script.
        return GanServiceError(f"a fault of ganservice itself, in line {line.group(1)} of a script: {text}")
    return None


def _outage(kind: OutageKind, meaning: str, text: str, broker: str) -> BrokerOutage:
    named = RightMissing if meaning == BY_CODE["NOPERM"][1] else BrokerOutage
    return named(f"{broker} {meaning} ({text})", kind)


def _of_connection(error: redis.RedisError, text: str, broker: str) -> BrokerOutage:
    """What an error means that no Redis answered, or that nobody has named."""
    kind, meaning = OutageKind.FAILING, "fails"
    if isinstance(error, redis.AuthenticationError):
        kind, meaning = OutageKind.REFUSED, BY_CODE["WRONGPASS"][1]
    elif any(words in text.lower() for words in ENDED):
        kind, meaning = OutageKind.UNREACHABLE, ENDS
    elif "SSL" in text or any(isinstance(each, ssl.SSLError) for each in _causes(error)):
        meaning = _of_tls(text)
    elif isinstance(error, redis.TimeoutError) and "connecting" not in text:
        kind, meaning = OutageKind.UNREACHABLE, "does not answer"
    elif "connecting" in text.lower() or any(isinstance(each, OSError) for each in _causes(error)):
        kind, meaning = OutageKind.UNREACHABLE, "cannot be reached"
    elif isinstance(error, redis.ConnectionError):
        meaning = NO_REDIS
    return BrokerOutage(f"{broker} {meaning} ({text}); {DOCTOR}", kind)


def _of_tls(text: str) -> str:
    if any(words in text.lower().replace("_", " ") for words in CERTIFICATE_ASKED):
        return f"asks for a certificate of ours; name it by ?ssl_certfile=FILE&ssl_keyfile=FILE in {SETTING}"
    if "certificate" in text.lower():
        return f"shows a certificate that is not trusted; name its authority by ?ssl_ca_certs=FILE in {SETTING}"
    return f"does not speak TLS as we do; {SETTING} says rediss://, for a server without TLS it is redis://"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _comes_from_library(error: Exception) -> bool:
    """Whether an error was raised below redis-py, which lets some of what a stranger answers through as it is."""
    frame = error.__traceback__
    while frame is not None:
        if str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "redis":
            return True
        frame = frame.tb_next
    return False
