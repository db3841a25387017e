"""Report: the table of a run, and each violation with the very input that made it, kept in a folder."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.ground import Case
from tests.hostile.watch import Watch

# Of one family; the others are counted.
KEPT = 200


@dataclass
class Tally:
    """What became of the inputs of one family."""

    inputs: int = 0
    commands: int = 0
    refused: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    # Why things were refused, and how often, without what differs from one to the next.
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, seconds: float) -> None:
        """Count an input."""
        self.inputs += 1
        self.commands += len(case.commands)
        self.refused += case.is_refused
        self.seconds += seconds
        self.violations += case.violations
        for given in case.commands:
            if given.is_refused:
                self.reasons[_reason(given.stderr)] += 1


def _reason(stderr: str) -> str:
    last = (stderr.strip().splitlines() or [""])[-1]
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"|/\S+", "#", last)[:160]


def write_reasons(tallies: dict[str, Tally], path: Path) -> None:
    """Write by family why things were refused: whether an input gets as far as it was meant to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({name: dict(tally.reasons.most_common(60)) for name, tally in tallies.items()}, indent=1)
    )


def table(tallies: dict[str, Tally]) -> Iterator[str]:
    """A line for each family, and one for all."""
    heads = ("inputs", 7), ("commands", 9), ("refused", 8), ("accepted", 9), ("violations", 11), ("seconds", 8)
    yield f"{'family':<22} {' '.join(head.rjust(width) for head, width in heads)}"
    whole = Tally()
    for name, tally in sorted(tallies.items()):
        yield _row(name, tally)
        whole.inputs, whole.commands = whole.inputs + tally.inputs, whole.commands + tally.commands
        whole.refused, whole.seconds = whole.refused + tally.refused, whole.seconds + tally.seconds
        whole.violations += tally.violations
    yield _row("all", whole)


def _row(name: str, tally: Tally) -> str:
    return (
        f"{name:<22} {tally.inputs:>7,} {tally.commands:>9,} {tally.refused:>8,} "
        f"{tally.inputs - tally.refused:>9,} {len(tally.violations):>11,} {tally.seconds:>8,.0f}"
    )


def watched(watch: Watch) -> Iterator[str]:
    """What the watch has seen."""
    for part, samples in watch.memory_mb.items():
        yield f"{part}: {samples[0]:,.0f} MB at first, {max(samples):,.0f} at most, {samples[-1]:,.0f} at last"
    yield f"scrapes: {watch.scrapes}, the slowest {watch.slowest_scrape_s:.1f} s"
    yield f"tracebacks in logs: {watch.tracebacks}; restarts: {watch.restarts}"
    yield f"sound jobs: {'; '.join(watch.sound)}"
    for what, fed in watch.violations.items():
        yield f"VIOLATION while {fed}: {what}"


def keep(case: Case, folder: Path, where: str) -> None:
    """Write a case with violations where it can be looked at and fed again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{where}.json"
    if len(list(folder.iterdir())) >= KEPT:
        return
    told = {
        "family": case.family,
        "where": where,
        "violations": case.violations,
        "input": repr(case.value)[:2_000_000],
        "commands": [
            {
                "arguments": [ascii(word)[:2_000] for word in given.arguments],
                "code": given.code,
                "stdout": given.stdout[:4_000],
                "stderr": given.stderr[:8_000],
                "seconds": round(given.seconds, 2),
                "peak_mb": round(given.peak_mb),
            }
            for given in case.commands
        ],
    }
    path.write_text(json.dumps(told, indent=1))
