"""Users: the registry of those whom the operator has entered.

{gan}:users            hash    a `UserRecord` of each user as JSON, by name; `*` is that of everybody else
"""

import json
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganservice.broker import ROOT, Broker
from ganservice.errors import BrokerOutage, RequestError

# The entry that holds for users who have none of their own.
EVERYBODY = "*"
LARGEST_QUOTA = 1_000_000
Quota = Annotated[int, Field(ge=0, le=LARGEST_QUOTA)]


class UserRecord(BaseModel):
    """What the operator has laid down for one user; None sets no limit. Keys of later releases are left alone."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    jobs_queued: Quota | None = None
    jobs_running: Quota | None = None
    cpus: Quota | None = None
    gpus: Quota | None = None


class Users(Broker):
    """The registry of one Redis. Safe to share between threads."""

    def all(self) -> dict[str, UserRecord]:
        """The record of each user by name. Raises RequestError for a registry that another hand has damaged."""
        with self._translated():
            entries = cast(dict[str, str], self._redis.hgetall(ROOT + "users"))
        return {name: _record(name, text) for name, text in sorted(entries.items())}

    def names(self) -> list[str]:
        """Those who are entered, whatever their records say."""
        with self._translated():
            names = cast(list[str], self._redis.hkeys(ROOT + "users"))
        return sorted(name for name in names if name != EVERYBODY)

    def get(self, name: str) -> UserRecord | None:
        """The user's own record, if there is one. Raises RequestError for one that another hand has damaged."""
        with self._translated():
            text = cast(str | None, self._redis.hget(ROOT + "users", name))
        return None if text is None else _record(name, text)

    def put(self, name: str, record: UserRecord) -> None:
        """Enter a user, or change what is entered."""
        text = json.dumps(record.model_dump(exclude_none=True))
        with self._translated():
            self._redis.hset(ROOT + "users", name, text)

    def remove(self, name: str) -> bool:
        """Take a user out; whether there was one. His jobs stay."""
        with self._translated():
            return bool(self._redis.hdel(ROOT + "users", name))

    def grant(self, line: str) -> bool:
        """Have Redis know the user of a line of its ACL from now on; whether it will after a restart too.

        Raises:
            RightMissing: the user of this connection manages no others.
        """
        _, name, *rules = line.split()
        with self._translated():
            cast(Any, self._redis).execute_command("ACL SETUSER", name, "reset", *rules)
        return self._save()

    def revoke(self, name: str) -> bool:
        """Have Redis forget the user at once, and end his connections; whether it will after a restart too.

        Raises:
            RightMissing: the user of this connection manages no others.
        """
        with self._translated():
            self._redis.acl_deluser(name)
        return self._save()

    def _save(self) -> bool:
        try:
            with self._translated():
                self._redis.acl_save()
        except BrokerOutage:  # it has its users from redis.conf, which only its operator can write
            return False
        return True


def _record(name: str, text: str) -> UserRecord:
    try:
        return UserRecord.model_validate_json(text)
    except ValidationError as error:
        raise RequestError(f"{ROOT}users: the entry of {name} is no record of a user; enter it anew") from error
