"""What trackers show, read by their own readers: every value under each name and number of images."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from tests.conftest import wait_until

# Numbers, and pictures by their bytes, or their file where a tracker writes others.
Shown = dict[tuple[str, int], list[object]]


def tensorboard_shows(folder: Path, job_id: str) -> Shown:
    accumulator = EventAccumulator(str(folder / job_id), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    shown: Shown = defaultdict(list)
    for tag in accumulator.Tags()["scalars"]:
        for scalar in accumulator.Scalars(tag):
            shown[tag, scalar.step].append(scalar.value)
    for tag in accumulator.Tags()["images"]:
        for image in accumulator.Images(tag):
            shown[tag, image.step].append(image.encoded_image_string)
    return shown


def mlflow_shows(uri: str, job_id: str) -> Shown:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ganservice")
    assert experiment
    [run] = client.search_runs([experiment.experiment_id], f"tags.`ganservice.job` = '{job_id}'")
    shown: Shown = defaultdict(list)
    for key in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, key):
            shown[key, metric.step].append(metric.value)
    for file in client.list_artifacts(run.info.run_id, "images"):
        if file.path.endswith(".png"):
            name, _, images, *_ = file.path.removeprefix("images/").replace("%", "+").split("+")
            shown[name, int(images)].append(file.path)
    return shown


def wandb_shows(folder: Path, job_id: str) -> Shown:
    shown: Shown = defaultdict(list)
    for path in sorted(folder.glob(f"wandb/offline-run-*-{job_id}*/*.wandb")):
        for record in wait_until(partial(_whole, path)):
            values = {tuple(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for (name, *below), value in values.items():
                if not name.startswith("_") and name != "images" and below in ([], ["path"]):
                    shown[name, values["images",]].append(value)
    return shown


def _whole(path: Path) -> list[Record]:
    """The records of a run that has ended, which W&B writes from another process; nothing before the last of them."""
    records = [Record.FromString(data) for data in _records(path.read_bytes())]
    return records if any(record.WhichOneof("record_type") == "exit" for record in records) else []


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file of W&B, which has the form of LevelDB's logs after a head of seven bytes."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole, or the last part
            yield parts
            parts = b""
