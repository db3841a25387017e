"""The embedded stack: starts its parts, keeps them up, says how they are, and ends them by pid."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from ganservice.embedded.doctor import USED_BY_ALL, Diagnosis, Doctor
from ganservice.embedded.home import Home
from ganservice.embedded.logs import forget_sessions, turn_all_over
from ganservice.embedded.parts import Part, embedded_parts, server_parts
from ganservice.embedded.processes import (
    DRAIN_TIMEOUT_S,
    END_TIMEOUT_S,
    MARK,
    READY_TIMEOUT_S,
    Processes,
    Say,
    last_words,
)
from ganservice.embedded.restarts import Restarts
from ganservice.errors import GanServiceError, StackError
from ganservice.file_lock import Holder, file_lock
from ganservice.settings import Settings, child_environment
from ganservice.stack_file import PREFIX

LOOK_S = 0.5


class Stack:
    """One embedded stack, in one state folder; `monitored` by a Prometheus of its own when it is started."""

    def __init__(self, external: Settings, *, monitored: bool = False) -> None:
        self._external = external
        self._monitored = monitored
        self._home = Home(external.state_dir.absolute())
        self._processes = Processes(self._home)
        self._restarts = Restarts(self._home.folder / "restarts.json")

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
                self._processes.start_all(parts, stopping, say)
                self._processes.record("supervisor", os.getpid())
                self._watch(parts, stopping, say)
            finally:
                say("stopping")
                self._processes.end_all()

    @contextlib.contextmanager
    def servers(self, say: Say) -> Iterator[None]:
        """Have broker and store inside the block: configured ones, those of a stack that is up, or else their own.

        Their own end with the last process that is inside one; who has to leave it sooner gets SIGINT.

        Raises:
            StackError: one of them does not start; nothing is left running.
        """
        if self._external.broker_url and self._external.store_url:
            yield
            return
        self._home.make()
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._end_servers, say)
            with self._alone_unless_up() as alone:
                if alone:
                    self._start_servers(say)
                leaving.enter_context(self._processes.guest())
            yield

    def _start_servers(self, say: Say) -> None:
        with self._home.hold_ports():
            settings = self._home.prepare(self._external)
            parts = server_parts(self._home, self._external, settings)
            self._processes.start_all(parts, threading.Event(), say)

    def _end_servers(self, say: Say) -> None:
        """End broker and store unless a guest, or another part of a stack, still needs them."""
        with self._alone_unless_up() as alone:
            running = {name for name in self._processes.recorded() if self._processes.named(name)}
            if alone and running <= USED_BY_ALL and not self._processes.guests():
                self._processes.end_all()
                say("broker and store are down again and keep what they hold; `ganctl up -d` brings them back")

    @contextlib.contextmanager
    def _alone_unless_up(self) -> Iterator[bool]:
        """Wait until nothing is started or ended here, and keep it so; False where the stack is up."""
        with self._lock(self._pause_unless_up) as holder:
            yield holder is Holder.WE

    def _pause_unless_up(self) -> bool:
        """Whether the stack is not up, once a moment has passed."""
        if self.is_up:
            return False
        time.sleep(0.1)
        return True

    def start_detached(self, command: list[str], say: Say) -> bool:
        """Start a supervisor by `command` and wait until the stack works. False if one works already, or is on its way:
        then whatever has ended there is started again without a pause.

        An interrupt ends what was started.
        """
        if self._await_supervisor(lambda: bool(self._processes.marked("supervisor"))):
            if self._monitored and "prometheus" not in self._processes.recorded():
                raise StackError("the stack is up without Prometheus; `ganctl down`, then start it with --monitor")
            if ended := [name for name in self._processes.recorded() if self._processes.named(name) is None]:
                say(f"{', '.join(ended)} has ended and is started again at once")
            self._restarts.forget()
            return False
        self._home.make()
        log = self._home.log("supervisor")
        environment = child_environment(
            # It is started in another folder, from which a relative name leads elsewhere.
            **{MARK: self._processes.mark("supervisor"), f"{PREFIX}STATE_DIR": str(self.folder)}
        )
        log.write_bytes(b"")
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o077,
                cwd="/",
            )
        try:
            if not self._await_supervisor(lambda: process.poll() is None):
                raise StackError(last_words(log).removeprefix("error: "))
        except KeyboardInterrupt:
            self.down()
            raise
        for line in log.read_text(errors="replace").splitlines():
            say(line)
        return True

    def down(self) -> bool:
        """End the stack; its state stays. False if nothing ran. Raises RequestError if it is another user's."""
        if not self.exists:
            return self._processes.end_marked()  # what outlived its folder
        supervisors = {*filter(None, [self._supervisor()]), *self._processes.marked("supervisor")}
        for supervisor in supervisors:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor.terminate()
        psutil.wait_procs(supervisors, timeout=DRAIN_TIMEOUT_S + 4 * END_TIMEOUT_S)
        return self._processes.end_all() or bool(supervisors)

    def purge(self) -> list[str]:
        """Delete the state: jobs, artifacts, credentials. Returns what else lies in the folder and stays, by name.

        Raises:
            StackError: something of the state stays.
        """
        self._home.delete()
        if self._home.own():
            raise StackError(f"{self.folder}: cannot be deleted whole; see what is left there and who may delete it")
        return self._home.others()

    def examine(self) -> list[Diagnosis]:
        """How every part is, and what to do about those that are not well."""
        return Doctor(self._external, self._home, self._processes, self._restarts).examine()

    def _prepare(self) -> list[Part]:
        if self._processes.named("ray") is None:
            forget_sessions(self._home.ray_dir)
        settings = self._home.prepare(self._external, monitored=self._monitored)
        return embedded_parts(self._home, self._external, settings, monitored=self._monitored)

    def _watch(self, parts: list[Part], stopping: threading.Event, say: Say) -> None:
        self._restarts.forget()
        while not stopping.wait(LOOK_S):
            turn_all_over(self._home.log("supervisor").parent)
            for part in parts:
                if self._processes.named(part.name) is None and self._restarts.is_due(part.name):
                    self._restart(part, say)

    def _restart(self, part: Part, say: Say) -> None:
        say(f"{part.name} has ended; starting it again")
        self._restarts.note_start(part.name)
        try:
            self._processes.launch(part)
        except (GanServiceError, OSError) as error:  # a full disk, a program that is being replaced: tried again
            say(f"{part.name} cannot be started: {error}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._home.make()
        with self._lock(lambda: False) as holder:
            if holder is Holder.ANOTHER:
                raise StackError(f"a stack is already up in {self.folder}; `ganctl down` ends it")
            yield

    @contextlib.contextmanager
    def _lock(self, wait: Callable[[], bool]) -> Iterator[Holder]:
        """The lock that whoever starts or ends parts holds. Raises StackError where none can be had."""
        with file_lock(self._home.folder / "lock", wait) as holder:
            if holder is Holder.NOBODY:
                raise StackError(
                    f"{self.folder}: no lock can be had there, so that two stacks could start at once; set "
                    "GANSERVICE_STATE_DIR to a folder of a disk of this machine, which you may write to"
                )
            yield holder

    def _await_supervisor(self, is_starting: Callable[[], bool]) -> bool:
        """Wait until the supervisor has recorded itself, which it does when all parts work; False if none starts."""
        deadline = time.monotonic() + 4 * READY_TIMEOUT_S
        while self._supervisor() is None:
            if not is_starting():
                return self._supervisor() is not None  # it may have recorded itself in between
            if time.monotonic() > deadline:
                raise StackError(self._waiting())
            time.sleep(0.1)
        return True

    def _waiting(self) -> str:
        """What a stack that has not come up in time waits for, and what to do."""
        part = next(
            reversed([name for name in self._processes.recorded() if self._processes.named(name)]), "supervisor"
        )
        log = self._home.log(part)
        said = last_words(log) if log.exists() else "it said nothing"
        return (
            f"the stack has not come up within {4 * READY_TIMEOUT_S:.0f} s and waits for {part}: {said} (see {log}); a "
            "busy machine may need longer: try `ganctl up -d` again, which goes on waiting, or `ganctl down`"
        )

    def _supervisor(self) -> psutil.Process | None:
        return self._processes.named("supervisor")


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
