"""Images of others as folders: the same programs from elsewhere, and what we rely on of their Dockerfiles."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ganservice.embedded.parts import broker_binary
from tests.compose.dockerfile import PATH
from tests.compose.image import Image, lay_system, place


@dataclass(frozen=True)
class Outside:
    """What an image of others brings that we rely on, as their Dockerfiles say."""

    # name in the image: path here
    programs: dict[str, str | None]
    uid: int
    gid: int
    folder: str
    user: str
    entrypoint: list[str] = field(default_factory=list)


def outside_images() -> dict[str, Outside]:
    """By name without tag. A program that is missing here is None; Grafana has no package."""
    weed = str(Path(sys.executable).parent / "weed")
    return {
        "valkey/valkey": Outside(
            {"valkey-server": broker_binary(), "valkey-cli": shutil.which("valkey-cli") or shutil.which("redis-cli")},
            999, 1000, "data", "0",
        ),
        "chrislusf/seaweedfs": Outside({"weed": weed}, 1000, 1000, "data", "0", ["/entrypoint.sh"]),
        "prom/prometheus": Outside(
            {"prometheus": shutil.which("prometheus")}, 65534, 65534, "prometheus", "65534", ["prometheus"]
        ),
        "prom/alertmanager": Outside(
            {"alertmanager": shutil.which("prometheus-alertmanager")}, 65534, 65534, "alertmanager", "65534",
            ["alertmanager"],
        ),
    }  # fmt: skip


def make_outside(name: str, root: Path) -> Image:
    """Make the folder of another's image. Raises RuntimeError where a program of it is missing on this machine."""
    outside = outside_images()[name.partition(":")[0]]
    lay_system(root)
    programs = root.with_name(f"{root.name}.programs")
    for program, path in outside.programs.items():
        if path is None:
            raise RuntimeError(f"{name}: no {program} on this machine; on Debian: apt-get install prometheus "
                               "prometheus-alertmanager redis-server")  # fmt: skip
        place(Path(path), programs / program)
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write(f"owner:x:{outside.uid}:{outside.gid}::/:/bin/sh\n")
    (root / outside.folder).mkdir()
    os.chown(root / outside.folder, outside.uid, outside.gid)
    return Image(root, outside.user, {"PATH": f"/opt/bin:{PATH}"}, outside.entrypoint, [], {str(programs): "/opt/bin"})
