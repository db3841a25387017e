"""`python -m workers` runs a dispatcher until it is told to stop."""

import logging
import signal
import sys
import threading

from ganservice.errors import GanServiceError
from ganservice.settings import Settings
from workers.dispatcher import Dispatcher


def main() -> int:
    """Dispatch until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        Dispatcher(Settings()).run(stopping)
    except GanServiceError as error:
        logging.getLogger("workers").error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
