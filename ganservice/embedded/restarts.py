"""Restarts: how often each part of a stack has ended of late, and when it is started again."""

import contextlib
import time
from pathlib import Path

from pydantic import TypeAdapter

from ganservice.errors import GanServiceError
from ganservice.files import write_private
from ganservice.model import Model

# A part that has run for so long is steady: its next end is its first.
STEADY_S = 120.0
LONGEST_PAUSE_S = 60.0


class Restart(Model):
    """The ends of one part since it was last steady; Unix times in s."""

    ends: int
    first_at: float
    again_at: float
    started_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether the part has been steady since it was last started."""
        return self.started_at is not None and now - self.started_at > STEADY_S


RESTARTS = TypeAdapter(dict[str, Restart])


class Restarts:
    """What the supervisor knows of parts that end, in a file: `doctor` reads it, and who deletes it ends all pauses."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Restart] = {}
        self._is_told = False

    def recorded(self) -> dict[str, Restart]:
        """What the file tells, by part."""
        try:
            return RESTARTS.validate_json(self._file.read_bytes())
        except OSError:  # nothing has ended, or the stack is another user's
            return {}
        except ValueError:  # lost with the power
            return {}

    def forget(self) -> None:
        """Have every part that has ended started at once."""
        self._file.unlink(missing_ok=True)

    def is_due(self, name: str) -> bool:
        """Whether a part that does not run is to be started now: at once after its first end, later after others."""
        now = time.time()
        if self._is_told and not self._file.exists():
            self._known = {}
        known = self._known.get(name)
        if known is None or known.started_at is not None:
            known = self._known[name] = _ended(known, now)
            self._tell()
        # A clock that was set back makes no pause longer.
        return now >= known.again_at or known.again_at - now > LONGEST_PAUSE_S

    def note_start(self, name: str) -> None:
        """Note that a part is started, or that this was tried."""
        self._known[name] = self._known[name].model_copy(update={"started_at": time.time()})
        self._tell()

    def _tell(self) -> None:
        text = RESTARTS.dump_json(self._known).decode()
        self._is_told = False
        with contextlib.suppress(GanServiceError, OSError):  # a full disk must not end the supervisor
            write_private(self._file, text)
            self._is_told = True


def pause_s(ends: int) -> float:
    """How long to wait before a part that has ended so often in a row is started again."""
    return 0.0 if ends <= 1 else min(LONGEST_PAUSE_S, 2.0 ** min(ends - 2, 10))


def _ended(before: Restart | None, now: float) -> Restart:
    if before is None or before.is_over(now):
        return Restart(ends=1, first_at=now, again_at=now)
    ends = before.ends + 1
    return Restart(ends=ends, first_at=before.first_at, again_at=now + pause_s(ends))
