"""What Ctrl-C and SIGTERM do to a command that has something to bring to an end."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator

# Python loses an interrupt that comes while it deletes an object: one that comes so much later counts again.
PATIENCE_S = 5.0


@contextlib.contextmanager
def one_interrupt() -> Iterator[None]:
    """Have the first Ctrl-C or SIGTERM raise KeyboardInterrupt, and those that follow soon do nothing.

    An impatient second one would end what the first one ends in the midst of that. Who was interrupted inside is to end
    the process: nothing interrupts it afterwards. Only for the main thread.
    """
    told_at = -math.inf

    def interrupt(*_: object) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= PATIENCE_S:
            told_at = time.monotonic()
            raise KeyboardInterrupt

    # Shells have what runs in the background ignore Ctrl-C.
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    after = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        # Python's exit would give them their defaults back long before the process is gone.
        after = dict.fromkeys(numbers, signal.SIG_IGN)
        raise
    finally:
        for number, handler in after.items():
            signal.signal(number, handler)
