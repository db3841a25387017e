"""Jobs read from the hashes that the scripts keep of them in Redis: strings, with times in ms."""

import contextlib
import json

from ganservice.errors import JobUnreadable
from ganservice.job import Job
from ganservice.spec import MAX_SPEC_BYTES, read_spec

# What a job's hash, its streams and its spec are written in. 1, which older jobs do not say, was that of 0.1.0.
FORMAT = 2
UNREADABLE = "the job was written by another version of ganservice, which this one cannot read"
TIMES = (
    "submitted_at",
    "not_before",
    "ready_at",
    "leased_at",
    "heartbeat_at",
    "lease_expires_at",
    "checkpoint_at",
    "finished_at",
    "evaluated_at",
)
NUMBERS = (
    "priority", "order", "attempt", "token", "failures", "troubles", "resumed_images", "images_trained", "until_images",
    "halts",
)  # fmt: skip
# Spans of time, by the field that has them in ms.
SPANS = {
    "leased_s": "leased_ms",
    "leased_before_s": "leased_before_ms",
    "trouble_s": "trouble_ms",
    "evaluations_cpu_s": "evaluations_cpu_ms",
    "evaluations_gpu_s": "evaluations_gpu_ms",
}
FLAGS = ("cancel_requested", "unplaceable", "halted")
OBJECTS = ("spec", "progress", "pulse", "checkpoint", "evaluation", "rollbacks")


def readable_jobs(hashes: list[dict[str, str] | None]) -> list[Job]:
    """The jobs of these hashes, less those that are gone, or that another version wrote: these must hide no others."""
    jobs = []
    for fields in filter(None, hashes):
        with contextlib.suppress(JobUnreadable):
            jobs.append(read_job(fields))
    return jobs


def read_job(fields: dict[str, str]) -> Job:
    """A Job from the strings of its hash. What is JSON in it is read once, as part of the whole; its spec, which never
    changes, once by each process.

    Raises:
        JobUnreadable: another version wrote it, or it is out of bounds.
    """
    try:
        text = fields.get("spec", "")
        if len(text.encode()) > MAX_SPEC_BYTES:
            raise ValueError("its spec is too long")
        return Job.model_validate_json(_json(fields | {"spec": "null"}), context=read_spec(text))
    except (ValueError, OverflowError, RecursionError) as error:
        raise JobUnreadable(f"{fields.get('id')}: {UNREADABLE}") from error


def _json(fields: dict[str, str]) -> str:
    values = {name: json.dumps(text) for name, text in fields.items() if name in Job.model_fields}
    values |= {name: repr(int(float(fields[name])) / 1000) for name in TIMES if name in fields}
    values |= {name: fields[name] for name in (*NUMBERS, *OBJECTS) if name in fields}
    values |= {name: repr(int(float(fields.get(field, 0))) / 1000) for name, field in SPANS.items()}
    if "leased_before_ms" not in fields:  # 0.1.0 leased the newest attempt: what it held of the whole is not known
        values["leased_before_s"] = values["leased_s"]
    values |= {name: "true" if fields.get(name) == "1" else "false" for name in FLAGS}
    return "{" + ",".join(f'"{name}":{text}' for name, text in values.items()) + "}"
