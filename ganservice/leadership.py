"""Leadership: which of several dispatchers acts. A lease in Redis, with a token that only grows.

{gan}:leader           hash    owner, token, when it runs out and when its owner last looked at the queue; in ms
{gan}:dispatchers      zset    all dispatchers, by when they last looked
{gan}:cluster          string  what the leader last saw of the cluster
"""

import secrets
import time
from typing import Any, cast

from ganservice.broker import ROOT, Broker
from ganservice.job import Capacity
from ganservice.model import Count, Model, Text, Time
from ganservice.settings import Settings, process_name
from ganservice.silence import SilenceWatch

# A leader that is silent for longer is succeeded by the next dispatcher that asks.
LEADERSHIP_S = 5.0
DISPATCHER_SILENCE_S = 10


def is_dispatcher(owner: str) -> bool:
    """Whether the owner of a lease is a dispatcher, by how Leadership names it; `ganctl run` has no gang."""
    return "/" in owner


class Cluster(Model):
    """The CPUs and GPUs that Ray has, and those that no gang holds."""

    nodes: Count
    total: Capacity
    free: Capacity


class LeadingDispatcher(Model):
    """The dispatcher that acts."""

    owner: Text
    looked_at: Time


class Leadership(Broker):
    """The dispatchers of one queue."""

    scripts = ("lead", "resign")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Containers may share a host's name and number their processes alike: host:pid alone names no dispatcher.
        self.owner = f"{process_name()}/{secrets.token_hex(3)}"
        self._watch = SilenceWatch[str](LEADERSHIP_S)

    def lead(self, cluster: Cluster | None = None) -> int | None:
        """Become or stay the leader, and tell what the cluster looks like; its token, or None while another leads.

        Every dispatcher asks well within LEADERSHIP_S, and so sees by its own clock when the leader does not any more.
        """
        answer = self._lead(cluster)
        if "token" not in answer:
            silent = self._watch.look({answer["owner"]: answer["expires_at"]}, time.monotonic())
            if silent:
                answer = self._lead(cluster, silent_until=answer["expires_at"])
        return int(answer["token"]) if "token" in answer else None

    def _lead(self, cluster: Cluster | None, **silence: str) -> dict[str, Any]:
        return self._run(
            "lead",
            owner=self.owner,
            lease_ms=int(LEADERSHIP_S * 1000),
            silence_ms=DISPATCHER_SILENCE_S * 1000,
            cluster=cluster and cluster.model_dump_json(),
            **silence,
        )

    def resign(self, token: int) -> None:
        """Let the next dispatcher lead at once, if the token is still the leader's."""
        self._run("resign", owner=self.owner, token=token)

    def leader(self) -> LeadingDispatcher | None:
        """Who leads, if anyone does."""
        with self._translated():
            answer = cast(dict[str, str], self._redis.hgetall(ROOT + "leader"))
            now_ms = self._now_ms()
        try:
            if int(answer["expires_at"]) <= now_ms:
                return None
            return LeadingDispatcher(owner=answer["owner"], looked_at=int(answer["looked_at"]) / 1000)
        except (KeyError, ValueError, OverflowError):  # nobody leads, or another hand wrote it
            return None

    def cluster(self) -> Cluster | None:
        """What the leader last saw."""
        with self._translated():
            answer = cast(str | None, self._redis.get(ROOT + "cluster"))
        try:
            return Cluster.model_validate_json(answer) if answer else None
        except ValueError:  # another hand wrote it
            return None

    def dispatchers(self) -> list[str]:
        """The dispatchers that looked at the queue in the last DISPATCHER_SILENCE_S, as host:pid/number."""
        with self._translated():
            since = self._now_ms() - DISPATCHER_SILENCE_S * 1000
            return cast(list[str], self._redis.zrangebyscore(ROOT + "dispatchers", since, "+inf"))
