"""What the pages show of every kind of job: for the tests, and as `python -m tests.integration.shown [--into FOLDER]`
for a person, who gets the table, and pictures of the pages in the folder."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr

from deploy.grafana import tiles
from deploy.grafana.draw import draw
from deploy.grafana.frames import Answers
from deploy.grafana.prometheus import Prometheus, Values
from ganservice.exporter import JobCollector
from ganservice.metrics_server import serve
from ganservice.roles import Role
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.stack_file import SETTINGS_FILE
from tests.conftest import smallest_spec, wait_until
from tests.integration.broker import running
from tests.integration.kinds_of_jobs import Play, begin, forget, go_on, hold_back, lose_leader, playing
from tests.integration.monitoring import SCRAPE_S, prometheus
from tests.integration.store import Store, as_role
from tests.unit.dashboards import PAGES


@dataclass(frozen=True)
class Shown:
    """Every kind of job, by its id, and Prometheus at a moment at which it knew of all of them."""

    ids: dict[str, str]
    prometheus: Prometheus

    def values(self, page: str, **chosen: Any) -> Values:
        """The variables of a page."""
        return self.prometheus.values(PAGES[page], chosen)

    def tiles_of(self, page: str, **chosen: Any) -> dict[str, list[tiles.Tile]]:
        """Every tile of a page, by its title."""
        values = self.values(page, **chosen)
        stats = [panel for panel in tiles.panels_of(PAGES[page]) if panel["type"] == "stat"]
        now_s = self.prometheus.end_s
        return {each["title"]: tiles.tiles(each, self.prometheus.ask(each, values), now_s) for each in stats}

    def of_job(self, kind: str) -> dict[str, list[tiles.Tile]]:
        """Every tile of the page of a job."""
        return self.tiles_of("job", job=self.ids[kind])

    def rows_of(self, page: str, title: str, **chosen: Any) -> list[dict[str, tiles.Tile]]:
        """The rows of a table of a page."""
        return tiles.table(*self._asked(page, title, **chosen), self.prometheus.end_s)

    def timeline_of(self, kind: str) -> dict[str, list[tiles.Span]]:
        """The rows of the timeline of a job."""
        return tiles.timeline(*self._asked("job", "Course", job=self.ids[kind]), self.prometheus.end_s)

    def marks_of(self, kind: str) -> set[str]:
        """The titles of all marks on the curves of a job."""
        values = self.values("job", job=self.ids[kind])
        step_s = self.prometheus.step_s
        return {
            mark.title
            for each in PAGES["job"]["annotations"]["list"]
            for mark in tiles.marks(each, self.prometheus.result(each["target"]["expr"], values, False), step_s)
        }

    def points(self, page: str, title: str, **chosen: Any) -> dict[str, tuple[list[float], list[float]]]:
        """The curves over images of a panel."""
        return tiles.points(*self._asked(page, title, **chosen))

    def submitted(self) -> dict[str, float]:
        """When each job was submitted, Unix time."""
        told = self.prometheus.result("last_over_time(ganservice_job_submitted_timestamp_seconds[1h])", {})
        return {each["metric"]["job_id"]: float(each["value"][1]) for each in told}

    def _asked(self, page: str, title: str, **chosen: Any) -> tuple[dict[str, Any], Answers]:
        [panel] = [panel for panel in tiles.panels_of(PAGES[page]) if panel["title"] == title]
        return panel, self.prometheus.ask(panel, self.values(page, **chosen))


@contextmanager
def shown(store_settings: Settings, spec: TrainSpec, folder: Path) -> Iterator[Shown]:
    """Play jobs of all kinds before a Prometheus, and stop the clock when it has seen them."""
    for name in ("broker", "prometheus", "state"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(running("valkey", folder / "broker", "maxmemory 1gb"))
        settings = store_settings.model_copy(
            update={"broker_url": SecretStr(broker.url), "user": "ada", "lease_s": 120.0, "state_dir": folder / "state"}
        )
        # As if there were an embedded stack, whose disk is told of.
        (settings.state_dir / SETTINGS_FILE).write_text("{}")
        exporter_settings = as_role(Role.EXPORTER, broker.as_user("gan-exporter", settings))
        base = stack.enter_context(_watched(exporter_settings, folder / "prometheus"))
        admin = stack.enter_context(closing(redis.Redis.from_url(broker.admin_url, decode_responses=True)))
        with playing(settings, spec) as play:
            yield Shown(play.ids, _play(play, base, admin))


@contextmanager
def _watched(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that asks an exporter of ours."""
    open_to_all = {"exporter_host": "127.0.0.1", "exporter_port": 0, "exporter_password": None}
    exporter = serve(JobCollector(settings).text, settings.model_copy(update=open_to_all))
    try:
        with prometheus(folder, exporter.server_port) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        exporter.shutdown()
        exporter.server_close()


