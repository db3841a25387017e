"""What the chart makes, as Helm renders it."""

from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path("deploy/kubernetes/ganservice")
OPEN = "open to users"
VALUES = [*sorted(path.name for path in CHART.glob("values*.yaml")), OPEN]
COMPONENT = "app.kubernetes.io/component"


def values_of(name: str) -> dict[str, Any]:
    """A file of values, or those that let users in."""
    if name == OPEN:
        return {
            "access": {
                "redis": {"tlsSecret": "redis-tls", "annotations": {"a": "b"}},
                "store": {"host": "store.example.org", "tlsSecret": "store-tls", "ingressClass": "nginx"},
            }
        }
    values: dict[str, Any] = yaml.safe_load((CHART / name).read_text())
    return values


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object of a release named `gan`."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values=values, name="gan").values()
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of one kind."""
    return [each for each in objects if each["kind"] == kind]


def templates(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All templates of pods; that of Ray's head with the autoscaler that KubeRay puts beside it."""
    found = []
    for each in objects:
        if each["kind"] == "RayCluster":
            head = each["spec"]["headGroupSpec"]["template"]
            found += [
                _with_autoscaler(head, each["spec"]),
                *(group["template"] for group in each["spec"]["workerGroupSpecs"]),
            ]
        elif "template" in each.get("spec", {}):
            found.append(each["spec"]["template"])
    return found


def part_of(template: dict[str, Any]) -> str:
    """Which part of the service a pod is."""
    name: str = template["metadata"]["labels"][COMPONENT]
    return name


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of all pods."""
    return [template["spec"] for template in templates(objects)]


def containers(objects: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """All containers of the pods of one part."""
    return [
        container
        for template in templates(objects)
        if part_of(template) == part
        for container in template["spec"]["containers"]
    ]


def _with_autoscaler(head: dict[str, Any], cluster: dict[str, Any]) -> dict[str, Any]:
    """KubeRay gives the autoscaler the head's image and what the options say, and nothing else that matters here."""
    if not cluster["enableInTreeAutoscaling"]:
        return head
    options = cluster["autoscalerOptions"]
    autoscaler = {"name": "autoscaler"} | {
        name: options[name] for name in ("env", "resources", "securityContext") if name in options
    }
    return head | {"spec": head["spec"] | {"containers": [*head["spec"]["containers"], autoscaler]}}
