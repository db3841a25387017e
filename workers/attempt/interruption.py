"""Interruption: a directive that ends an attempt in the midst of what it does, without a checkpoint."""

from ganservice.job import Directive, Outcome, Reason

REASONS = {
    Directive.STOP: (Reason.CANCELLED, "stopped"),
    Directive.YIELD: (Reason.YIELDED, "gave its job back"),
}


class Interruption(Exception):
    """A directive, other than to go on, that cannot wait for the next report; `where` completes its sentence."""

    def __init__(self, directive: Directive, where: str = "") -> None:
        reason, message = REASONS[directive]
        super().__init__(message + where)
        self.outcome = Outcome(reason=reason, message=message + where)
