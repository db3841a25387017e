"""What network policies allow, as Kubernetes reads them."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod, by what policies select it by."""

    labels: dict[str, str]
    namespace: str = "gan"


@dataclass(frozen=True)
class Network:
    """The policies of the namespace `gan`."""

    policies: list[Object] = field(default_factory=list)

    def allows(self, source: Pod | str, target: Pod | str, port: int, protocol: str = "TCP") -> bool:
        """Whether a pod, or an address outside the cluster, may open a connection to another."""
        return self._may(source, target, "Egress", port, protocol) and self._may(
            target, source, "Ingress", port, protocol
        )

    def _may(self, own: Pod | str, other: Pod | str, direction: str, port: int, protocol: str) -> bool:
        """Whether the policies that select one end let the other through; where none does, everything may."""
        if isinstance(own, str) or own.namespace != "gan":
            return True
        found = [
            policy["spec"]
            for policy in self.policies
            if direction in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], own.labels)
        ]
        side = {"Ingress": "from", "Egress": "to"}[direction]
        rules = [rule for spec in found for rule in spec.get(direction.lower()) or []]
        return not found or any(
            _is_peer(rule.get(side), other) and _is_port(rule.get("ports"), port, protocol) for rule in rules
        )


def _is_peer(peers: list[Object] | None, other: Pod | str) -> bool:
    return not peers or any(_is_one(peer, other) for peer in peers)


def _is_one(peer: Object, other: Pod | str) -> bool:
    if isinstance(other, str):
        return "ipBlock" in peer and ip_address(other) in ip_network(peer["ipBlock"]["cidr"])
    if "ipBlock" in peer:
        return False
    own_namespace = {"matchLabels": {"kubernetes.io/metadata.name": "gan"}}
    return _selects(
        peer.get("namespaceSelector", own_namespace), {"kubernetes.io/metadata.name": other.namespace}
    ) and _selects(peer.get("podSelector", {}), other.labels)


def _is_port(ports: list[Object] | None, port: int, protocol: str) -> bool:
    return not ports or any(
        each.get("port", port) == port and each.get("protocol", "TCP") == protocol for each in ports
    )


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "only matchLabels is understood here"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
