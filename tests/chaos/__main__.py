"""`python -m tests.chaos --seed S --faults N` runs the whole service under N faults and says what they broke."""

import argparse
import faulthandler
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.invariants import ended_wrongly, held_by_nobody, large_job_starts, orphans, tracebacks
from tests.chaos.killer import Killer
from tests.chaos.machine import take_own_mounts
from tests.chaos.plan import Family, draw_plan
from tests.chaos.report import fault_table, violation_story
from tests.chaos.service import Service
from tests.chaos.users import Users
from tests.chaos.watch import Violation, Watch
from tests.chaos.workload import DATA_SET, EVALUATED, EVALUATION, SHARES, draw_wishes
from tests.lifetime import last_will
from tests.specs import draw_shapes

BACKLOG = 5
TELL_S = 15.0
# Nothing at all moves for so long, though all parts work and no job waits for a retry: no event, no report, no counter.
STUCK_S = 180.0
STARTED_AT = time.monotonic()


def say(text: str) -> None:
    """Tell how far the run is."""
    print(f"{time.monotonic() - STARTED_AT:7.1f} s  {text}", flush=True)


class Run:
    """One run: a plan carried out against a service in a folder."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._options = options
        self._service = Service(folder, say)
        self._watch = Watch(self._service.settings)
        wishes = draw_wishes(options.seed, options.recipes, options.real)
        self._users = Users(self._service.users_settings, self._watch, wishes, BACKLOG)
        self._killer = Killer(self._service, self._watch, self._users)
        self._violations: list[Violation] = []

    def run(self) -> int:
        """Carry the plan out. Returns the number of violations."""
        with self._service.running():
            if not self._service.await_well(say):
                raise RuntimeError("the service does not come up")
            self._import_shapes()
            self._users.train_twins(say, self._recipes())
            with self._watch, self._users:
                self._strike()
                self._users.close(self._options.jobs)
                self._service.await_well(say)
                self._await_end()
                ended_at = time.monotonic()
            self._examine(ended_at)
            self._tell()
        return len(self._violations)

    def _recipes(self) -> set[str]:
        evaluated = {EVALUATED} if EVALUATION in self._options.recipes else set()
        return {*self._options.recipes, *(["real"] if self._options.real else [])} - {EVALUATION} | evaluated

    def _import_shapes(self) -> None:
        folder = self._service.folder / "shapes"
        folder.mkdir()
        draw_shapes(folder, DATA_SET)
        command = [sys.executable, "-m", "ganservice.cli", "data", "import", str(folder), "--name", DATA_SET]
        environment = os.environ | {"GANSERVICE_STATE_DIR": str(self._service.folder)}
        subprocess.run([*command, "--size", "16"], env=environment, check=True, capture_output=True)

    def _strike(self) -> None:
        for fault in draw_plan(self._options.seed, self._options.faults, self._options.families):
            if self._watch.quiet_s > STUCK_S:
                self._violations.append(Violation(f"nothing has moved for {STUCK_S:.0f} s"))
                return
            strike = self._killer.strike(fault)
            say(f"fault {fault.number}: {fault}: {strike.outcome or 'holds on'}; {self._standing()}")
        self._killer.join()

    def _standing(self) -> str:
        unfinished = self._watch.unfinished
        states = ", ".join(f"{job.id} {job.state}" for job in unfinished[:6])
        return (
            f"{len(self._users.wanted)} jobs, unfinished: {states or 'none'}; {len(self._watch.violations)} violations"
        )

    def _await_end(self) -> None:
        told_at = time.monotonic()
        while self._watch.unfinished or len(self._users.wanted) < self._options.jobs or self._watch.looks < 3:
            if time.monotonic() - told_at > TELL_S:
                say(f"waits for the last jobs: {self._standing()}")
                told_at = time.monotonic()
            if self._watch.quiet_s > STUCK_S:
                stuck = [Violation(f"it is stuck as {job.state}: {job.waiting_for}", job.id)
                         for job in self._watch.unfinished]  # fmt: skip
                self._violations += stuck or [Violation(f"users are stuck: {self._users.trouble}")]
                return
            time.sleep(0.2)

    def _examine(self, ended_at: float) -> None:
        say("examines what is left")
        self._violations += self._watch.violations
        self._violations += held_by_nobody(self._service, say, ended_at)
        self._violations += orphans(self._service)
        self._violations += tracebacks(self._service)
        self._violations += ended_wrongly(self._service, self._users)
        self._violations += large_job_starts(self._service)

    def _tell(self) -> None:
        strikes = self._killer.strikes
        print("", *fault_table(strikes, self._watch.ended), "", sep="\n")
        for violation in self._violations:
            print(*violation_story(violation, self._service, strikes), "", sep="\n")
        say(
            f"seed {self._options.seed}: {len(strikes)} faults, {len(self._users.wanted)} jobs, "
            f"{self._service.restarts} restarts, {len(self._violations)} violations"
        )


def main() -> int:
    """Run and say how it went: 1 where something is violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what the plan and the jobs are drawn from")
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=0, help="so many jobs at least; they go on while faults do")
    parser.add_argument("--real", type=int, default=0, help="large trainings among them")
    parser.add_argument("--recipes", nargs="+", choices=SHARES, default=list(SHARES), help="what the jobs train")
    parser.add_argument("--families", nargs="+", type=Family, default=list(Family), help="what strikes")
    parser.add_argument("--limit-s", type=float, help="end after so long, and tell where every thread was")
    options = parser.parse_args()
    if options.limit_s:
        faulthandler.dump_traceback_later(options.limit_s, exit=True)
    say(f"seed {options.seed}, {options.faults} faults; own mounts: {take_own_mounts()}")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    down = [sys.executable, "-m", "ganservice.cli", "down", "--purge", "--yes"]
    with ExitStack() as wills:
        wills.enter_context(last_will(down, {**os.environ, "GANSERVICE_STATE_DIR": str(folder)}))
        violations = Run(folder, options).run()
    if violations:
        print(f"logs: {folder / 'logs'}")
    else:
        shutil.rmtree(folder, ignore_errors=True)  # where its mounts are a folder stays, and is empty
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
