"""Trouble: what a proxy does to the traffic that passes it."""

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """The ways in which a proxy treats traffic."""

    PASS = "pass"
    DROP_REQUESTS = "drop_requests"  # what clients send is swallowed: the server hangs
    DROP_REPLIES = "drop_replies"  # the server does what it is asked, and nobody hears of it
    HALVE_REPLIES = "halve_replies"  # half of a reply arrives, then the connection is reset
    DELAY = "delay"
    CUT = "cut"  # every connection is reset as soon as it is used
    REFUSE = "refuse"  # nobody listens
    ANSWER = "answer"  # the proxy answers in the server's place


@dataclass(frozen=True)
class Trouble:
    """A way, and what it takes: the delay in s, or the answer; `whole` answers to reads too."""

    way: Way
    delay_s: float = 0.0
    answer: str = ""
    whole: bool = True


NONE = Trouble(Way.PASS)

# As Redis says it. Only what it may write is refused by a server that is read-only, full or short of replicas.
BROKER_ANSWERS = {
    "readonly": Trouble(Way.ANSWER, answer="READONLY You can't write against a read only replica.", whole=False),
    "oom": Trouble(Way.ANSWER, answer="OOM command not allowed when used memory > 'maxmemory'.", whole=False),
    "noreplicas": Trouble(Way.ANSWER, answer="NOREPLICAS Not enough good replicas to write.", whole=False),
    "misconf": Trouble(Way.ANSWER, answer="MISCONF Errors writing to the AOF file: No space left", whole=False),
    "loading": Trouble(Way.ANSWER, answer="LOADING Redis is loading the dataset in memory"),
    "clusterdown": Trouble(Way.ANSWER, answer="CLUSTERDOWN The cluster is down"),
    "busy": Trouble(Way.ANSWER, answer="BUSY Redis is busy running a script. You can only call SCRIPT KILL."),
}
# The status and the code of S3.
STORE_ANSWERS = {
    "403": Trouble(Way.ANSWER, answer="403 AccessDenied"),
    "500": Trouble(Way.ANSWER, answer="500 InternalError"),
    "503": Trouble(Way.ANSWER, answer="503 SlowDown"),
    "507": Trouble(Way.ANSWER, answer="507 InsufficientStorage"),
}
