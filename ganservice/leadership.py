"""Leadership: which of several dispatchers acts. A lease in Redis, with a token that only grows.

{gan}:leader           hash    owner, its release, token, when that runs out, when its owner last looked; in ms
{gan}:dispatchers      zset    all dispatchers, by when they last looked
{gan}:cluster          string  what the leader last saw of the cluster
{gan}:nodes            string  and of its nodes, NODES_TOLD of them at most
"""

import secrets
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast

from pydantic import TypeAdapter

from ganservice.broker import ROOT, Broker
from ganservice.job import Capacity
from ganservice.model import Count, Model, Text, Time
from ganservice.settings import Settings, process_name
from ganservice.silence import SilenceWatch
from ganservice.spec import Resources

# A leader that is silent for longer is succeeded by the next dispatcher that asks.
LEADERSHIP_S = 5.0
DISPATCHER_SILENCE_S = 10
NODES_TOLD = 1_000


def is_dispatcher(owner: str) -> bool:
    """Whether the owner of a lease is a dispatcher, by how Leadership names it; `ganctl run` has no gang."""
    return "/" in owner


class Cluster(Model):
    """The CPUs and GPUs of the nodes that take work, and those that no gang holds."""

    nodes: Count
    total: Capacity
    free: Capacity

    def cannot_hold(self, resources: Resources) -> str | None:
        """What a job that takes so much would wait for in vain, as `lease.lua` has it; None where it would not."""
        if resources.cpus <= self.total.cpus and resources.gpus <= self.total.gpus:
            return None
        return f"{_amount(resources.cpus, resources.gpus)}; the cluster has {_amount(self.total.cpus, self.total.gpus)}"


def _amount(cpus: float, gpus: float) -> str:
    text = f"{cpus:.0f} CPU{'' if cpus == 1 else 's'}"
    return f"{text} and {gpus:.0f} GPU{'' if gpus == 1 else 's'}" if gpus else text


class Node(Model):
    """A node of the cluster, and the jobs that have a worker on it."""

    id: str
    host: str
    address: str
    total: Capacity
    free: Capacity  # as Ray counts it
    jobs: tuple[str, ...] = ()
    drains: bool = False  # its gangs have been asked to leave it


_NODES = TypeAdapter(tuple[Node, ...])


class LeadingDispatcher(Model):
    """The dispatcher that acts."""

    owner: Text
    looked_at: Time
    release: Text | None = None  # of ganservice; None of one from before it was told


class Leadership(Broker):
    """The dispatchers of one queue."""

    scripts = ("lead", "resign")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Containers may share a host's name and number their processes alike: host:pid alone names no dispatcher.
        self.owner = f"{process_name()}/{secrets.token_hex(3)}"
        self._watch = SilenceWatch[str](LEADERSHIP_S)

    def lead(self, cluster: Cluster | None = None, nodes: Sequence[Node] = ()) -> int | None:
        """Become or stay the leader, and tell what the cluster looks like; its token, or None while another leads.

        Every dispatcher asks well within LEADERSHIP_S, and so sees by its own clock when the leader does not any more.
        """
        seen = {
            "cluster": cluster.model_dump_json() if cluster else None,
            "nodes": _NODES.dump_json(tuple(nodes[:NODES_TOLD])).decode(),
        }
        answer = self._lead(seen)
        if "token" not in answer:
            silent = self._watch.look({answer["owner"]: answer["expires_at"]}, time.monotonic())
            if silent:
                answer = self._lead(seen, silent_until=answer["expires_at"])
        return int(answer["token"]) if "token" in answer else None

    def _lead(self, seen: dict[str, str | None], **silence: str) -> dict[str, Any]:
        return self._run(
            "lead",
            owner=self.owner,
            lease_ms=int(LEADERSHIP_S * 1000),
            silence_ms=DISPATCHER_SILENCE_S * 1000,
            release=version("ganservice"),
            **seen,
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
            owner, _, release = answer.get("release", "").partition(" ")
            return LeadingDispatcher(
                owner=answer["owner"],
                looked_at=int(answer["looked_at"]) / 1000,
                release=release if owner == answer["owner"] else None,
            )
        except (KeyError, ValueError, OverflowError):  # nobody leads, or another hand wrote it
            return None

    def warnings(self) -> list[str]:
        """A word about a leader whose release is not the one here. Raises BrokerOutage."""
        leader, own = self.leader(), version("ganservice")
        if leader is None or leader.release in (None, own):
            return []
        return [f"its leading dispatcher is of release {leader.release}, and here is {own}: upgrade the older one"]

    def cluster(self) -> Cluster | None:
        """What the leader last saw."""
        with self._translated():
            answer = cast(str | None, self._redis.get(ROOT + "cluster"))
        try:
            return Cluster.model_validate_json(answer) if answer else None
        except ValueError:  # another hand wrote it
            return None

    def nodes(self) -> list[Node]:
        """The nodes that the leader last saw, NODES_TOLD of them at most."""
        with self._translated():
            answer = cast(str | None, self._redis.get(ROOT + "nodes"))
        try:
            return list(_NODES.validate_json(answer)) if answer else []
        except ValueError:  # another hand wrote it
            return []

    def dispatchers(self) -> list[str]:
        """The dispatchers that looked at the queue in the last DISPATCHER_SILENCE_S, as host:pid/number."""
        with self._translated():
            since = self._now_ms() - DISPATCHER_SILENCE_S * 1000
            return cast(list[str], self._redis.zrangebyscore(ROOT + "dispatchers", since, "+inf"))
