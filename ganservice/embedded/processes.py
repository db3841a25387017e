"""Processes of one embedded stack: started, known by their pid or by a mark they carry, and ended."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import psutil
from pydantic import TypeAdapter

from ganservice.embedded.home import Home
from ganservice.embedded.logs import turn_over
from ganservice.embedded.parts import DRAINED, Part
from ganservice.errors import GanServiceError, StackError
from ganservice.files import write_private
from ganservice.model import Model
from ganservice.settings import child_environment

READY_TIMEOUT_S = 90.0
START_TRIES = 3
END_TIMEOUT_S = 15.0
# A dispatcher gives its gangs 20 s to checkpoint.
DRAIN_TIMEOUT_S = 30.0
# In the environment of every process of a stack: which stack and which part it belongs to.
MARK = "GANSERVICE_PART"
# Where Linux tells of its processes, and of which start of the machine they are.
STATS, BOOT = Path("/proc/stat"), Path("/proc/sys/kernel/random/boot_id")

Say = Callable[[str], None]


class Pid(Model):
    """A process, safe against a number that was given again."""

    pid: int
    began: str = ""
    created_at: float | None = None  # as 0.1.0 wrote it, whose stack may yet run

    @classmethod
    def of(cls, pid: int) -> Self:
        """That of a process. Raises psutil.NoSuchProcess."""
        return cls(pid=pid, began=_began(pid))

    def process(self) -> psutil.Process | None:
        """The process, unless it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_same = _began(self.pid) == self.began or process.create_time() == self.created_at
            alive = is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


PIDS = TypeAdapter(dict[str, Pid])


class Processes:
    """What runs of the stack in one state folder, whoever started it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pids = home.folder / "pids.json"
        # A file for each process that needs broker and store and is no part of the stack.
        self._guests = home.folder / "guests"
        self._children: list[subprocess.Popen[bytes]] = []

    def start_all(self, parts: Sequence[Part], stopping: threading.Event, say: Say) -> None:
        """Start parts in their order, each once those before it work.

        A part without which the next does not start is started again if it has ended: Ray's head does so where a busy
        machine takes longer than the 30 s that it gives itself.

        Raises:
            StackError: a part does not start.
        """
        for place, part in enumerate(parts):
            for tries_left in reversed(range(START_TRIES)):
                try:
                    self.start(part, stopping, say)
                    break
                except StackError:
                    ended = [each for each in parts[:place] if self.named(each.name) is None]
                    if not ended or not tries_left:
                        raise
                    for each in ended:
                        say(f"{each.name} has ended; starting it again")
                        self.start(each, stopping, say)

    def start(self, part: Part, stopping: threading.Event, say: Say) -> None:
        """Start a part unless it runs, and wait until it works. Raises StackError."""
        if self.named(part.name) is None:
            self.launch(part)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not stopping.is_set():
            try:
                part.check()
                say(f"{part.name:<11} {part.address}")
                return
            except (GanServiceError, OSError) as error:
                is_gone = self.named(part.name) is None
                if is_gone or time.monotonic() > deadline:
                    late = f"does not work {READY_TIMEOUT_S:.0f} s after its start: {error}"
                    advice = "" if is_gone else "; where this machine is busy, end what keeps it so and start again"
                    raise StackError(
                        f"{part.name} {'ended at once' if is_gone else late}; "
                        f"{last_words(self._home.log(part.name))} (see {self._home.log(part.name)}){advice}"
                    ) from error
            stopping.wait(0.1)

    def launch(self, part: Part) -> None:
        """Start a part, and do not wait for it."""
        self._children = [child for child in self._children if child.poll() is None]
        self._end(self.marked(part.name))  # what a part that was killed left behind
        turn_over(self._home.log(part.name))
        environment = child_environment(**part.environment, **{MARK: self.mark(part.name)})
        with self._home.log(part.name).open("ab") as output:  # to its end, wherever that is: see `logs.turn_over`
            child = subprocess.Popen(
                part.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # Sockets and files of every part, wherever it makes them, are this user's alone.
                umask=0o077,
                cwd=self._home.folder,
            )
        self._children.append(child)
        self.record(part.name, child.pid)

    def named(self, name: str) -> psutil.Process | None:
        """The process that was recorded by this name, if it runs."""
        recorded = self.recorded().get(name)
        return recorded.process() if recorded else None

    def recorded(self) -> dict[str, Pid]:
        """All that were recorded, in the order in which they started; some may have ended."""
        try:
            return PIDS.validate_json(self._pids.read_bytes())
        except OSError:  # nothing was started, or what another user runs
            return {}
        except ValueError:  # of another release, or lost with the power: processes are known by their marks, too
            return {}

    def record(self, name: str, pid: int) -> None:
        """Have others find a process by a name."""
        write_private(self._pids, PIDS.dump_json(self.recorded() | {name: Pid.of(pid)}).decode())

    def mark(self, part: str) -> str:
        """What a process of this stack carries in its environment."""
        return f"{self._home.folder}:{part}"

    def marked(self, part: str = "") -> list[psutil.Process]:
        """Processes that carry this stack's mark, by which orphans are known, and a supervisor that is starting."""
        mark, processes = self.mark(part), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                value = process.environ().get(MARK, "")
                if process.pid != os.getpid() and (value == mark if part else value.startswith(mark)):
                    processes.append(process)
        return processes

    @contextlib.contextmanager
    def guest(self) -> Iterator[None]:
        """Count this process among the guests."""
        self._guests.mkdir(exist_ok=True)
        file = self._guests / str(os.getpid())
        write_private(file, Pid.of(os.getpid()).model_dump_json())
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def guests(self) -> list[psutil.Process]:
        """Processes that need broker and store and are no part of the stack."""
        processes = []
        for file in self._guests.glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # it has just left, or was lost with the power
                processes.append(Pid.model_validate_json(file.read_text()).process())
        return [process for process in processes if process is not None]

    def end_all(self) -> bool:
        """End every process of this stack; guests are asked to leave first. False if there was none."""
        parts = [self.named(name) for name in self.recorded() if name != "supervisor"]
        drained = [*self.guests(), *filter(None, map(self.named, DRAINED))]
        for process in drained:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        psutil.wait_procs(drained, timeout=DRAIN_TIMEOUT_S)
        # In the reverse of the order in which they started: the store outlives those who write to it.
        running = [process for process in reversed(parts) if process is not None]
        for process in running:
            self._end([process])
        left = self._end(self.marked())
        for child in self._children:
            child.wait()
        self._children = []
        self._pids.unlink(missing_ok=True)
        return bool(running) or left

    def end_marked(self) -> bool:
        """End what outlived its state folder. False if there was nothing."""
        return self._end(self.marked())

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


def last_words(log: Path) -> str:
    """The last line of a log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _began(pid: int) -> str:
    """When a process began, told the same however the clock steps. Raises psutil.NoSuchProcess.

    Linux tells it in ticks since the machine's start; psutil adds when that was, which follows the clock.
    """
    if not STATS.exists():
        return str(psutil.Process(pid).create_time())
    try:
        ticks = (STATS.parent / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError) as error:
        raise psutil.NoSuchProcess(pid) from error
    return f"{ticks} since the start {BOOT.read_text().strip() if BOOT.exists() else 'unknown'}"
