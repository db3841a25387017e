"""Every pod of the chart reaches what it needs, and nothing else reaches it."""

from typing import Any

import pytest

from tests.deploy.chart import VALUES, of_kind, part_of, render, templates, values_of
from tests.deploy.policies import Network, Pod

PARTS = ("head", "node", "dispatcher", "exporter", "bucket", "redis", "store")
METADATA, S3, MANAGED_REDIS, API_SERVER, USER = "169.254.169.254", "52.219.1.1", "10.1.2.3", "10.100.0.1", "192.0.2.7"
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system")
PROMETHEUS = Pod({"app": "prometheus"}, "monitoring")
STRANGER = Pod({"app": "stranger"}, "elsewhere")
# Some port that Ray would choose.
ANY_PORT = 41_234
# What the pods open connections to inside the cluster; of what they have an address, see below.
RAY = {
    ("head", "node"), ("node", "head"), ("node", "node"), ("dispatcher", "head"), ("dispatcher", "node"),
    ("head", "dispatcher"), ("node", "dispatcher"),
}  # fmt: skip
# The address that a variable holds, and where it is in the cluster.
SERVERS = {"GANSERVICE_BROKER_URL": ("redis", 6379), "GANSERVICE_STORE_ACCESS_KEY": ("store", 8333)}


def policed(values: dict[str, Any]) -> tuple[Network, dict[str, Pod], dict[str, set[str]]]:
    """The policies, the pods by their part, and the variables of each part."""
    objects = render(values | {"networkPolicies": values.get("networkPolicies", {}) | {"enabled": True}})
    found = {part_of(template): template for template in templates(objects)}
    variables = {
        part: {variable["name"] for container in template["spec"]["containers"] for variable in container["env"]}
        for part, template in found.items()
    }
    pods = {part: Pod(template["metadata"]["labels"]) for part, template in found.items()}
    return Network(of_kind(objects, "NetworkPolicy")), pods, variables


@pytest.mark.parametrize("name", VALUES)
def test_inside_the_cluster_every_pod_reaches_what_it_has_an_address_of_and_no_more(name: str) -> None:
    values = values_of(name)
    network, pods, variables = policed(values)
    for source, target in ((source, target) for source in pods for target in pods):
        assert network.allows(pods[source], pods[target], ANY_PORT) == ((source, target) in RAY), (source, target)
    for variable, (server, port) in SERVERS.items():
        for part in set(pods) - {server}:
            # The dispatcher hands the store's keys on to workers and asks it nothing; the head has Ray's user of Redis.
            needs = variable in variables[part] and (part, server) != ("dispatcher", "store")
            needs |= part == "node" or (part, server) == ("head", "redis")
            if server in pods:
                assert network.allows(pods[part], pods[server], port) == needs, (part, server)
    assert network.allows(PROMETHEUS, pods["exporter"], 9464)
    for part in set(pods) - {"redis", "store"}:
        assert network.allows(pods[part], DNS, 53, "UDP"), part


@pytest.mark.parametrize("name", VALUES)
def test_nobody_else_comes_in_and_servers_ask_nobody(name: str) -> None:
    network, pods, _ = policed(values_of(name))
    ports = [53, 80, 443, 6379, 6380, 8333, 9464, ANY_PORT]
    for part, pod in pods.items():
        for port in ports:
            assert not network.allows(STRANGER, pod, port), (part, port)
            assert not network.allows(USER, pod, port), (part, port)
            assert not network.allows(PROMETHEUS, pod, port) or (part, port) == ("exporter", 9464)
            if part in ("redis", "store"):
                asked: list[Pod | str] = [*pods.values(), METADATA, S3]
                assert not any(network.allows(pod, target, port) for target in asked)


def test_in_a_cloud_pods_reach_managed_servers_and_those_with_data_their_credentials() -> None:
    network, pods, _ = policed(values_of("values-cloud.yaml"))
    assert set(pods) == {"head", "node", "dispatcher", "exporter", "bucket"}
    for part, pod in pods.items():
        assert network.allows(pod, MANAGED_REDIS, 6379), part
        assert network.allows(pod, S3, 443), part
        assert not network.allows(pod, MANAGED_REDIS, 22), part
        assert network.allows(pod, METADATA, 80) == (part in ("node", "exporter", "bucket")), part
    assert network.allows(pods["head"], API_SERVER, 6443)
    assert not network.allows(pods["node"], API_SERVER, 6443)


def test_no_pod_takes_the_role_of_its_machine_unless_told_so() -> None:
    network, pods, _ = policed({})
    assert set(pods) == set(PARTS)
    assert not any(network.allows(pod, METADATA, 80) for pod in pods.values())


def test_users_come_in_to_redis_and_the_store_alone() -> None:
    network, pods, _ = policed({"access": {"namespaces": ["people"], "cidrs": ["192.0.2.0/24"]}})
    person = Pod({"app": "notebook"}, "people")
    for user in (person, USER):
        for part, pod in pods.items():
            let_in = {port for port in (6379, 6380, 8333, 9464, ANY_PORT) if network.allows(user, pod, port)}
            assert let_in == {"redis": {6379, 6380}, "store": {8333}}.get(part, set()), part
