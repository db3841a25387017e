"""nodes, cordon, uncordon, drain, pause, resume: what an operator does before and after work on machines or servers."""

import math
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import click

from ganservice.cli.exit_codes import NOT_IN_TIME
from ganservice.cli.output import ago, output_option, print_document, print_rows, say
from ganservice.cli.reference import patiently
from ganservice.errors import BrokerOutage, RequestError
from ganservice.job import Capacity
from ganservice.leadership import NODES_TOLD, Leadership, Node
from ganservice.maintenance import Cordon, Maintenance
from ganservice.settings import Settings

LOOK_S = 0.3
# Letters of a node's id that a table shows.
SHORT_ID = 12
# Of several nodes that may be meant, those that an error names.
NAMED_NODES = 5

reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for those who wonder.")
node_argument = click.argument("reference", metavar="NODE")


class NodeState(StrEnum):
    """What a node is there for, as an operator sees it."""

    READY = "ready"
    CORDONED = "cordoned"  # nothing new is placed on it
    DRAINING = "draining"  # the jobs on it have been asked to leave, or will be within a second
    DRAINED = "drained"  # they have left
    GONE = "gone"  # it is cordoned, and not in the cluster


def state_of(node: Node | None, cordon: Cordon | None) -> NodeState:
    """The state of a node, as the leader saw it last, under a cordon."""
    if node is None:
        return NodeState.GONE
    if cordon is None:
        return NodeState.READY
    if not cordon.drain:
        return NodeState.CORDONED
    return NodeState.DRAINED if node.drains and not node.jobs else NodeState.DRAINING


@click.command("nodes")
@output_option
def nodes_command(output: str) -> None:
    """List the nodes of the cluster, as the leading dispatcher saw them last, and those that are cordoned and gone."""
    settings = Settings()
    nodes, cordons = _seen(settings), Maintenance(settings).cordons()
    known: dict[str, Node | None] = {node.id: node for node in nodes} | {
        node_id: None for node_id in cordons if node_id not in {node.id for node in nodes}
    }
    if output == "json":
        from ganservice.documents import NodesDocument

        sections = [_values(node_id, node, cordons.get(node_id)) for node_id, node in known.items()]
        print_document(NodesDocument.model_validate({"nodes": sections}))
        return
    print_rows([_row(node_id, node, cordons.get(node_id)) for node_id, node in known.items()])
    if len(nodes) == NODES_TOLD:
        say(f"there may be more: the first {NODES_TOLD:,} are known")


def _values(node_id: str, node: Node | None, cordon: Cordon | None) -> dict[str, Any]:
    """The values of a node's section of the document."""
    return {
        "id": node_id,
        "state": state_of(node, cordon),
        "host": node.host if node else None,
        "address": node.address if node else None,
        "total": vars(node.total) if node else None,
        "free": vars(node.free) if node else None,
        "jobs": node.jobs if node else (),
        "cordon": cordon.model_dump() if cordon else None,
    }


def _tell(words: str, output: str, state: str, node_id: str | None = None) -> None:
    """Say how a node, or the queue, is now, and print it as a document where that is asked for."""
    say(words)
    if output == "json":
        from ganservice.documents import MaintenanceDocument

        print_document(MaintenanceDocument(node=node_id, state=state))


def _row(node_id: str, node: Node | None, cordon: Cordon | None) -> dict[str, Any]:
    return {
        "node": node_id[:SHORT_ID],
        "host": node.host if node else "",
        "address": node.address if node else "",
        "state": state_of(node, cordon),
        "cpus free": _share(node.free.cpus, node.total.cpus) if node else "",
        "gpus free": _share(node.free.gpus, node.total.gpus) if node else "",
        "jobs": " ".join(node.jobs) if node else "",
        "note": f"by {cordon.by} {ago(cordon.at)} ago{f': {cordon.reason}' if cordon.reason else ''}" if cordon else "",
    }


def _share(free: float, total: float) -> str:
    return f"{free:g} of {total:g}"


@click.command("cordon")
@node_argument
@reason_option
@output_option
def cordon_command(reference: str, reason: str, output: str) -> None:
    """Place nothing new on a node; what runs there goes on.

    NODE is the beginning of a node's id, its host or its address, as `ganctl nodes` shows them.
    """
    settings = Settings()
    node = find_node(_seen(settings), reference)
    Maintenance(settings).cordon(node.id, reason=reason)
    words = f"{node.id[:SHORT_ID]} takes nothing new; `ganctl uncordon {node.id[:SHORT_ID]}` takes that back"
    _tell(words, output, NodeState.CORDONED, node.id)


