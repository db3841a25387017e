"""What a submitter asks by his stream: malformed, oversize, too often, and in the name or about the job of another."""

import json
import secrets
from typing import Any, cast

from hypothesis import strategies as st

from ganservice.broker import ROOT
from ganservice.errors import GanServiceError
from ganservice.queue import JobQueue
from ganservice.requests import SubmitRequest
from ganservice.spec import MAX_SPEC_BYTES
from tests.conftest import wait_until
from tests.hostile.draw import DEEP_JSON, damaged_trees, odd_texts
from tests.hostile.families.records import SPEC, TEXTS, forget
from tests.hostile.ground import Ground
from tests.hostile.service import MALLORY, SOUND


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "replace")


STREAM = f"{ROOT}requests:{MALLORY}"
ASKED = SubmitRequest(spec=SPEC).model_dump_json()
requests = st.one_of(
    damaged_trees(SubmitRequest(spec=SPEC).model_dump(mode="json")).map(_json),
    TEXTS.map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(DEEP_JSON),
    st.binary(max_size=100),
    st.just(b'{"kind":"submit","spec":' + b" " * 3_000_000 + b"}"),
    st.just(ASKED.replace("victim", "v" * (MAX_SPEC_BYTES + 1)).encode()),
    odd_texts.map(lambda text: _json({"kind": "cancel", "job_id": text, "now": True})),
    odd_texts.map(lambda text: _json({"kind": "retry", "job_id": text})),
    odd_texts.map(lambda text: _json({"kind": "cancel_sweep", "sweep_id": text})),
    odd_texts.map(lambda text: _json({"kind": "sweep", "spec": {"base": {"name": text}, "factors": [text]}})),
    odd_texts.map(lambda text: _json({"kind": text, "job_id": "x"})),
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["0" * 32, "x", "../reply", "0" * 33, "\xff", ""]),
        "lifetime_ms": st.sampled_from(["60000", "-1", "9" * 400, "x", "600001", "1e9"]),
    },
)
inputs = st.tuples(requests, envelopes, st.sampled_from([1, 1, 1, 5, 300]))


def feed(ground: Ground, value: tuple[bytes, dict[str, str], int]) -> None:
    """Put it into the stream, past all code of ours; then ask something sound, which is answered."""
    request, envelope, count = value
    fields = {"id": secrets.token_hex(16), "lifetime_ms": "60000", "request": request} | envelope
    before = _jobs(ground)
    for number in range(count):
        ground.mallory.xadd(STREAM, cast(Any, fields | ({"n": number} if count > 1 else {})))
    # A flood takes one's own requests with it.
    wait_until(lambda: not ground.admin.xlen(STREAM))
    try:
        with JobQueue(ground.service.settings_of(MALLORY)) as queue:
            job_id, _ = queue.submit(SPEC)
            queue.cancel(job_id, now=True)
    except GanServiceError as error:
        ground.violation(f"a sound request after it: {type(error).__name__}: {error}")
    answer = ground.admin.get(f"{ROOT}reply:{MALLORY}/{fields['id']}")
    ground.heard("a request", json.loads(answer).get("refusal") if answer else "no answer")
    for made in _jobs(ground) - before:
        if not made.startswith(SOUND):
            forget(ground, made)


def _jobs(ground: Ground) -> set[str]:
    return set(cast(list[str], ground.admin.zrange(ROOT + "jobs", 0, -1)))


theirs = st.sampled_from(["cancel", "cancel now", "retry", "write", "lease", "script"])


def feed_theirs(ground: Ground, way: str) -> None:
    """Ask of another's job what its user alone may, or do it without asking: his job stays as it is."""
    job_id, _ = ground.queue.submit(SPEC)
    try:
        before = ground.admin.hgetall(f"{ROOT}job:{job_id}")
        with ground.refusal(way), JobQueue(ground.service.settings_of(MALLORY)) as queue:
            match way:
                case "cancel" | "cancel now":
                    queue.cancel(job_id, now=way == "cancel now")
                case "retry":
                    queue.retry(job_id)
                case "lease":
                    queue.take(job_id)
                case "write":
                    queue.fail(job_id, "mine")
                case "script":
                    queue.forget()
        now = ground.admin.hgetall(f"{ROOT}job:{job_id}")
        ours = {key: value for key, value in before.items() if key != "waiting_for"}
        if ours != {key: now.get(key) for key in ours}:
            ground.violation(f"{way}: the job of another is another now: {now.get('state')!r}")
    finally:
        forget(ground, job_id)
