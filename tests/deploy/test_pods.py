"""What the chart's pods may do, hold and use."""

import copy
from typing import Any

import pytest
from helm_python.errors import HelmRenderError

from tests.deploy.chart import OPEN, VALUES, containers, of_kind, part_of, pods, render, templates, values_of

SAFE_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
STORE = {"store-url", "store-access-key", "store-secret-key"}
# The keys of the secret that each part is given.
KEYS = {
    "head": {"ray-token"},
    "node": {"ray-token"},
    "dispatcher": {"dispatcher-broker-url", "worker-broker-url", "ray-token"} | STORE,
    "exporter": {"exporter-broker-url"} | STORE,
    "bucket": {"exporter-broker-url"} | STORE,
    "redis": {"redis-password", "ray-redis-password", "redis-users"},
    "store": {"store-access-key", "store-secret-key", "store-inner.pem", "store-inner.key", "store-identities"},
}


@pytest.fixture(scope="module", params=VALUES)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Everything the chart makes with some values."""
    return render(values_of(request.param))


def offences(pod: dict[str, Any]) -> list[str]:
    """What of a pod a namespace of the Pod Security Standard "restricted" refuses."""
    own = pod.get("securityContext", {})
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"volume {name}" for volume in pod.get("volumes", []) for name in set(volume) - {"name"} - SAFE_VOLUMES]
    for each in [*pod["containers"], *pod.get("initContainers", [])]:
        context = each.get("securityContext", {})
        merged = {name: own[name] for name in ("runAsNonRoot", "runAsUser", "seccompProfile") if name in own} | context
        capabilities = merged.get("capabilities", {})
        wrong = {
            "escalation": merged.get("allowPrivilegeEscalation") is not False,
            "privileged": bool(merged.get("privileged")),
            "capabilities": capabilities.get("drop") != ["ALL"]
            or bool(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}),
            "root": merged.get("runAsNonRoot") is not True or merged.get("runAsUser") == 0,
            "seccomp": merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "host port": any("hostPort" in port for port in each.get("ports", [])),
        }
        found += [f"{each['name']}: {name}" for name, is_wrong in wrong.items() if is_wrong]
    return found


def test_a_restricted_namespace_admits_every_pod(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        assert offences(pod) == []


@pytest.mark.parametrize(
    ("change", "offence"),
    [
        (lambda pod: pod["containers"][-1].pop("securityContext"), "autoscaler: escalation"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "ray-head: seccomp"),
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod.update(volumes=[{"name": "x", "hostPath": {"path": "/"}}]), "volume hostPath"),
    ],
)
def test_a_restricted_namespace_refuses_what_it_should(change: Any, offence: str) -> None:
    [head] = [copy.deepcopy(each["spec"]) for each in templates(render({})) if part_of(each) == "head"]
    assert offences(head) == []
    change(head)
    assert offence in offences(head)


def test_every_container_says_what_it_uses(objects: list[dict[str, Any]]) -> None:
    for container in (container for pod in pods(objects) for container in pod["containers"]):
        resources = container["resources"]
        assert set(resources["requests"]) >= {"cpu", "memory"}, container["name"]
        assert "memory" in resources["limits"], container["name"]


def test_every_server_is_known_to_have_begun_to_live_and_to_answer(objects: list[dict[str, Any]]) -> None:
    for template in templates(objects):
        container, part = template["spec"]["containers"][0], part_of(template)
        probes = {name for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container}
        # A dispatcher ends itself when it hangs, and serves nobody; the bucket's job ends.
        expected = {"dispatcher": 1, "bucket": 0}.get(part, 3)
        assert len(probes) == expected, part


def test_every_part_is_given_its_own_secrets_only() -> None:
    objects = render({})
    for part, expected in KEYS.items():
        for container in containers(objects, part):
            references = [
                variable["valueFrom"]["secretKeyRef"] for variable in container["env"] if "value" not in variable
            ]
            assert {reference["key"] for reference in references} == expected, container["name"]
            assert {reference["name"] for reference in references} == {"ganservice"}


def test_parts_may_open_the_store_by_keys_of_their_own() -> None:
    objects = render({"secrets": {"storeKeyNames": {"dispatcher": "worker", "exporter": "exporter"}}})
    for part, name in (("dispatcher", "worker"), ("exporter", "exporter"), ("bucket", "store")):
        [container] = containers(objects, part)
        keys = {str(each.get("valueFrom", {}).get("secretKeyRef", {}).get("key")) for each in container["env"]}
        assert {key for key in keys if key.endswith(("access-key", "secret-key"))} == {
            f"{name}-access-key",
            f"{name}-secret-key",
        }


def test_every_part_has_an_account_of_its_own_whose_token_no_pod_mounts(objects: list[dict[str, Any]]) -> None:
    accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
    autoscaling = of_kind(objects, "RayCluster")[0]["spec"]["enableInTreeAutoscaling"]
    for template in templates(objects):
        part, pod = part_of(template), template["spec"]
        if part == "head" and autoscaling:
            # KubeRay's own, which may ask for nodes.
            assert not {"serviceAccountName", "automountServiceAccountToken"} & set(pod)
            continue
        assert pod["serviceAccountName"] == f"gan-{part}"
        assert pod["serviceAccountName"] in accounts
        assert pod["automountServiceAccountToken"] is False
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_an_account_may_be_given_a_role_of_the_cloud_or_be_anothers() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/gan"}
    values = {"serviceAccounts": {"node": {"annotations": role}, "exporter": {"name": "theirs"}}}
    objects = render(values)
    accounts = {
        each["metadata"]["name"]: each["metadata"].get("annotations") for each in of_kind(objects, "ServiceAccount")
    }
    assert accounts["gan-node"] == role
    assert "gan-exporter" not in accounts
    [exporter] = [each["spec"] for each in templates(objects) if part_of(each) == "exporter"]
    assert exporter["serviceAccountName"] == "theirs"


def test_a_node_without_gpus_sees_none_and_one_with_gpus_those_it_is_given(objects: list[dict[str, Any]]) -> None:
    for container in [*containers(objects, "head"), *containers(objects, "node")]:
        if container["name"] == "autoscaler":
            continue
        shown = {each["name"]: each.get("value") for each in container["env"]}.get("NVIDIA_VISIBLE_DEVICES")
        assert shown == (None if "nvidia.com/gpu" in container["resources"]["limits"] else "void")


def test_no_warm_worker_keeps_a_node_that_is_to_be_scaled_away() -> None:
    def warm_workers(**ray: object) -> str:
        [dispatcher] = [
            each for each in of_kind(render({"ray": ray}), "Deployment") if "dispatcher" in str(each["metadata"])
        ]
        environment = dispatcher["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(each["value"]) for each in environment if each["name"] == "GANSERVICE_WARM_WORKERS")

    assert warm_workers() == "0"
    assert warm_workers(autoscaling=False) == "1"
    assert warm_workers(warmWorkers=2) == "2"
    assert warm_workers(warmWorkers=0, autoscaling=False) == "0"


def test_a_dispatcher_stays_while_machines_are_drained() -> None:
    [budget] = of_kind(render({}), "PodDisruptionBudget")
    [dispatcher] = [each for each in of_kind(render({}), "Deployment") if each["metadata"]["name"] == "gan-dispatcher"]
    assert budget["spec"]["selector"] == dispatcher["spec"]["selector"]
    assert budget["spec"]["maxUnavailable"] < dispatcher["spec"]["replicas"]
    assert of_kind(render({"dispatcher": {"replicas": 1}}), "PodDisruptionBudget") == []


def test_images_may_be_pinned_by_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    images = {
        "worker": {"repository": "r/worker", "digest": digest},
        "control": {"repository": "r/control", "tag": "x"},
    }
    objects = render({"images": images, "redis": {"image": f"valkey/valkey:9@{digest}"}})
    assert {each["image"] for each in containers(objects, "node")} == {f"r/worker@{digest}"}
    assert {each["image"] for each in containers(objects, "dispatcher")} == {"r/control:x"}
    assert {each["image"] for each in containers(objects, "redis")} == {f"valkey/valkey:9@{digest}"}


def test_priorities_and_spread_are_for_the_operator_to_say() -> None:
    priority = {"priorityClassName": "high"}
    group = {"name": "cpu", "min": 1, "max": 1, "cpus": 1, "gpus": 0, "memory": "1Gi"} | priority
    values = dict.fromkeys(("redis", "store"), priority)
    objects = render(
        values | {"dispatcher": priority | {"spreadOver": ["zone"]}, "ray": {"head": priority, "groups": [group]}}
    )
    of = {part_of(each): each["spec"] for each in templates(objects)}
    assert {part for part, pod in of.items() if pod.get("priorityClassName") == "high"} == {
        "redis", "store", "dispatcher", "head", "node",
    }  # fmt: skip
    assert [each["topologyKey"] for each in of["dispatcher"]["topologySpreadConstraints"]] == ["zone"]


def test_a_change_of_ray_replaces_its_pods_unless_told_otherwise() -> None:
    [cluster] = of_kind(render({}), "RayCluster")
    assert cluster["spec"]["upgradeStrategy"] == {"type": "Recreate"}
    [cluster] = of_kind(render({"ray": {"upgradeStrategy": ""}}), "RayCluster")
    assert "upgradeStrategy" not in cluster["spec"]


def test_a_way_in_is_opened_by_name_only() -> None:
    assert not of_kind(render({}), "Ingress")
    assert {each["spec"].get("type", "ClusterIP") for each in of_kind(render({}), "Service")} == {"ClusterIP"}
    objects = render(values_of(OPEN) | {"redis": {"enabled": False}, "store": {"enabled": False}})
    assert not of_kind(objects, "Ingress")
    assert [each["metadata"]["name"] for each in of_kind(objects, "Service")] == ["gan-exporter"]
    [ingress] = of_kind(render(values_of(OPEN)), "Ingress")
    assert ingress["spec"]["tls"] == [{"hosts": ["store.example.org"], "secretName": "store-tls"}]


def test_an_ingress_without_a_certificate_is_refused() -> None:
    with pytest.raises(HelmRenderError, match=r"access\.store\.tlsSecret"):
        render({"access": {"store": {"host": "store.example.org"}}})


def test_a_load_balancer_lets_in_whom_the_policies_do() -> None:
    values = values_of(OPEN)
    values["access"]["cidrs"] = ["192.0.2.0/24"]
    [service] = [each for each in of_kind(render(values), "Service") if each["metadata"]["name"] == "gan-redis-tls"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert [port["port"] for port in service["spec"]["ports"]] == [6380]


def test_workers_cache_where_their_node_has_a_volume_for_it() -> None:
    [dispatcher] = containers(render({}), "dispatcher")
    [told] = [each["value"] for each in dispatcher["env"] if each["name"] == "GANSERVICE_CACHE_DIR"]
    [node] = containers(render({}), "node")
    assert told in {mount["mountPath"] for mount in node["volumeMounts"]}