def now(base: str, span_s: float = 60.0) -> Prometheus:
    """What Prometheus says now, and of the time before."""
    return Prometheus(base, time.time(), span_s, SCRAPE_S)


def _play(play: Play, base: str, admin: redis.Redis) -> Prometheus:
    """Have everything happen. Returns Prometheus at a moment at which it knows of all of it."""

    def moment(*expressions: str) -> Prometheus | None:
        each = now(base, span_s=time.time() - play.begun_at + 5)
        told = {series["metric"]["job_id"] for series in each.result("last_over_time(ganservice_job_info[1h])", {})}
        is_all = set(play.ids.values()) <= told and all(each.result(expression, {}) for expression in expressions)
        return each if is_all else None

    begin(play)
    # It scrapes no target in its first five seconds.
    wait_until(lambda: moment("ganservice:images_per_second:sum > 0"))
    go_on(play)
    hold_back(play, admin, "waits again")
    lose_leader(admin)
    gone = f'ganservice_job_state{{job_id="{play.ids["gone"]}", state="succeeded"}}'
    wait_until(lambda: moment(f"{gone} == 1"))
    forget(play, admin, "gone")
    settled = (
        "up == 1",
        'ALERTS{alertstate="firing", alertname="TrainingCollapsed"}',
        'ALERTS{alertstate="firing", alertname="TrainingDiverged"}',
        f'ganservice_job_state{{job_id="{play.ids["waits again"]}", state="queued"}} == 1',
        f"vector(1) unless on() {gone}",
        # Seven that come forward; what is recorded is behind what was scraped.
        "ganservice:images_per_second:sum == 700",
        # The last that happens; a point of a curve has come since.
        "(ganservice_leader_changes_total offset 1s) == 1",
        "ganservice_store_bytes",
        "ganservice_store_round_trip_seconds",
    )
    found: Prometheus = wait_until(lambda: moment(*settled))
    return found


def print_table(found: Shown) -> None:
    """Print the tiles of every kind of job."""
    for kind in found.ids:
        print(f"\n{kind}")  # noqa: T201 # for a person
        for title, each in found.of_job(kind).items():
            print(f"  {title:20} {'; '.join(map(str, each))}")  # noqa: T201 # for a person


def main() -> None:
    """Start servers of our own, play, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path)
    into = parser.parse_args().into
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "store").mkdir()
        store = Store(folder / "store")
        stack.callback(store.kill)
        store.start()
        found = stack.enter_context(shown(store.settings, smallest_spec(), folder))
        print_table(found)
        if into:
            into.mkdir(exist_ok=True)
            for kind, job_id in found.ids.items():
                draw(PAGES["job"], found.prometheus, {"job": job_id}, into / f"job-{kind.replace(' ', '-')}.png")
            for page in ("fleet", "quality"):
                draw(PAGES[page], found.prometheus, {}, into / f"{page}.png")


if __name__ == "__main__":
    main()
