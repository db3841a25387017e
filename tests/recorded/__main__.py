"""Records what this release leaves behind, for the next one to read: `python -m tests.recorded FOLDER`, once a release.

FOLDER gets `redis.json`, every key of the queue, and `objects/`, every object of the bucket. One training in it has
succeeded, another waits between two attempts.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import redis
import yaml

from ganservice.embedded.stack import Stack
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue
from ganservice.settings import Settings

SPEC: dict[str, Any] = {
    "name": "recorded",
    "images": 5_120,
    "report_every_images": 640,
    "seed": 7,
    "recipe": {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.02},
        "latent_size": 2,
        "generator": {"kind": "mlp", "widths": [8]},
        "discriminator": {"kind": "mlp", "widths": [8]},
        "batch_size": 128,
        "precision": "fp32",
    },
    "checkpoints": {"every_images": 1_280, "keep_last": 2},
    "samples": {"every_images": 64_000, "rows": 2, "columns": 2},
}


def main() -> None:
    """Record into the folder that the command line names."""
    folder = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as state:
        os.environ["GANSERVICE_STATE_DIR"] = state
        os.environ["GANSERVICE_CACHE_DIR"] = f"{state}/cache"
        with Stack(Settings.from_environment()).servers(print):
            settings = Settings()
            train(Path(state), leaves=False)
            train(Path(state), leaves=True)
            folder.mkdir(parents=True)
            (folder / "redis.json").write_text(json.dumps(keys_of(settings), indent=1, sort_keys=True) + "\n")
            store = ObjectStore(settings)
            for entry in store.list_objects(""):
                path = folder / "objects" / entry.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.get(entry.key))


def train(folder: Path, *, leaves: bool) -> None:
    """Train the spec, or one of six times the images until its first checkpoint."""
    path = folder / "recorded.yaml"
    path.write_text(yaml.safe_dump(SPEC | {"images": SPEC["images"] * (6 if leaves else 1)}))
    with subprocess.Popen(["ganctl", "run", str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        job_id = process.stdout.readline().strip()
        with JobQueue(Settings()) as queue:
            while leaves and queue.get(job_id).checkpoint is None:
                time.sleep(0.02)
        if leaves:
            process.send_signal(signal.SIGINT)


def keys_of(settings: Settings) -> dict[str, Any]:
    """Every key of the queue with its type and value; this machine's name is nobody's business."""
    with redis.Redis.from_url(settings.require_broker(), decode_responses=True) as client:
        found: dict[str, Any] = {}
        for key in client.scan_iter("*"):
            kind = client.type(key)
            read = {
                "hash": client.hgetall,
                "string": client.get,
                "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                "stream": client.xrange,
            }[kind]
            if ":reply:" not in key:
                found[key] = {"type": kind, "value": read(key)}
    return cast(dict[str, Any], json.loads(json.dumps(found).replace(socket.gethostname(), "host")))


if __name__ == "__main__":
    main()
