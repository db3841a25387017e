"""`python -m tests.hostile --seconds S --seed N` throws hostile inputs at the whole service and says what they did."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray reads these when it is imported, and torch this.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}

from hypothesis import strategies as st

from tests.hostile.draw import drawn
from tests.hostile.families import (
    addresses,
    asking,
    files,
    jobs,
    leaders,
    looking,
    models,
    names,
    pictures,
    records,
    specs,
    stored,
)
from tests.hostile.ground import Case, Ground
from tests.hostile.prepare import prepare
from tests.hostile.report import Tally, keep, table, watched, write_reasons
from tests.hostile.service import Service
from tests.hostile.watch import Watch

# Of one round, each family has so long at most, once it has begun.
TURN_S = 15.0
TOLD_EVERY_S = 60.0
KEPT = Path(__file__).parents[2] / ".hostile"
STARTED_AT = time.monotonic()


@dataclass(frozen=True)
class Family:
    """A kind of input, where such are drawn from, and who is fed with them; so many in a round."""

    name: str
    inputs: st.SearchStrategy[Any]
    feed: Callable[[Ground, Any], None]
    count: int = 12


def families(ground: Ground) -> list[Family]:
    """All of them; some are made of what is sound."""
    checkpoints = models.checkpoints(ground.found["checkpoint"])
    return [
        Family("specs", specs.inputs, specs.feed),
        Family("valid specs", specs.valid_inputs, specs.feed_valid, 4),
        Family("names", names.inputs, names.feed, 20),
        Family("keys", names.keys, names.feed_key, 6),
        Family("archives", files.archives(), pictures.feed_archive),
        Family("folders", pictures.folders, pictures.feed_folder, 6),
        Family("idx", pictures.idx_folders, pictures.feed_idx, 8),
        Family("latents", pictures.arrays, pictures.feed_array, 6),
        Family("known pictures", files.archives(), pictures.feed_known, 2),
        Family("enlarged pictures", looking.enlarged, looking.feed_enlarged, 6),
        Family("the page of explore", looking.asked, looking.feed_asked, 6),
        Family("manifests", stored.manifest_inputs, stored.feed_manifest, 6),
        Family("stored arrays", stored.array_inputs, stored.feed_array, 6),
        Family("checkpoints", checkpoints, models.feed_checkpoint, 6),
        Family("generators", models.generators(ground.found["bundle"]), models.feed_generator, 5),
        Family("pictures and metrics", stored.left_inputs, stored.feed_left, 5),
        Family("networks", models.weights_inputs, models.feed_network, 8),
        Family("damaged jobs", records.damages, records.feed_damage, 5),
        Family("wrong types", records.types, records.feed_type, 5),
        Family("odd ids", records.ids, records.feed_id, 2),
        Family("said by workers", records.said, records.feed_said, 4),
        Family("said by leaders", leaders.led, leaders.feed_led, 5),
        Family("requests", asking.inputs, asking.feed, 5),
        Family("others' jobs", asking.theirs, asking.feed_theirs, 2),
        Family("settings", addresses.settings_inputs, addresses.feed_settings, 12),
        Family("weights sources", addresses.sources, addresses.feed_source, 8),
        Family("jobs", jobs.inputs(checkpoints), jobs.feed, 1),
    ]


def say(text: str) -> None:
    """Tell how far the run is."""
    print(f"{time.monotonic() - STARTED_AT:7.1f} s  {text}", flush=True)


class Run:
    """One run against a service in a folder."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._options = options
        self._service = Service(folder)
        self._tallies: dict[str, Tally] = {}
        self._fed = "it starts"
        self._told_at = 0.0

    def run(self) -> int:
        """Throw until the time is over. Returns the number of violations."""
        with self._service.running():
            ground = Ground(self._service)
            prepare(ground)
            say("all is up; inputs come")
            ends_at = time.monotonic() + self._options.seconds
            with Watch(self._service, self._options.sound_every, lambda: self._fed) as watch:
                for family, number in self._turns(families(ground), ends_at):
                    self._turn(ground, family, number, watch)
                self._fed = "it ends"
            print("", *table(self._tallies), "", *watched(watch), "", sep="\n")
        count = sum(len(tally.violations) for tally in self._tallies.values()) + len(watch.violations)
        inputs = sum(tally.inputs for tally in self._tallies.values())
        say(f"seed {self._options.seed}: {inputs} inputs, {count} violations; what was kept of them: {KEPT}")
        return count

    def _turns(self, found: list[Family], ends_at: float) -> Iterator[tuple[Family, int]]:
        wanted = self._options.families
        chosen = [family for family in found if not wanted or family.name in wanted]
        for number in itertools.count():
            for family in chosen:
                if time.monotonic() > ends_at or number == self._options.rounds:
                    return
                yield family, number

    def _turn(self, ground: Ground, family: Family, number: int, watch: Watch) -> None:
        """Feed what a round draws of a family."""
        began = time.monotonic()
        seed = self._options.seed * 1_000_003 + number
        count = min(family.count, self._options.most or family.count)
        for place, value in enumerate(drawn(family.inputs, seed, count)):
            if time.monotonic() - began > TURN_S and place:
                break
            self._fed = f"{family.name} {number}/{place}"
            case = ground.case = Case(family.name, value)
            started = time.monotonic()
            try:
                family.feed(ground, value)
            except Exception as error:  # noqa: BLE001 # one input must not end the run
                ground.violation(f"the input cannot be fed: {type(error).__name__}: {str(error)[:500]}")
            ground.look_for_traces()
            ground.clear_work()
            self._tallies.setdefault(family.name, Tally()).add(case, time.monotonic() - started)
            if case.violations:
                where = f"seed{self._options.seed}-{family.name.replace(' ', '-')}-{number}-{place}"
                keep(case, KEPT / "violations", where)
                say(f"VIOLATION {self._fed}: {case.violations[0][:600]}")
        write_reasons(self._tallies, KEPT / f"reasons-seed{self._options.seed}.json")
        if time.monotonic() - self._told_at > TOLD_EVERY_S:
            self._told_at = time.monotonic()
            inputs = sum(tally.inputs for tally in self._tallies.values())
            violations = sum(len(tally.violations) for tally in self._tallies.values())
            say(f"round {number}: {inputs} inputs, {violations} violations, {len(watch.violations)} seen by the watch; "
                f"sound jobs: {len(watch.sound)}")  # fmt: skip


def main() -> int:
    """Run and say how it went: 1 where something is violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3_600.0)
    parser.add_argument("--seed", type=int, default=1, help="what the inputs are drawn from")
    parser.add_argument("--families", nargs="+", help="only these")
    parser.add_argument("--rounds", type=int, default=-1, help="so many at most")
    parser.add_argument("--most", type=int, default=0, help="so many inputs of a family in a round at most")
    parser.add_argument("--sound-every", type=float, default=300.0, help="a sound job is submitted so often, in s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="host-", ignore_cleanup_errors=True) as folder:
        return int(Run(Path(folder), options).run() > 0)


if __name__ == "__main__":
    sys.exit(main())
