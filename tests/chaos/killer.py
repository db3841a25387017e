"""Killer: carries out the faults of a plan, each in a thread of its own, and mends them again."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from ganservice.errors import GanServiceError
from ganservice.leadership import Leadership
from tests.chaos.aof import cut_back, newest_file
from tests.chaos.plan import MOMENT_LIMIT_S, Fault
from tests.chaos.proxy import Proxy
from tests.chaos.service import DISPATCHERS, Service
from tests.chaos.trouble import BROKER_ANSWERS, STORE_ANSWERS, Trouble, Way
from tests.chaos.users import Users
from tests.chaos.watch import Watch

STRUCK, NOTHING = "struck", "nothing to hit"
DELAYS_S = (0.05, 0.3, 1.5)
CLOCK_STEPS_S = (40, 3_600, 86_400)
END_S = 60.0


@dataclasses.dataclass
class Strike:
    """A fault as it was carried out."""

    fault: Fault
    at: float  # Unix time, s
    outcome: str = ""


class Killer:
    """Strikes a service."""

    def __init__(self, service: Service, watch: Watch, users: Users) -> None:
        self._service = service
        self._watch = watch
        self._users = users
        self._locks = {name: threading.Lock() for name in ("broker", "store", "broker proxy", "store proxy", "clock")}
        self._threads: list[threading.Thread] = []
        self.strikes: list[Strike] = []

    def strike(self, fault: Fault) -> Strike:
        """Wait for the fault's moment and strike; returns once it is mended, or at once if it overlaps the next."""
        time.sleep(fault.pause_s)
        started, checkpoints = time.monotonic(), self._watch.checkpoints
        while not self._watch.is_at(fault.moment, checkpoints) and time.monotonic() - started < MOMENT_LIMIT_S:
            time.sleep(0.05)
        strike = Strike(fault, time.time())
        self.strikes.append(strike)
        thread = threading.Thread(target=self._carry_out, args=[strike], name=fault.kind.name)
        self._threads.append(thread)
        thread.start()
        if not fault.overlaps:
            thread.join()
        return strike

    def join(self) -> None:
        """Wait until everything is mended."""
        for thread in self._threads:
            thread.join()

    def _carry_out(self, strike: Strike) -> None:
        try:
            strike.outcome = self._action(strike.fault)(strike.fault)
        except (psutil.Error, GanServiceError, OSError) as error:
            strike.outcome = f"{NOTHING}: {type(error).__name__}: {error}"

    def _action(self, fault: Fault) -> Callable[[Fault], str]:
        verb, _, rest = fault.kind.name.partition(" ")
        if verb in ("broker", "store"):
            return lambda fault: self._trouble(fault, verb, rest)
        return {
            "kill": self._kill,
            "term": self._signal,
            "interrupt": self._signal,
            "freeze": self._freeze,
            "cut": self._cut_back,
            "flush": self._flush,
            "clock": self._step,
            "fill": self._fill,
        }[verb]

    def _parts(self, fault: Fault) -> list[str]:
        """The parts that a fault is about; a worker is none."""
        what = fault.kind.name.rpartition(" ")[2]
        if what == "dispatcher":
            return [self._dispatcher(fault)]
        return {"worker": [], "head": ["ray"], "dispatchers": list(DISPATCHERS)}.get(what, [what])

    def _victims(self, fault: Fault, parts: list[str]) -> list[psutil.Process]:
        """Their processes; all those of a machine, where that is what fails."""
        if not parts:
            workers = self._service.workers()
            return [workers[fault.choice % len(workers)]] if workers else []
        if parts in (["ray"], ["node"]):
            return self._service.tree(parts[0])
        return [process for name in parts if (process := self._service.process(name))]

    def _dispatcher(self, fault: Fault) -> str:
        """The leader, more often than not."""
        if fault.choice % 10 < 7:
            with contextlib.suppress(GanServiceError), Leadership(self._service.settings) as leadership:
                leader = leadership.leader()
                for name in DISPATCHERS:
                    process = self._service.process(name)
                    if leader and process and f":{process.pid}/" in leader.owner:
                        return name
        return DISPATCHERS[fault.choice % 2]

    def _kill(self, fault: Fault) -> str:
        with contextlib.ExitStack() as stack:
            parts = self._parts(fault)
            for name in parts:
                stack.enter_context(self._own(name))
                stack.enter_context(self._service.held(name))
            victims = self._victims(fault, parts)
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            if victims:
                time.sleep(fault.hold_s)
        return STRUCK if victims else NOTHING

    def _signal(self, fault: Fault) -> str:
        victims = self._victims(fault, self._parts(fault))
        for victim in victims:
            victim.send_signal(signal.SIGINT if fault.kind.name.startswith("interrupt") else signal.SIGTERM)
        return STRUCK if victims else NOTHING

    def _freeze(self, fault: Fault) -> str:
        with contextlib.ExitStack() as stack:
            parts = self._parts(fault)
            for name in parts:
                stack.enter_context(self._own(name))
            victims = self._victims(fault, parts)
            for victim in victims:
                victim.suspend()
            try:
                time.sleep(fault.hold_s if victims else 0)
            finally:
                for victim in victims:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.resume()
        return STRUCK if victims else NOTHING

    def _trouble(self, fault: Fault, server: str, rest: str) -> str:
        proxy, answers = {
            "broker": (self._service.broker_proxy, BROKER_ANSWERS),
            "store": (self._service.store_proxy, STORE_ANSWERS),
        }[server]
        answer = rest.removeprefix("answers ")
        delay_s = DELAYS_S[fault.choice % len(DELAYS_S)]
        trouble = answers[answer] if answer in answers else Trouble(Way(rest), delay_s if rest == "delay" else 0.0)
        return self._behind(proxy, f"{server} proxy", trouble, fault.hold_s)

    def _behind(self, proxy: Proxy, lock: str, trouble: Trouble, hold_s: float) -> str:
        with self._own(lock):
            hits = proxy.hits
            with proxy.in_trouble(trouble):
                time.sleep(hold_s)
            return STRUCK if proxy.hits > hits else NOTHING

    def _cut_back(self, fault: Fault) -> str:
        with self._own("broker"), self._service.held("broker"):
            file = newest_file(self._service.broker_folder)
            size = file.stat().st_size
            time.sleep(fault.hold_s)
            broker = self._service.process("broker")
            if broker is None:
                return NOTHING
            broker.kill()
            psutil.wait_procs([broker], timeout=END_S)
            lost = cut_back(file, size)
            self._watch.forget_totals()
            self._users.lose()
        return STRUCK if lost else NOTHING

    def _flush(self, fault: Fault) -> str:
        del fault
        self._watch.flush_scripts()
        return STRUCK

    def _step(self, fault: Fault) -> str:
        step_s = CLOCK_STEPS_S[fault.choice % len(CLOCK_STEPS_S)]
        with self._own("clock"):
            self._service.clock.step_ms(1_000 * (step_s if fault.kind.name.endswith("forward") else -step_s))
            time.sleep(fault.hold_s)
            self._service.clock.step_ms(0)
        return STRUCK

    def _fill(self, fault: Fault) -> str:
        of_broker = "broker" in fault.kind.name
        disk = self._service.broker_disk if of_broker else self._service.store_disk
        with self._own("broker" if of_broker else "store"):
            try:
                if disk.fill():
                    time.sleep(fault.hold_s)
                    return STRUCK
            finally:
                disk.empty()
        # No file system of our own may be mounted here: what a full one leads to is said by the proxy.
        proxy = self._service.broker_proxy if of_broker else self._service.store_proxy
        answer = BROKER_ANSWERS["misconf"] if of_broker else STORE_ANSWERS["507"]
        outcome = self._behind(proxy, "broker proxy" if of_broker else "store proxy", answer, fault.hold_s)
        return f"{outcome}: by an answer of the proxy, for no disk could be mounted"

    @contextlib.contextmanager
    def _own(self, name: str) -> Iterator[None]:
        """One fault at a time for what cannot suffer two."""
        with self._locks.get(name, contextlib.nullcontext()):
            yield
