"""What whoever has a worker's, or a dispatcher's, rights at Redis writes there: jobs, logs, events, what leads."""

import contextlib
import json
from typing import Any, cast

import redis
from hypothesis import strategies as st

from ganservice.broker import ROOT
from ganservice.job import EventKind, Job, Lease
from ganservice.queue import JobQueue, NewEvent
from ganservice.spec_file import parse_spec
from tests.any_spec import FIRST
from tests.hostile.draw import JSON_VALUES, damaged_trees
from tests.hostile.ground import Ground
from tests.strangers_text import strangers_texts

MIXTURE = next(tree for tree in FIRST if tree["name"] == "mixture")
VICTIM = "victim"
# So large that no dispatcher places it.
SPEC = parse_spec(MIXTURE | {"name": VICTIM, "resources": {"workers": 1, "cpus_per_worker": 4_096}}, "records")
FIELDS = (
    *Job.model_fields, "cpus", "gpus", "format", "leased_ms", "leased_before_ms", "trouble_ms", "attempt_images",
    "ready_at", "yield_requested", "held_until", "evaluates", "\x1b[2J", "x",
)  # fmt: skip
PROGRESS = {
    "images": 64, "step": 8, "loss_g": 1.0, "loss_d": 1.5, "score_real": 1.0, "score_fake": -1.0, "grad_norm_g": 2.0,
    "grad_norm_d": 3.0, "images_per_s": 100.0, "step_s": 0.08,
}  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "x",
            "-1",
            "nan",
            "inf",
            "1e999",
            "[]",
            "{}",
            "null",
            "9" * 400,
            "9" * 18,
            "\x00",
            "1.5",
            "[" * 100_000,
            "running",
            "queued",
            "succeeded",
            "failed",
            "253402300800000",
            "-253402300800000",
            "1e300",
        ]
    ),
    strangers_texts,
    st.sampled_from(JSON_VALUES).map(json.dumps),
    damaged_trees(PROGRESS).map(json.dumps),
    damaged_trees(SPEC.model_dump(mode="json")).map(json.dumps),
).map(lambda text: text.encode("utf-8", "replace").decode())
LOOKS = (
    ["list"], ["list", "-o", "json"], ["show", "{}"], ["show", "{}", "-o", "json"], ["events", "{}"], ["logs", "{}"],
    ["logs", "{}", "-o", "json"], ["wait", "{}", "--timeout", "0"], ["report", "{}", "--into", "report.html"],
    ["quota", "show"], ["nodes"], ["gc", "--dry-run"], ["compare", "{}"], ["list", "--user", "me"],
)  # fmt: skip

damages = st.tuples(
    st.booleans(),
    st.dictionaries(st.sampled_from(FIELDS), TEXTS, min_size=1, max_size=5),
    st.lists(st.sampled_from(LOOKS), min_size=4, max_size=8),
)


def feed_damage(ground: Ground, value: tuple[bool, dict[str, str], list[list[str]]]) -> None:
    """Damage a job's hash; all that look at jobs look at it, and a sound one is found beside it."""
    runs, damage, looks = value
    job_id = _victim(ground, runs)
    try:
        ground.worker.hset(f"{ROOT}job:{job_id}", mapping=cast(Any, damage))
        _look(ground, job_id, looks)
        ground.ganctl("cancel", job_id, "--now", writes=True)
        ground.look([["show", job_id], ["list"]])
    finally:
        forget(ground, job_id)


def _victim(ground: Ground, runs: bool) -> str:
    job_id, _ = ground.queue.submit(SPEC)
    if runs:
        with contextlib.suppress(Exception):
            ground.queue.take(job_id)
    return job_id


def _look(ground: Ground, job_id: str, looks: list[list[str]], *, shared: bool = False) -> None:
    """Have it shown by commands and by a scrape; where what all jobs share is damaged, that may say so."""
    ground.look([[word.format(job_id) for word in look] for look in looks])
    page = ground.service.work / "report.html"
    if page.exists():
        text = page.read_text()
        if "<script>alert" in text or "<img src=x" in text:
            ground.violation("the report page says what a browser would run")
    ground.scrape(may_be_down=shared)


def forget(ground: Ground, job_id: str) -> None:
    """Take every trace of a job out of Redis and the bucket."""
    with ground.admin.pipeline(transaction=False) as pipeline:
        for key in ground.admin.scan_iter(match=f"{ROOT}*", count=1_000):
            if job_id in key:
                pipeline.delete(key)
                continue
            match ground.admin.type(key):
                case "zset":
                    pipeline.zrem(key, job_id)
                case "set":
                    pipeline.srem(key, job_id)
        pipeline.execute()
    for key in ground.store.keys(job_id):
        ground.store.objects.delete(key)


KINDS = ("string", "list", "set", "zset", "stream", "gone")
NAMES = (
    "job:{}", "events:{}", "logs:{}", "evaluations:{}", "evaluations_under_way:{}", "named:victim", "state:queued",
    "state:running", "ready_of:ada", "queued_of:ada", "running_of:ada", "ready_users", "delayed", "jobs", "ids",
    "totals", "order", "jobs_of:ada", "user_of", "followers:{}",
)  # fmt: skip
types = st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS), TEXTS)


