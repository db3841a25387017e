"""Every error a user or an operator can meet, each with the exit code `ganctl` gives it.

An exception's name says what happened; its text says where, what was expected and what to do.
"""


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


class Unreachable(GanServiceError):
    """A server the command needs does not answer."""

    exit_code = 3


class NotConfigured(Unreachable):
    """No address is known for a server: neither the environment nor a running stack names one."""


class BrokerUnreachable(Unreachable):
    """Redis does not answer."""


class StoreUnreachable(Unreachable):
    """The object store does not answer."""


class DigestMismatch(GanServiceError):
    """Bytes read back are not the bytes that were written."""

    exit_code = 4


class ClusterUnreachable(GanServiceError):
    """Ray does not answer, or does not let us in."""

    exit_code = 3


class ArtifactMissing(GanServiceError):
    """The store holds no object under the key asked for."""


class ArtifactExists(GanServiceError):
    """An object's key is taken by other bytes; objects are created once and never replaced."""


class DiskFull(GanServiceError):
    """A local disk, the broker or the store has no room left."""

    exit_code = 5


class JobNotFound(GanServiceError):
    """No job has this id or name, or it has expired."""

    exit_code = 102


class JobUnreadable(GanServiceError):
    """The queue holds a job in a form this version does not know."""


class IllegalTransition(RequestError):
    """The job's state does not allow what was asked."""


class LeaseLost(GanServiceError):
    """The attempt's token is no longer the current one: another attempt, or nobody, owns the job."""


class Diverged(GanServiceError):
    """A loss or a gradient stopped being a finite number."""


class StackError(GanServiceError):
    """A part of the embedded stack does not start or does not stay up."""
