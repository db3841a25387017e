"""Requests: what users ask of the queue. Who may run no script asks the leading dispatcher, which does it in his name.

{gan}:requests:NAME    stream  what NAME asks and nobody has answered yet; only this user of Redis can write it, so that
                               its key is the proof of who asks
{gan}:reply:NAME/ID    string  the answer to a request
"""

import json
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, PlainSerializer, StringConstraints, TypeAdapter, ValidationError
from redis.client import NEVER_DECODE

from ganservice.broker import ROOT, Broker
from ganservice.errors import BrokerOutage, NoDispatcher, RequestError
from ganservice.mistakes import describe_mistake
from ganservice.model import JobId, Model
from ganservice.patience import pauses
from ganservice.roles import REQUESTS
from ganservice.spec import MAX_SPEC_BYTES, JobSpec
from ganservice.sweep import SweepSpec

log = logging.getLogger(__name__)

# A request that no dispatcher has come to for so long is carried out no more.
LIFETIME_S = 60.0
# Its sender looks for the answer a little longer, for who began in time.
GRACE_S = 5.0
WORD_S = 3.0
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 0.3
REPLY_S = 300
# Of one user: what waits beyond this is a flood, which is thrown away unread.
LONGEST_STREAM, LARGEST_STREAM_BYTES = 200, 16_000_000
# No spec is larger, and the mistakes of what is hardly one take time to list.
LONGEST_REQUEST_BYTES = MAX_SPEC_BYTES + 4_096
LONGEST_REFUSAL = 500


class SubmitRequest(Model):
    """Put a job into the queue."""

    kind: Literal["submit"] = "submit"
    spec: JobSpec
    idempotency_key: str | None = None  # as `submissions.check_key` has them
    after: JobId | None = None  # the job that is to succeed first


class CancelRequest(Model):
    """Cancel a job, after a checkpoint or at once."""

    kind: Literal["cancel"] = "cancel"
    job_id: Annotated[str, StringConstraints(max_length=100)]
    now: bool = False


class RetryRequest(Model):
    """Put a failed or cancelled job back into the queue."""

    kind: Literal["retry"] = "retry"
    job_id: Annotated[str, StringConstraints(max_length=100)]


class PrioritiseRequest(Model):
    """Give a job another priority."""

    kind: Literal["prioritise"] = "prioritise"
    job_id: Annotated[str, StringConstraints(max_length=100)]
    priority: Annotated[int, Field(ge=0, le=100)]


class SweepRequest(Model):
    """Have the dispatcher submit the jobs of a sweep."""

    kind: Literal["sweep"] = "sweep"
    # Without what nobody wrote: a setting may be of another kind of loss, which has not the same keys.
    spec: Annotated[SweepSpec, PlainSerializer(lambda spec: spec.model_dump(mode="json", exclude_unset=True))]
    idempotency_key: str | None = None  # as `submissions.check_key` has them


class CancelSweepRequest(Model):
    """Cancel a sweep, with all its jobs."""

    kind: Literal["cancel_sweep"] = "cancel_sweep"
    sweep_id: Annotated[str, StringConstraints(max_length=100)]


Request = SubmitRequest | CancelRequest | RetryRequest | PrioritiseRequest | SweepRequest | CancelSweepRequest
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Discriminator("kind")])


