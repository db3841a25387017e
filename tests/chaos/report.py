"""Report: the table of the faults of a run, and of each violation how it came about."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from ganservice.errors import GanServiceError
from ganservice.job import Reason
from ganservice.queue import JobQueue
from tests.chaos.killer import STRUCK, Strike
from tests.chaos.service import DISPATCHERS, Service
from tests.chaos.watch import Violation

LAST_LINES = 12


def fault_table(strikes: list[Strike], ended: list[tuple[float, str]]) -> Iterator[str]:
    """One line for each kind of fault: how often it struck, and how attempts `ended` from then until the next fault."""
    by_kind: dict[str, list[Strike]] = defaultdict(list)
    for strike in strikes:
        by_kind[strike.fault.kind.name].append(strike)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for at, reason in ended:
        before = [strike for strike in strikes if strike.at <= at]
        if before and reason != Reason.SUCCEEDED:
            reasons[before[-1].fault.kind.name][reason] += 1
    yield f"{'fault':<30} {'faults':>6} {'struck':>6}  attempts that ended then, before the next fault"
    for name, own in sorted(by_kind.items()):
        told = ", ".join(f"{reason} {count}" for reason, count in reasons[name].most_common())
        struck = sum(strike.outcome.startswith(STRUCK) for strike in own)
        yield f"{name:<30} {len(own):>6} {struck:>6}  {told}".rstrip()
        yield from sorted({f"    {strike.outcome}" for strike in own if ":" in strike.outcome})
    total = Counter(reason for _, reason in ended)
    yield "all attempts: " + ", ".join(f"{reason} {count}" for reason, count in total.most_common())


def violation_story(violation: Violation, service: Service, strikes: list[Strike]) -> Iterator[str]:
    """How a violation came about: the job's events and last lines, the faults of that time, the dispatchers' words."""
    yield f"VIOLATION {_clock(violation.at)} {violation.job_id or ''}: {violation.what}"
    if violation.job_id is None:
        for strike in [strike for strike in strikes if strike.at <= violation.at][-4:]:
            yield f"    fault {_clock(strike.at)} {strike.fault}: {strike.outcome}"
        return
    story: list[tuple[float, str]] = []
    try:
        with JobQueue(service.settings) as queue:
            events, logs = queue.events(violation.job_id), queue.logs(violation.job_id)
    except GanServiceError as error:
        yield f"    {error}"
        return
    story += [(event.at, f"event {event.kind} of attempt {event.attempt} {event.detail or ''}") for event in events]
    since = min([event.at for event in events], default=violation.at - 60) - 15
    until = max([event.at for event in events], default=violation.at) + 15
    story += [
        (strike.at, f"FAULT {strike.fault}: {strike.outcome}") for strike in strikes if since <= strike.at <= until
    ]
    yield from (f"    {_clock(at)} {text}" for at, text in sorted(story))
    yield from (f"    said of attempt {line.attempt}: {line.text}" for line in logs[-LAST_LINES:])
    for name in DISPATCHERS:
        said = [line for line in _lines(service, name) if violation.job_id in line]
        yield from (f"    {name}: {line}" for line in said[-LAST_LINES:])


def _lines(service: Service, name: str) -> list[str]:
    path = service.log(name)
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-4]
