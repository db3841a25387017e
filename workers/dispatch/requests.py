"""Desk: carries out what submitters ask, in their names. One bad request hides no other and ends no tick."""

import logging
import time
from typing import Any

from ganservice.errors import GanServiceError, LeadershipLost, Outage, OutageKind, RequestError
from ganservice.job_keys import is_checkpoint_of
from ganservice.queue import JobQueue
from ganservice.requests import (
    LONGEST_REFUSAL,
    CancelSweepRequest,
    Entry,
    Request,
    Requests,
    SubmitRequest,
    SweepRequest,
    script_request,
)
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec
from ganservice.submissions import check_key
from ganservice.users import Users

log = logging.getLogger(__name__)

# Of one user in one round, and of all: whoever asks much keeps neither others nor the gangs waiting.
AT_ONCE, ROUND_S = 5, 0.5


class Desk:
    """Where submitters are answered, by the dispatcher that leads."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        self._requests = Requests(settings)
        self._users = Users(settings)
        self._turn = 0  # whose requests are answered first

    def serve(self, leadership: int) -> None:
        """Answer some of what waits, of each user.

        Raises:
            LeadershipLost: the next dispatcher answers what is left.
        """
        users = self._users.names()
        if not users:
            return
        self._turn = (self._turn + 1) % len(users)
        began = time.monotonic()
        for entries in self._requests.waiting(users[self._turn :] + users[: self._turn], AT_ONCE):
            for entry in entries:
                if time.monotonic() - began > ROUND_S:
                    return
                self._serve(entry, leadership)

    def make_room(self) -> None:
        """Throw away the floods of all users: that takes no memory, and nothing else can be written before."""
        self._requests.unflooded(self._users.names())

    def _serve(self, entry: Entry, leadership: int) -> None:
        envelope = entry.envelope()
        if envelope is None:
            log.warning("%s asks what nobody could be answered to", entry.user)
        elif entry.age_s * 1000 > envelope.lifetime_ms:
            log.warning("%s has asked %.0f s ago, which is too long", entry.user, entry.age_s)
        else:
            answer = self._answer(entry, script_request(entry.user, envelope.id), leadership)
            self._requests.answer(entry, envelope, answer)
        self._requests.drop(entry)

    def _answer(self, entry: Entry, request_id: str, leadership: int) -> dict[str, Any]:
        try:
            request = self._of_user(entry.user, entry.request())
            self._check(entry.user, request)
            return self._queue.carry_out(request, entry.user, request_id=request_id, leadership=leadership)
        except LeadershipLost:
            raise
        except Outage as outage:
            if outage.kind is not OutageKind.FAILING:
                raise
            return {"refusal": str(outage)[:LONGEST_REFUSAL]}  # it would fail again, in everybody's way
        except GanServiceError as error:
            return {"refusal": str(error)[:LONGEST_REFUSAL]}
        except Exception:
            log.exception("a request of %s", entry.user)
            return {"refusal": "the dispatcher fails at this request; its log says why"}

    def _of_user(self, user: str, request: Request) -> Request:
        """The request with an idempotency key that is this user's alone: nobody takes another's."""
        if not isinstance(request, SubmitRequest | SweepRequest) or request.idempotency_key is None:
            return request
        check_key(request.idempotency_key)
        return request.model_copy(update={"idempotency_key": f"{user}/{request.idempotency_key}"})

    def _check(self, user: str, request: Request) -> None:
        """Raise RequestError for what a submitter may not ask."""
        if isinstance(request, CancelSweepRequest):
            self._check_sweep(user, request.sweep_id)
        elif isinstance(request, SweepRequest):
            return  # each of its jobs is a submission of its own
        elif not isinstance(request, SubmitRequest):
            self._check_owner(user, request.job_id, request.kind)
        elif isinstance(request.spec, EvaluateSpec):
            subject = request.spec.subject
            self._check_owner(user, subject.job_id, "evaluate")
            # What is found of it counts as found of the training, up to which generator is fetched.
            if not is_checkpoint_of(subject.checkpoint, subject.job_id, subject.attempt, subject.images):
                raise RequestError(f"{subject.checkpoint} is no checkpoint of {subject}")

    def _check_sweep(self, user: str, sweep_id: str) -> None:
        owner = self._queue.sweep_field(sweep_id, "user")
        if owner != user:
            raise RequestError(f"{sweep_id} is {owner or 'nobody'}'s sweep; {user} may cancel no sweep but {user}'s")

    def _check_owner(self, user: str, job_id: str, act: str) -> None:
        owner = self._queue.user_of(job_id)
        if owner != user and self._queue.knows(job_id):
            whose = f"{owner}'s job" if owner else "a job of nobody's"
            raise RequestError(f"{job_id} is {whose}; {user} may {act} no job but {user}'s")
