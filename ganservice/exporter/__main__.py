"""`python -m ganservice.exporter` serves the metrics until it is told to end."""

import logging
import signal
import sys
import threading

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from ganservice.errors import GanServiceError
from ganservice.exporter import JobCollector
from ganservice.logs import start_logging
from ganservice.metrics_server import serve
from ganservice.settings import Settings

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    start_logging()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings()
        jobs, own = JobCollector(settings), CollectorRegistry()
        ProcessCollector(registry=own)
        serve(lambda: jobs.text() + generate_latest(own).decode(), settings)
    except (GanServiceError, OSError) as error:
        log.error("%s", error)
        return getattr(error, "exit_code", 1)
    log.info("metrics at http://%s:%d/metrics", settings.exporter_host, settings.exporter_port)
    stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