def feed_type(ground: Ground, value: tuple[str, str, str]) -> None:
    """Put another type of value under a key of ours, for a moment."""
    name, kind, text = value
    job_id = _victim(ground, runs=False)
    key = ROOT + name.format(job_id)
    if not ground.service.calm.acquire(blocking=False):  # a sound job would be hurt too
        forget(ground, job_id)
        return
    saved = _dumped(ground, key)
    try:
        ground.worker.delete(key)
        _make(ground.worker, key, kind, text)
        looks = [["list"], ["show", "{}"], ["events", "{}"], ["logs", "{}"], ["quota", "show"], ["doctor"]]
        _look(ground, job_id, looks, shared="{}" not in name)
        ground.ganctl("cancel", job_id, "--now", writes=True)
    finally:
        ground.admin.delete(key)
        if saved is not None:
            _restore(ground, key, saved)
        ground.service.calm.release()
        forget(ground, job_id)


ids = st.tuples(
    st.sampled_from(["ids", "named:away", "jobs", "state:queued"]),
    st.sampled_from(
        ["away-1/../../../canary/x", "..", "away-/etc", "away-1\x1b[2J", "away-" + "x" * 5_000, "away-1", ""]
    ),
)


def feed_id(ground: Ground, value: tuple[str, str]) -> None:
    """Put a job, in all but its id like another, where words for jobs lead to it."""
    place, found = value
    base = ground.found["base"]
    try:
        ground.worker.hset(f"{ROOT}job:{found}", mapping=cast(Any, ground.admin.hgetall(f"{ROOT}job:{base}")))
        ground.worker.zadd(ROOT + place, {found: 0})
        for word in ("away", "away-", ""):
            ground.look([["show", word], ["events", word], ["report", word], ["fetch", word], ["sample", word]])
        ground.look([["list"], ["list", "-o", "json"], ["gc", "--dry-run"], ["list", "--stored"]])
        ground.scrape()
        made = {path.name for path in ground.service.work.iterdir()}
        if made - {"report.html", "away-1", "away-1.html", "away-1-samples.png"}:
            ground.violation(f"files of other names are made: {sorted(made)}")
        if (inside := sorted(path.name for path in ground.service.canary.iterdir())) != ["bird"]:
            ground.violation(f"a command has written elsewhere: {inside}")
    finally:
        ground.worker.delete(f"{ROOT}job:{found}")
        for each in ("ids", "named:away", "jobs", "state:queued"):
            ground.worker.zrem(ROOT + each, found)


def _dumped(ground: Ground, key: str) -> bytes | None:
    raw = redis.Redis.from_url(ground.service.settings.require_broker())
    found = raw.dump(key)
    raw.close()
    return found


def _restore(ground: Ground, key: str, saved: bytes) -> None:
    raw = redis.Redis.from_url(ground.service.settings.require_broker())
    raw.restore(key, 0, saved, replace=True)
    raw.close()


def _make(client: redis.Redis, key: str, kind: str, text: str) -> None:
    match kind:
        case "string":
            client.set(key, text)
        case "list":
            client.rpush(key, text)
        case "set":
            client.sadd(key, text)
        case "zset":
            client.zadd(key, {text: 1e300})
        case "stream":
            client.xadd(key, {text: text, "kind": text, "detail": text, "attempt": text, "text": text})


entries = st.dictionaries(
    st.sampled_from(["kind", "attempt", "detail", "text", "x"]), TEXTS, min_size=1, max_size=5
)  # fmt: skip
said = st.tuples(
    st.lists(strangers_texts | st.sampled_from(["x" * 1_000_000, "\n" * 10_000, "\x1b" * 10_000]), max_size=4),
    st.dictionaries(strangers_texts, st.sampled_from(JSON_VALUES), max_size=3),
    entries,
    st.tuples(st.sampled_from(["message", "waiting_for", "owner", "generator", "user", "reason"]), strangers_texts),
)


def feed_said(ground: Ground, value: tuple[list[str], dict[str, Any], dict[str, str], tuple[str, str]]) -> None:
    """Say it with a heartbeat, as a worker may, and past that, straight into the streams."""
    lines, detail, entry, (field, text) = value
    job_id, _ = ground.queue.submit(SPEC)
    try:
        lease: Lease = ground.queue.take(job_id)
        with JobQueue(ground.service.settings_of("gan-worker")) as worker, ground.refusal("a heartbeat"):
            events = [NewEvent(EventKind.CHECKPOINT_DAMAGED, detail)]
            worker.heartbeat(lease, logs=lines, events=events)
        for stream in ("events", "logs"):
            ground.worker.xadd(f"{ROOT}{stream}:{job_id}", cast(Any, entry))
        ground.worker.hset(f"{ROOT}job:{job_id}", field, text.encode("utf-8", "replace").decode())
        ground.worker.hset(f"{ROOT}evaluations:{job_id}", field, text.encode("utf-8", "replace").decode())
        _look(ground, job_id, [list(look) for look in LOOKS])
    finally:
        forget(ground, job_id)
