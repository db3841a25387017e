"""Logs of processes: one form for all of them, as plain text on stderr."""

import copy
import logging
import sys
import traceback
from types import TracebackType

from ganservice.plain_text import plain_line, plain_text

FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_logging(level: int = logging.INFO) -> None:
    """Log to stderr from this level on; what is raised and caught by nobody is told in the same way."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(FORM))
    logging.basicConfig(level=level, handlers=[handler])
    tell_tracebacks()


def tell_tracebacks() -> None:
    """Have what is raised and caught by nobody told as plain text."""
    sys.excepthook = _tell


class PlainFormatter(logging.Formatter):
    """Writes records as plain text: a log is read in a terminal, and strangers have words in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record; what another handler has made of its traceback is not taken over."""
        own = copy.copy(record)
        own.exc_text = None
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # the name is logging's
        """One line, so that no stranger's text looks like a record of its own."""
        return plain_line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 # the same
        """The lines of a traceback."""
        return plain_text(super().formatException(ei))  # type: ignore[arg-type] # typeshed's name for it is private


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(plain_text("".join(traceback.format_exception(kind, error, trace))))
