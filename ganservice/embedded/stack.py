"""The embedded stack: starts its parts, keeps them up, says how they are, and ends them by pid."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ganservice.embedded.home import Home
from ganservice.embedded.parts import DRAINED, Part, embedded_parts
from ganservice.errors import GanServiceError, NotConfigured, StackError
from ganservice.files import write_private
from ganservice.model import Model
from ganservice.objects import ObjectStore
from ganservice.probes import check_port, check_store
from ganservice.queue import JobQueue
from ganservice.settings import Settings, child_environment

READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 15.0
# A dispatcher gives its gangs 20 s to checkpoint.
DRAIN_TIMEOUT_S = 30.0
LOOK_S = 0.5
# With these elsewhere there need be no stack here.
USED_BY_ALL = {"broker", "store"}
# A part that ends this often within this time is left alone until someone has looked.
MAX_RESTARTS, RESTART_SPAN_S = 5, 120.0
# In the environment of every process of a stack: which stack and which part it belongs to.
MARK = "GANSERVICE_PART"

Say = Callable[[str], None]


class Pid(Model):
    """A process, safe against a number that was given again."""

    pid: int
    created_at: float

    def process(self) -> psutil.Process | None:
        """The process, unless it has ended."""
        try:
            process = psutil.Process(self.pid)
            alive = process.create_time() == self.created_at and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


@dataclass(frozen=True)
class Diagnosis:
    """How one part is, as `doctor` shows it."""

    part: str
    state: str
    address: str
    advice: str = ""

    @property
    def is_well(self) -> bool:
        """Whether the part works."""
        return self.state in ("works", "works, external")


class Stack:
    """One embedded stack, in one state folder; `monitored` by a Prometheus of its own when it is started."""

    def __init__(self, external: Settings, *, monitored: bool = False) -> None:
        self._external = external
        self._monitored = monitored
        self._home = Home(external.state_dir.absolute())
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._home.folder

    @property
    def is_up(self) -> bool:
        """Whether a supervisor of this folder runs."""
        return self._supervisor() is not None

    @property
    def exists(self) -> bool:
        """Whether a stack was ever started in the state folder. Raises RequestError if it is another user's."""
        return self._home.holds("identity.json")

    def supervise(self, stopping: threading.Event, say: Say) -> None:
        """Start every part that does not run, keep them running until `stopping` is set, then end them.

        Raises:
            StackError: another supervisor runs, or a part does not start; nothing is left running.
        """
        with self._alone(), self._home.hold_ports():
            try:
                parts = self._prepare()
                for part in parts:
                    self._start(part, stopping, say)
                self._record("supervisor", os.getpid())
                self._watch(parts, stopping, say)
            finally:
                say("stopping")
                self.end_processes()

    def start_detached(self, command: list[str], say: Say) -> bool:
        """Start a supervisor by `command` and wait until the stack works. False if one works already, or is on its way.

        An interrupt ends what was started.
        """
        if self._await_supervisor(lambda: bool(self._marked("supervisor"))):
            if self._monitored and "prometheus" not in self._recorded():
                raise StackError("the stack is up without Prometheus; `ganctl down`, then start it with --monitor")
            return False
        self._home.make()
        log = self._home.log("supervisor")
        environment = child_environment(**{MARK: self._mark("supervisor")})
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        try:
            if not self._await_supervisor(lambda: process.poll() is None):
                raise StackError(_last_words(log).removeprefix("error: "))
        except KeyboardInterrupt:
            self.down()
            raise
        say(log.read_text().strip())
        return True

    def down(self) -> bool:
        """End the stack; its state stays. False if nothing ran. Raises RequestError if it is another user's."""
        if not self.exists:
            return self._end(self._marked())  # what outlived its folder
        supervisors = {*filter(None, [self._supervisor()]), *self._marked("supervisor")}
        for supervisor in supervisors:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor.terminate()
        psutil.wait_procs(supervisors, timeout=DRAIN_TIMEOUT_S + 4 * END_TIMEOUT_S)
        return self.end_processes() or bool(supervisors)

    def purge(self) -> None:
        """Delete the state folder: jobs, artifacts, credentials. Raises StackError if something stays."""
        shutil.rmtree(self._home.ray_dir, ignore_errors=True)
        shutil.rmtree(self._home.folder, ignore_errors=True)
        if self._home.holds():
            raise StackError(f"{self.folder}: cannot be deleted whole; see what is left there and who may delete it")

    def examine(self) -> list[Diagnosis]:
        """How every part is, and what to do about those that are not well."""
        diagnoses = [self._examine_external(*what) for what in self._external_parts()]
        if {diagnosis.part for diagnosis in diagnoses} >= USED_BY_ALL and not self._supervisor():
            return diagnoses  # nothing here is ours; only dispatchers know of Ray
        if not self.exists:
            return [*diagnoses, Diagnosis("stack", "never started", str(self.folder), "start it with `ganctl up -d`")]
        try:
            settings, monitored = Settings(state_dir=self.folder), "prometheus" in self._recorded()
            parts = embedded_parts(self._home, self._external, settings, monitored=monitored)
        except NotConfigured as error:
            return [*diagnoses, Diagnosis("settings", "incomplete", str(self.folder), str(error))]
        diagnoses += [self._examine(part) for part in parts]
        if self._supervisor() is None:
            diagnoses.append(
                Diagnosis("supervisor", "not running", "-", "nothing restarts what ends; run `ganctl up -d`")
            )
        return diagnoses

    def _examine(self, part: Part) -> Diagnosis:
        log = f"last words in {self._home.log(part.name)}"
        if self._process(part.name) is None:
            return Diagnosis(part.name, "not running", part.address, f"run `ganctl up -d`; {log}")
        try:
            part.check()
        except (GanServiceError, OSError) as error:
            return Diagnosis(part.name, "does not answer", part.address, f"{error}; {log}")
        return Diagnosis(part.name, "works", part.address)

    def _examine_external(self, name: str, address: str, check: Callable[[], None]) -> Diagnosis:
        try:
            check()
        except (GanServiceError, OSError) as error:
            return Diagnosis(name, "does not answer", address, str(error))
        return Diagnosis(name, "works, external", address)

    def _external_parts(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        settings = self._external
        if settings.broker_url is not None:
            yield "broker", "GANSERVICE_BROKER_URL", lambda: JobQueue(settings).ping()
        if settings.store_url is not None:
            yield "store", settings.store_url, lambda: check_store(ObjectStore(settings))
        if (address := settings.ray_address) is not None:
            yield "ray", address, lambda: check_port(address)

    def _prepare(self) -> list[Part]:
        settings = self._home.prepare(self._external)
        return embedded_parts(self._home, self._external, settings, monitored=self._monitored)

    def _start(self, part: Part, stopping: threading.Event, say: Say) -> None:
        """Start a part unless it runs, and wait until it works."""
        if self._process(part.name) is None:
            self._launch(part)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not stopping.is_set():
            try:
                part.check()
                say(f"{part.name:<11} {part.address}")
                return
            except (GanServiceError, OSError) as error:
                is_gone = self._process(part.name) is None
                if is_gone or time.monotonic() > deadline:
                    raise StackError(
                        f"{part.name} {'ended at once' if is_gone else f'does not work: {error}'}; "
                        f"{_last_words(self._home.log(part.name))} (see {self._home.log(part.name)})"
                    ) from error
            stopping.wait(0.1)

    def _launch(self, part: Part) -> None:
        self._end(self._marked(part.name))  # what a part that was killed left behind
        environment = child_environment(**part.environment, **{MARK: self._mark(part.name)})
        with self._home.log(part.name).open("ab") as output:
            child = subprocess.Popen(
                part.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.folder,
            )
        self._children.append(child)
        self._record(part.name, child.pid)

    def _watch(self, parts: list[Part], stopping: threading.Event, say: Say) -> None:
        restarts = {part.name: deque[float](maxlen=MAX_RESTARTS) for part in parts}
        while not stopping.wait(LOOK_S):
            self._children = [child for child in self._children if child.poll() is None]
            for part in parts:
                past = restarts[part.name]
                if self._process(part.name) is not None:
                    continue
                if len(past) == MAX_RESTARTS and time.monotonic() - past[0] < RESTART_SPAN_S:
                    continue  # `doctor` reports it
                past.append(time.monotonic())
                say(f"{part.name} has ended; starting it again")
                self._launch(part)

    def end_processes(self) -> bool:
        """End every process of this stack. False if there was none."""
        parts = [self._process(name) for name in self._recorded() if name != "supervisor"]
        # In the reverse of the order in which they started: the store outlives those who write to it.
        for drained in (self._process(name) for name in DRAINED):
            if drained is not None:
                drained.send_signal(signal.SIGINT)
                psutil.wait_procs([drained], timeout=DRAIN_TIMEOUT_S)
        running = [process for process in reversed(parts) if process is not None]
        for process in running:
            self._end([process])
        left = self._end(self._marked())
        for child in self._children:
            child.wait()
        self._children = []
        self._home.folder.joinpath("pids.json").unlink(missing_ok=True)
        return bool(running) or left

    def _end(self, processes: list[psutil.Process]) -> bool:
        """End processes and their descendants: asked first, killed if they do not."""
        with_children = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                with_children += [process, *process.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(with_children, timeout=END_TIMEOUT_S if processes else 0)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=END_TIMEOUT_S)
        return bool(with_children)

    def _marked(self, part: str = "") -> list[psutil.Process]:
        """Processes that carry this stack's mark, by which orphans are known, and a supervisor that is starting."""
        mark, processes = self._mark(part), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                value = process.environ().get(MARK, "")
                if process.pid != os.getpid() and (value == mark if part else value.startswith(mark)):
                    processes.append(process)
        return processes

    def _mark(self, part: str) -> str:
        return f"{self.folder}:{part}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._home.make()
        with (self._home.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackError(f"a stack is already up in {self.folder}; `ganctl down` ends it") from error
            os.set_inheritable(lock.fileno(), False)
            yield

    def _await_supervisor(self, is_starting: Callable[[], bool]) -> bool:
        """Wait until the supervisor has recorded itself, which it does when all parts work; False if none starts."""
        deadline = time.monotonic() + 4 * READY_TIMEOUT_S
        while self._supervisor() is None:
            if not is_starting():
                return self._supervisor() is not None  # it may have recorded itself in between
            if time.monotonic() > deadline:
                raise StackError(f"the stack does not come up; see {self._home.log('supervisor')}")
            time.sleep(0.1)
        return True

    def _supervisor(self) -> psutil.Process | None:
        return self._process("supervisor")

    def _process(self, name: str) -> psutil.Process | None:
        recorded = self._recorded().get(name)
        return recorded.process() if recorded else None

    def _recorded(self) -> dict[str, Pid]:
        path = self._home.folder / "pids.json"
        if not os.access(path, os.R_OK):
            return {}  # what another user runs is not ours
        return {name: Pid(**value) for name, value in json.loads(path.read_text()).items()}

    def _record(self, name: str, pid: int) -> None:
        pids = self._recorded() | {name: Pid(pid=pid, created_at=psutil.Process(pid).create_time())}
        text = json.dumps({name: value.model_dump() for name, value in pids.items()})
        write_private(self._home.folder / "pids.json", text)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