class Envelope(Model):
    """The entry of a stream, but for what is asked."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    lifetime_ms: Annotated[int, Field(ge=0, le=600_000)]


@dataclass(frozen=True)
class Entry:
    """What a user has put into his stream, whatever it is."""

    user: str
    key: str  # the entry's, by which it is taken out
    age_s: float
    fields: dict[bytes, bytes]

    def envelope(self) -> Envelope | None:
        """Whom to answer; None where nobody could find the answer."""
        try:
            return Envelope(id=self.fields[b"id"].decode("ascii"), lifetime_ms=int(self.fields[b"lifetime_ms"][:10]))
        except (KeyError, ValueError):
            return None

    def request(self) -> Request:
        """What is asked. Raises RequestError where this version does not understand it."""
        text = self.fields.get(b"request", b"")
        if len(text) > LONGEST_REQUEST_BYTES:
            raise RequestError(f"the request has {len(text):,} bytes; expected at most {LONGEST_REQUEST_BYTES:,}")
        try:
            return _REQUEST.validate_json(text)
        except ValidationError as error:
            mistake = error.errors()[0]
            told = describe_mistake(".".join(map(str, mistake["loc"])) or "request", mistake)
            raise RequestError(f"the dispatcher does not understand the request: {told}"[:LONGEST_REFUSAL]) from error


class Requests(Broker):
    """The streams of all users, for who asks and for who answers."""

    def ask(self, user: str, request: Request) -> dict[str, Any]:
        """What the script answers that a dispatcher has run for the user of this connection.

        Raises:
            NoDispatcher: none has come to it in time; none will.
            RequestError: the dispatcher refuses it.
            RightMissing: this user may not even ask.
        """
        request_id = secrets.token_hex(16)
        fields = {"id": request_id, "lifetime_ms": int(LIFETIME_S * 1000), "request": request.model_dump_json()}
        with self._translated():
            self._redis.xadd(REQUESTS + user, cast(Any, fields))
        answer = cast(dict[str, Any], json.loads(self._await(_reply_key(user, request_id))))
        if "refusal" in answer:
            raise RequestError(str(answer["refusal"]))
        return answer

    def _await(self, key: str) -> str:
        began, is_told = time.monotonic(), False
        for pause_s in pauses(FIRST_LOOK_S, LONGEST_LOOK_S):
            outage = None
            try:
                with self._translated():
                    answer = cast(str | None, self._redis.get(key))
                if answer is not None:
                    return answer
            except BrokerOutage as error:  # what was asked is there when it is back
                outage = error
            waited_s = time.monotonic() - began
            if waited_s > LIFETIME_S + GRACE_S:
                raise outage or NoDispatcher(
                    f"no dispatcher has answered in {LIFETIME_S:g} s, and none will do what was asked any more; "
                    "see `ganctl doctor`"
                )
            if waited_s > WORD_S and not is_told:
                is_told = True
                log.warning("%s; the request waits", outage or "no dispatcher answers")
            time.sleep(pause_s)
        raise AssertionError("pauses have no end")

    def waiting(self, users: Sequence[str], count: int) -> Iterator[list[Entry]]:
        """The oldest requests of each of these users who has any, `count` of each at most."""
        streams = self.unflooded(users)
        if not streams:
            return
        with self._translated():
            now_ms = self._now_ms()
            # Undecoded, for one user's broken letters must not hide what others ask.
            command = ("XREAD", "COUNT", count, "STREAMS", *streams, *("0" for _ in streams))
            found = cast(Any, self._redis).execute_command(*command, **{NEVER_DECODE: True})
        for stream, entries in found or []:
            user = stream.decode().removeprefix(REQUESTS)
            yield [
                Entry(user, key.decode(), (now_ms - int(key.partition(b"-")[0])) / 1000, fields or {})
                for key, fields in entries
            ]

    def unflooded(self, users: Sequence[str]) -> list[str]:
        """The streams in which something waits, less those that are flooded, which are thrown away."""
        streams = [REQUESTS + user for user in users]
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for stream in streams:
                pipeline.xlen(stream)
            lengths = dict(zip(streams, pipeline.execute(), strict=True))
            streams = [stream for stream, length in lengths.items() if length]
            for stream in streams:
                # The bytes of one that is too long would take long to count.
                pipeline.memory_usage(stream, samples=0 if lengths[stream] <= LONGEST_STREAM else 1)
            sizes = dict(zip(streams, pipeline.execute(), strict=True))
        flooded = {s for s in streams if lengths[s] > LONGEST_STREAM or (sizes[s] or 0) > LARGEST_STREAM_BYTES}
        for stream in flooded:
            log.warning("%s is flooded: %d requests are thrown away", stream, lengths[stream])
            with self._translated():
                self._redis.delete(stream)
        return [stream for stream in streams if stream not in flooded]

    def answer(self, entry: Entry, envelope: Envelope, answer: dict[str, Any]) -> None:
        """Leave an answer for who asked, unless the script has."""
        with self._translated():
            self._redis.set(_reply_key(entry.user, envelope.id), json.dumps(answer), ex=REPLY_S, nx=True)

    def drop(self, entry: Entry) -> None:
        """Take out what is done with."""
        with self._translated():
            self._redis.xdel(REQUESTS + entry.user, entry.key)


def script_request(user: str, request_id: str) -> str:
    """The id by which a script remembers that it has done what a user asked; no other user can have the same."""
    return f"{user}/{request_id}"


def _reply_key(user: str, request_id: str) -> str:
    return f"{ROOT}reply:{script_request(user, request_id)}"
