"""Every error a user or an operator can meet, each with the exit code `ganctl` gives it.

An exception's name says what happened; its text says where, what was expected and what to do.
"""

from enum import StrEnum


class OutageKind(StrEnum):
    """The ways in which a server does not do what it was asked, though it may later."""

    UNREACHABLE = "unreachable"  # it does not answer, or is starting or failing over
    READ_ONLY = "read_only"  # it answers and takes no writes: a replica, or one that lacks replicas
    FULL = "full"  # its memory or its disk has no room left
    BUSY = "busy"  # it asks to come back later
    REFUSED = "refused"  # it refuses our credentials or lacks a right, which its operator can mend
    FAILING = "failing"  # it answers with an error of its own, or with what no such server says


class GanServiceError(Exception):
    """The root: `ganctl` prints its text as one line and exits with `exit_code`."""

    exit_code = 1


class RequestError(GanServiceError):
    """A request that cannot be met as it stands."""

    exit_code = 2


class SettingsInvalid(RequestError):
    """A variable of the environment, or the stack's settings file, has an impossible value."""


class SpecInvalid(RequestError):
    """A spec has an unknown key, a wrong type or an impossible value."""


class DataMissing(RequestError):
    """A spec names a data set that the store does not hold."""


class DataInvalid(RequestError):
    """A file of pictures cannot be read as what it claims to be."""


class NotAtHand(RequestError):
    """A folder of Python files is not on this machine."""


class NetworkInvalid(RequestError):
    """A network of a user's own cannot be built, or does not do what a generator or a discriminator must."""


class NotConfigured(GanServiceError):
    """No address is known for a server: neither the environment nor a running stack names one."""

    exit_code = 3


class Outage(GanServiceError):
    """A server does not do what it was asked, and may do so later: whoever can wait tries again."""

    exit_code = 3

    def __init__(self, message: str, kind: OutageKind = OutageKind.UNREACHABLE) -> None:
        super().__init__(message, kind)
        self.kind = kind
        if kind is OutageKind.FULL:
            self.exit_code = DiskFull.exit_code

    def __str__(self) -> str:
        return str(self.args[0])


class BrokerOutage(Outage):
    """Redis does not do what it was asked: it is away, full, read-only, or refuses us."""


class RightMissing(BrokerOutage):
    """Redis knows our user, and gives him no right to what was asked."""


class StoreOutage(Outage):
    """The object store does not do what it was asked: it is away, full, failing, or refuses us."""


class PrometheusOutage(GanServiceError):
    """Prometheus does not answer, or says what it should not, so that no alert is known."""

    exit_code = 3


class DigestMismatch(GanServiceError):
    """Bytes read back are not the bytes that were written."""

    exit_code = 4


class FormatTooNew(GanServiceError):
    """Something was written by a later version of ganservice, in a format that this one does not know."""


class ClusterUnreachable(GanServiceError):
    """Ray does not answer, or does not let us in."""

    exit_code = 3


class ArtifactMissing(GanServiceError):
    """The store holds no object under the key asked for."""


class ArtifactExists(GanServiceError):
    """An object's key is taken by other bytes; objects are created once and never replaced."""


class DiskFull(GanServiceError):
    """A local disk has no room left; so exits an outage of a server that is full."""

    exit_code = 5


class JobNotFound(GanServiceError):
    """No job has this id or name, or it has expired."""

    exit_code = 102


class JobUnreadable(GanServiceError):
    """The queue holds a job in a form this version does not know."""


class IllegalTransition(RequestError):
    """The job's state does not allow what was asked."""


class NoDispatcher(GanServiceError):
    """No dispatcher has answered what a submitter asked."""

    exit_code = 3


class LeadershipLost(GanServiceError):
    """Another dispatcher leads: this one may start, reap and end nothing any more."""


class LeaseLost(GanServiceError):
    """The attempt's token is no longer the current one: another attempt, or nobody, owns the job."""


class Diverged(GanServiceError):
    """A loss or a gradient stopped being a finite number."""


class StackError(GanServiceError):
    """A part of the embedded stack does not start or does not stay up."""