@click.command("uncordon")
@node_argument
@output_option
def uncordon_command(reference: str, output: str) -> None:
    """Place jobs on a node again that was cordoned or drained."""
    settings = Settings()
    maintenance = Maintenance(settings)
    known = {node.id: node for node in Leadership(settings).nodes()}
    nowhere = Capacity(cpus=0, gpus=0)
    cordoned = [
        known.get(node_id) or Node(id=node_id, host="", address="", total=nowhere, free=nowhere)
        for node_id in maintenance.cordons()
    ]
    node = find_node(cordoned, reference, "that is cordoned")
    maintenance.uncordon(node.id)
    if node.id in known:
        _tell(f"{node.id[:SHORT_ID]} takes jobs again", output, NodeState.READY, node.id)
    else:
        _tell(f"{node.id[:SHORT_ID]} is gone and forgotten", output, NodeState.GONE, node.id)


@click.command("drain")
@node_argument
@reason_option
@click.option("--wait", "waits", is_flag=True, help="Return when no job is left there.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="With --wait: give up after this long.",
)
@output_option
def drain_command(reference: str, reason: str, waits: bool, timeout_s: float | None, output: str) -> None:
    """Have all jobs leave a node, which takes nothing new: each stores a checkpoint and goes on elsewhere.

    It costs none of them an attempt. Exits 101 where jobs are left after SECONDS.
    """
    settings = Settings()
    node = find_node(_seen(settings), reference)
    Maintenance(settings).cordon(node.id, reason=reason, drain=True)
    name = node.id[:SHORT_ID]
    words = f"{name} takes nothing new, and what runs there leaves within seconds, after a checkpoint"
    if not waits:
        _tell(words, output, NodeState.DRAINING, node.id)
        return
    say(words)
    deadline = time.monotonic() + timeout_s if timeout_s is not None else math.inf
    try:
        while left := patiently(lambda: _left(settings, node.id), deadline):
            if time.monotonic() > deadline:
                _tell(f"{name} is not drained after {timeout_s:g} s: {left}", output, NodeState.DRAINING, node.id)
                sys.exit(NOT_IN_TIME)
            time.sleep(LOOK_S)
    except BrokerOutage as outage:
        say(f"{outage}; nothing is known of {name} after {timeout_s:g} s")
        sys.exit(NOT_IN_TIME)
    _tell(f"{name} is drained; `ganctl uncordon {name}` gives it work again", output, NodeState.DRAINED, node.id)


def _left(settings: Settings, node_id: str) -> str:
    """What keeps a node that is drained from being empty; nothing once it is, or is gone."""
    with Leadership(settings) as leadership:
        node = next((node for node in leadership.nodes() if node.id == node_id), None)
        if node is None or (node.drains and not node.jobs):
            return ""
        if leadership.leader() is None:
            return "no dispatcher leads"
        return f"{' '.join(node.jobs)} is there yet" if node.jobs else "no dispatcher has heeded that yet"


@click.command("pause")
@reason_option
@output_option
def pause_command(reason: str, output: str) -> None:
    """Have the queue give out no job until it is resumed.

    What runs goes on, what is submitted waits. `ganctl run` goes on too: it takes nothing of the cluster.
    """
    Maintenance(Settings()).pause(reason=reason)
    words = "the queue is paused: what runs goes on, and nothing else is started; `ganctl resume` ends that"
    _tell(words, output, "paused")


@click.command("resume")
@output_option
def resume_command(output: str) -> None:
    """Have a paused queue give out jobs again."""
    was_paused = Maintenance(Settings()).resume()
    _tell("the queue gives out jobs again" if was_paused else "the queue was not paused", output, "running")


def find_node(nodes: Sequence[Node], reference: str, what: str = "") -> Node:
    """The node that an operator means by an id, the beginning of one, a host or an address.

    Raises:
        RequestError: there is none, or several are meant.
    """
    found = [node for node in nodes if reference in (node.id, node.host, node.address)]
    found = found or [node for node in nodes if reference and node.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        more = " and more" if len(found) > NAMED_NODES else ""
        ids = ", ".join(node.id[:SHORT_ID] for node in found[:NAMED_NODES])
        raise RequestError(f"{reference} may be any of several nodes: {ids}{more}; give one of these ids")
    raise RequestError(
        f"no node{f' {what}' if what else ''} has the id, host or address {reference}; see `ganctl nodes`"
    )


def _seen(settings: Settings) -> list[Node]:
    """The nodes as the leader saw them last, and a word where there is no leader now."""
    with Leadership(settings) as leadership:
        if leadership.leader() is None:
            say("no dispatcher leads: this is how the last one that did saw the nodes; `ganctl doctor` tells more")
        return leadership.nodes()
