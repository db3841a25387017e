"""`python -m workers.dispatch` runs a dispatcher until it is told to stop."""

import faulthandler
import logging
import signal
import sys
import threading

from ganservice.errors import GanServiceError
from ganservice.logs import start_logging
from ganservice.settings import Settings
from workers.dispatch.cluster import cluster
from workers.dispatch.dispatcher import STUCK_S, Dispatcher


def main() -> int:
    """Dispatch until SIGTERM, which leaves the gangs to the next dispatcher, or SIGINT, which ends them politely."""
    start_logging()
    stopping, draining = threading.Event(), threading.Event()

    def drain(*_: object) -> None:
        draining.set()
        stopping.set()

    try:
        settings = Settings()
        with cluster(settings.require_ray()) as ray_cluster:
            # Only now: Ray puts handlers of its own in their place when it is entered.
            signal.signal(signal.SIGTERM, lambda *_: stopping.set())
            signal.signal(signal.SIGINT, drain)
            dispatcher = Dispatcher(settings, ray_cluster)
            dispatcher.run(stopping)
            if draining.is_set():
                dispatcher.drain()
            faulthandler.dump_traceback_later(STUCK_S, exit=True)  # Ray may not let go
            dispatcher.resign()
    except GanServiceError as error:
        logging.getLogger("workers").error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
