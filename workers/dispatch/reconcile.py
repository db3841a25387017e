"""Decides what to do about gangs and attempts that do not belong together. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from ganservice.job import RunningAttempt
from ganservice.leadership import is_dispatcher
from workers.dispatch.name import GangName


@dataclass(frozen=True)
class Acts:
    """What makes that which exists be that which should."""

    remove: list[GangName]  # no current attempt is theirs
    adopt: list[RunningAttempt]  # their gang is there, and nobody watches it
    give_back: list[RunningAttempt]  # a dispatcher leased them, and no gang runs them
    missing: frozenset[GangName]  # the gangs of attempts that have begun, not found this time


def reconcile(
    found: Collection[GangName],
    watched: Collection[GangName],
    running: Collection[RunningAttempt],
    missing_before: Collection[GangName] = (),
) -> Acts:
    """Compare the gangs that Ray has with the attempts that hold a lease.

    `found` was read before `running`: a gang starts after its attempt, so that one without is over for good. `watched`
    are the gangs that the caller settles himself. An attempt that has begun is given up when its gang has been missing
    for a while, in `missing_before`: what Ray tells of a head that has just come back may lack something.
    """
    attempts = {GangName(attempt.job_id, attempt.attempt): attempt for attempt in running}
    stray = [name for name in found if name not in watched]
    lost = {
        name: attempt
        for name, attempt in attempts.items()
        if name not in found and name not in watched and is_dispatcher(attempt.owner)
    }
    return Acts(
        remove=sorted(name for name in stray if name not in attempts),
        adopt=[attempts[name] for name in sorted(stray) if name in attempts],
        give_back=[lost[name] for name in sorted(lost) if not lost[name].has_begun or name in missing_before],
        missing=frozenset(name for name, attempt in lost.items() if attempt.has_begun),
    )
