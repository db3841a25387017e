"""What whoever has a dispatcher's rights, or an operator's, writes of the cluster, its leader, cordons and users."""

import json

from hypothesis import strategies as st

from ganservice.broker import ROOT
from tests.hostile.draw import damaged_trees
from tests.hostile.families.records import TEXTS
from tests.hostile.ground import Ground

NODE = {
    "id": "a" * 56, "host": "one", "address": "10.0.0.1", "total": {"cpus": 2, "gpus": 0},
    "free": {"cpus": 2, "gpus": 0}, "jobs": ["victim-1"], "drains": False,
}  # fmt: skip
CLUSTER = {"nodes": 1, "total": {"cpus": 2, "gpus": 0}, "free": {"cpus": 2, "gpus": 0}}
led = st.one_of(
    st.tuples(st.just("nodes"), damaged_trees([NODE]).map(json.dumps) | TEXTS),
    st.tuples(st.just("cluster"), damaged_trees(CLUSTER).map(json.dumps) | TEXTS),
    st.tuples(st.sampled_from(["owner", "release", "looked_at", "expires_at", "token"]), TEXTS),
    st.tuples(st.just("cordons"), TEXTS),
    st.tuples(st.just("pause"), TEXTS),
    st.tuples(st.just("users"), TEXTS),
)


def feed_led(ground: Ground, value: tuple[str, str]) -> None:
    """Write what a leader, or an operator, says; the next moment the leader says it anew."""
    name, text = value
    text = text.encode("utf-8", "replace").decode()
    if name in ("nodes", "cluster"):
        ground.leader.set(ROOT + name, text)
    elif name in ("cordons", "users"):
        ground.admin.hset(ROOT + name, "mallory's", text)
    elif name == "pause":
        ground.admin.hset(ROOT + "pause", mapping={"by": text, "at": text, "reason": text})
    elif name in ("owner", "release"):
        ground.leader.hset(ROOT + "leader", name, text)
    else:  # what would have another lead
        ground.leader.hset(ROOT + "leader", name, text[:30])
    try:
        ground.look([["nodes"], ["nodes", "-o", "json"], ["list"], ["doctor"], ["users", "list"], ["quota", "show"]])
        ground.scrape()
    finally:
        ground.admin.hdel(ROOT + "cordons", "mallory's")
        ground.admin.hdel(ROOT + "users", "mallory's")
        ground.admin.delete(ROOT + "pause")
