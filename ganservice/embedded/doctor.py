"""Doctor: how every part of a service is, and what to do about those that are not well."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ganservice.embedded.exposure import exposure_of_broker, exposure_of_process, exposure_of_store
from ganservice.embedded.home import Home
from ganservice.embedded.parts import Part, embedded_parts, warnings_of_broker, warnings_of_store
from ganservice.embedded.processes import Processes
from ganservice.embedded.restarts import Restarts
from ganservice.errors import GanServiceError, NotConfigured, Outage, SettingsInvalid
from ganservice.objects import ObjectStore
from ganservice.probes import BrokerProbe, check_port, check_store
from ganservice.settings import Settings
from ganservice.store_outages import DOCTOR

# A disk with less room left is told: a checkpoint or a data set may not fit.
LOW_DISK_BYTES = 2e9
# Of a Ray elsewhere more cannot be tried from here.
LISTENS = "listens, external"
NOT_ASKED = "whether it is Ray, and lets us in, only a dispatcher asks"
# With these elsewhere there need be no stack here.
USED_BY_ALL = {"broker", "store"}


@dataclass(frozen=True)
class Diagnosis:
    """How one part is, as `doctor` shows it; one that works may have advice too."""

    part: str
    state: str
    address: str
    advice: str = ""

    @property
    def is_well(self) -> bool:
        """Whether the part works, as far as it could be tried."""
        return self.state in ("works", "works, external", LISTENS)


class Doctor:
    """Examines the parts of the stack in one state folder, and the servers that the environment names."""

    def __init__(self, external: Settings, home: Home, processes: Processes, restarts: Restarts) -> None:
        self._external = external
        self._home = home
        self._processes = processes
        self._restarts = restarts

    def examine(self) -> list[Diagnosis]:
        """How every part is, and what to do about those that are not well."""
        is_supervised = self._processes.named("supervisor") is not None
        diagnoses = [_examine_external(*what) for what in self._external_parts()]
        diagnoses += _examine_disk("cache", self._external.cache_dir, "GANSERVICE_CACHE_DIR")
        if {diagnosis.part for diagnosis in diagnoses} >= USED_BY_ALL and not is_supervised:
            return diagnoses  # nothing here is ours; only dispatchers know of Ray
        if not self._home.holds("identity.json"):
            folder = str(self._home.folder)
            return [*diagnoses, Diagnosis("stack", "never started", folder, "start it with `ganctl up -d`")]
        try:
            settings, monitored = Settings(state_dir=self._home.folder), "prometheus" in self._processes.recorded()
            parts = embedded_parts(self._home, self._external, settings, monitored=monitored)
        except NotConfigured as error:
            return [*diagnoses, Diagnosis("settings", "incomplete", str(self._home.folder), str(error))]
        diagnoses += [self._examine(part, is_supervised) for part in parts]
        diagnoses += _examine_disk("state", self._home.folder, "GANSERVICE_STATE_DIR")
        if not is_supervised:
            diagnoses.append(
                Diagnosis("supervisor", "not running", "-", "nothing restarts what ends; run `ganctl up -d`")
            )
        return diagnoses

    def _examine(self, part: Part, is_supervised: bool) -> Diagnosis:
        log = f"last words in {self._home.log(part.name)}"
        past = self._past(part.name)
        process = self._processes.named(part.name)
        if process is None:
            if not is_supervised:
                return Diagnosis(part.name, "not running", part.address, f"run `ganctl up -d`; {log}")
            advice = past or "has just ended and is started again"
            return Diagnosis(part.name, "not running", part.address, f"{advice}; {log}")
        try:
            part.check()
            warnings = [*part.warnings(), *exposure_of_process(process)]
        except (GanServiceError, OSError) as error:
            return Diagnosis(part.name, _state_of(error), part.address, f"{_advice_of(error)}; {log}")
        return Diagnosis(part.name, "works", part.address, "; ".join([*warnings, *filter(None, [past])]))

    def _past(self, name: str) -> str:
        """How often a part has ended of late, where that was more than once, and when it is started again."""
        restart, now = self._restarts.recorded().get(name), time.time()
        if restart is None or restart.is_over(now):
            return ""
        times = f"ended {restart.ends} time{'s' if restart.ends > 1 else ''}"
        times += f" in the last {max(1.0, now - restart.first_at):.0f} s"
        if restart.started_at is not None:
            return times if restart.ends > 1 else ""
        left_s = max(0.0, restart.again_at - now)
        return f"{times}, is started again in {left_s:.0f} s; `ganctl up -d` starts it at once"

    def _external_parts(self) -> Iterator[tuple[str, str, Callable[[], None], Callable[[], list[str]]]]:
        settings = self._external
        if settings.broker_url is not None:
            yield (
                "broker",
                "GANSERVICE_BROKER_URL",
                lambda: BrokerProbe(settings).check(),
                lambda: [*warnings_of_broker(settings), *exposure_of_broker(settings.require_broker())],
            )
        if settings.store_url is not None:
            yield (
                "store",
                settings.store_url,
                lambda: check_store(ObjectStore(settings, in_haste=True)),
                lambda: [*warnings_of_store(settings), *exposure_of_store(settings.require_store())],
            )
        if (address := settings.ray_address) is not None:
            yield "ray", address, lambda: check_port(address), lambda: [NOT_ASKED]


def _examine_external(
    name: str, address: str, check: Callable[[], None], warnings: Callable[[], list[str]]
) -> Diagnosis:
    try:
        check()
        found = warnings()
    except (GanServiceError, OSError) as error:
        return Diagnosis(name, _state_of(error), address, _advice_of(error))
    return Diagnosis(name, LISTENS if NOT_ASKED in found else "works, external", address, "; ".join(found))


def _examine_disk(name: str, folder: Path, variable: str) -> list[Diagnosis]:
    """A word about a folder whose disk is almost full, if there is one."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # nobody has made it yet, or it is not ours to see
        return []
    if free >= LOW_DISK_BYTES:
        return []
    advice = f"its disk has {free / 1e9:.1f} GB left: free some space, or set {variable} to a folder elsewhere"
    return [Diagnosis(name, "almost full", str(folder), advice)]


def _advice_of(error: Exception) -> str:
    """What an error says, but for the advice to ask the doctor."""
    return str(error).removesuffix(f"; {DOCTOR}")


def _state_of(error: Exception) -> str:
    if isinstance(error, Outage):
        return error.kind.replace("_", " ")
    return "wrongly set" if isinstance(error, SettingsInvalid) else "does not work"
