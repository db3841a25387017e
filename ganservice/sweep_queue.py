"""SweepQueue: what the leading dispatcher does with the jobs of sweeps. Each step may be repeated: it is done once."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ganservice.job import Reason, State
from ganservice.requests import SubmitRequest
from ganservice.spec import TrainSpec
from ganservice.submissions import Submissions
from ganservice.sweep import Place
from ganservice.sweep_plan import Child, standing
from ganservice.sweeps import Sweep, children_text

# Who has a job of a sweep stopped.
ITS_SWEEP = "its sweep"


class SweepQueue(Submissions):
    """The part of the queue that advances sweeps. Every method raises LeadershipLost once another dispatcher leads."""

    scripts = (*Submissions.scripts, "promote", "settle_sweep")

    def submit_children(
        self, sweep: Sweep, jobs: Mapping[Place, TrainSpec], until_images: int | None, leadership: int
    ) -> str | None:
        """Submit the jobs of places, unless they are there. Returns why one may not be submitted now, if that is so;
        none that takes something else comes before it then."""
        for _, alike in itertools.groupby(jobs.items(), key=lambda job: job[1].resources):
            places, specs = zip(*alike, strict=True)
            requests = [SubmitRequest(spec=spec) for spec in specs]
            more = [{"sweep": _place(sweep, place, until_images), "leadership": leadership} for place in places]
            for answer in self._submit_together(requests, sweep.user, more):
                if "refused" in answer:
                    return cast(str, answer["refused"])
        return None

    def promote(self, child: Child, until_images: int, leadership: int) -> None:
        """Let a job that has halted go on."""
        self._run("promote", id=child.job_id, until_images=until_images, leadership=leadership)

    def stop(self, job_id: str, why: str, leadership: int) -> None:
        """Cancel a job and what is to be found of it, whoever wrote it."""
        for each in [job_id, *self.evaluation_jobs(job_id)]:
            self._end(
                each, State.CANCELLED, Reason.CANCELLED, by=ITS_SWEEP, because=why, now=False, leadership=leadership
            )

    def pin(self, sweep: Sweep, leadership: int) -> Sweep:
        """The sweep with the protocol by which its jobs compare, written down as soon as anything was found under it:
        what another release, or another classifier, finds later does not decide anew."""
        protocol = self.protocol_of(sweep)
        if protocol != sweep.protocol:
            sweep = sweep.model_copy(update={"protocol": protocol})
            self.settle(sweep, State.RUNNING, sweep.children, leadership, waiting_for=sweep.waiting_for)
        return sweep

    def settle(
        self,
        sweep: Sweep,
        state: State,
        children: Sequence[Child],
        leadership: int,
        *,
        message: str = "",
        waiting_for: str | None = None,
    ) -> None:
        """Write down how the jobs of a sweep stand and what it waits for, and with a final state that it is over."""
        self._settle(
            sweep.id,
            state,
            leadership,
            message=message,
            waiting_for=waiting_for,
            children=children_text(children),
            jobs=standing(child.word for child in children),
            protocol=sweep.protocol,
        )

    def settle_unreadable(self, sweep_id: str, leadership: int) -> None:
        """Write down that a sweep that cannot be read is cancelled; one that is gone is looked at no more."""
        self._settle(sweep_id, State.CANCELLED, leadership, message="")

    def _settle(self, sweep_id: str, state: State, leadership: int, **told: Any) -> None:
        self._run("settle_sweep", id=sweep_id, state=state, ttl_ms=self._ttl_ms, leadership=leadership, **told)


def _place(sweep: Sweep, place: Place, until_images: int | None) -> dict[str, Any]:
    """The place of a job in a sweep, as `submit.lua` has it."""
    told: dict[str, Any] = {"id": sweep.id, "place": str(place)}
    return told if until_images is None else told | {"until_images": until_images}
