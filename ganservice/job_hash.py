"""Jobs read from the hashes that the scripts keep of them in Redis: strings, with times in ms."""

import contextlib
import json

from ganservice.errors import JobUnreadable
from ganservice.job import Job

UNREADABLE = "the job was written by another version of ganservice, which this one cannot read; submit it again"
TIMES = (
    "submitted_at",
    "not_before",
    "ready_at",
    "leased_at",
    "heartbeat_at",
    "lease_expires_at",
    "checkpoint_at",
    "finished_at",
)
NUMBERS = ("priority", "order", "attempt", "token", "failures", "resumed_images", "images_trained")
OBJECTS = ("spec", "progress", "pulse", "checkpoint", "evaluation", "rollbacks")


def readable_jobs(hashes: list[dict[str, str]]) -> list[Job]:
    """The jobs of these hashes, less those that are gone, or that another version wrote: these must hide no others."""
    jobs = []
    for fields in filter(None, hashes):
        with contextlib.suppress(JobUnreadable):
            jobs.append(read_job(fields))
    return jobs


def read_job(fields: dict[str, str]) -> Job:
    """A Job from the strings of its hash. What is JSON in it is read once, as part of the whole.

    Raises:
        JobUnreadable: another version wrote it.
    """
    try:
        values = {name: json.dumps(text) for name, text in fields.items() if name in Job.model_fields}
        values |= {name: repr(int(float(fields[name])) / 1000) for name in TIMES if name in fields}
        values |= {name: fields[name] for name in (*NUMBERS, *OBJECTS) if name in fields}
        values["leased_s"] = repr(int(fields.get("leased_ms", 0)) / 1000)
        values["cancel_requested"] = "true" if fields.get("cancel_requested") == "1" else "false"
        return Job.model_validate_json("{" + ",".join(f'"{name}":{text}' for name, text in values.items()) + "}")
    except (ValueError, OverflowError) as error:
        raise JobUnreadable(f"{fields.get('id')}: {UNREADABLE}") from error
