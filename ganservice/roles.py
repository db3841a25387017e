"""Roles: the rights of each kind of user at Redis and at the store, which these enforce; written here alone.

`python -m ganservice.roles >deploy/redis/users.acl`

Scripts and functions run with the rights of who calls them: whoever may run ours may write their keys without them. So
a submitter may run none; he asks the leading dispatcher, by a stream that only he can write. See `requests`.
"""

import hashlib
import sys
from enum import StrEnum

from ganservice.broker import ROOT

REQUESTS = ROOT + "requests:"


class Role(StrEnum):
    """The kinds of users that Redis has for us."""

    OPERATOR = "operator"
    DISPATCHER = "dispatcher"
    WORKER = "worker"
    EXPORTER = "exporter"
    READER = "reader"
    SUBMITTER = "submitter"
    RAY = "ray"  # the head of Ray, which keeps what it knows in the same Redis


# The users that a deployment has one of, each in its role; submitters are called as they please.
NAMES = {
    "gan": Role.OPERATOR,
    "gan-dispatcher": Role.DISPATCHER,
    "gan-worker": Role.WORKER,
    "gan-exporter": Role.EXPORTER,
    "gan-reader": Role.READER,
    "ray": Role.RAY,
}
# What the scripts of an attempt write, below the root: what becomes of jobs, never who leads or who may do what. The
# root itself is the key that they declare.
JOB_KEYS = (
    "", "job:*", "events:*", "logs:*", "evaluations:*", "evaluations_under_way:*", "ready", "ready_of:*", "ready_users",
    "queued_of:*", "running_of:*", "delayed", "state:*", "jobs", "ids", "named:*", "idempotency:*", "claim:*",
    "reply:*", "order", "totals", "followers:*", "following_of:*", "waiting", "ended", "jobs_of:*", "user_of",
)  # fmt: skip
LEADER_KEYS = (
    "leader", "token", "dispatchers", "cluster", "nodes", "requests:*", "sweep:*", "sweep_jobs:*", "sweeps",
    "live_sweeps", "aside",
)  # fmt: skip
# Whoever can write at all finds out by it whether the server takes writes.
PROBE_KEYS = ("probe:*",)
# By role: the keys that may be written, below the root; what may be done, beside reading every key of ours.
# `ganctl doctor` asks for the time and the state of the server. Patterns of keys hold in every database, and functions
# belong to the whole server.
LOOK = "-@all +@read +@connection +time -@dangerous -select +info"
RUN = "-@all +@read +@write +@connection +evalsha +script|load +time -@dangerous -select -function +info"
RIGHTS: dict[Role, tuple[tuple[str, ...], str]] = {
    Role.OPERATOR: (
        ("*",),
        "-@all +@read +@write +@connection +@scripting +@transaction +time -@dangerous -function +info",
    ),
    Role.DISPATCHER: ((*JOB_KEYS, *LEADER_KEYS, *PROBE_KEYS), RUN),
    Role.WORKER: ((*JOB_KEYS, *PROBE_KEYS), RUN),
    Role.EXPORTER: (PROBE_KEYS, f"{LOOK} +set"),
    Role.READER: ((), LOOK),
    Role.SUBMITTER: (("requests:{name}",), f"{LOOK} +xadd"),
}
RAY_RIGHTS = "resetchannels ~RAY* ~DUMMY -@all +@read +@write +@connection -@dangerous -function +info"


# By role: where it writes objects; all read everything. Workers have the keys of their dispatchers, who need none.
STORE_KEYS: dict[Role, tuple[str, ...]] = {
    Role.OPERATOR: ("",),
    Role.WORKER: ("jobs/", "networks/", "statistics/"),
    Role.EXPORTER: ("health/",),
    Role.READER: (),
    Role.SUBMITTER: ("data/", "starts/", "weights/", "code/", "jobs/*/reports/", "health/"),
}


def rights(role: Role, name: str) -> str:
    """What a user of this name and role may do, as Redis writes it."""
    if role is Role.RAY:
        return RAY_RIGHTS
    keys, commands = RIGHTS[role]
    written = [f"~{ROOT}{key.format(name=name)}" for key in keys]
    read = [] if "*" in keys else [f"%R~{ROOT}*"]
    return " ".join(["resetchannels", *read, *written, commands])


def acl_line(name: str, role: Role, password: str) -> str:
    """The line of redis.conf, or of an ACL file, that makes a user; of the password only its SHA-256."""
    return f"user {name} on #{hashlib.sha256(password.encode()).hexdigest()} {rights(role, name)}"


def store_actions(role: Role, bucket: str) -> list[str]:
    """What an identity of SeaweedFS may do in this role, as its configuration says it."""
    return [f"Read:{bucket}", f"List:{bucket}", *(f"Write:{bucket}/{key}*" for key in STORE_KEYS[role])]


def template() -> str:
    """The lines of a whole deployment, with a word such as DISPATCHER_PASSWORD in the place of each password."""
    return "".join(f"user {name} on >{role.upper()}_PASSWORD {rights(role, name)}\n" for name, role in NAMES.items())


if __name__ == "__main__":
    sys.stdout.write(template())
