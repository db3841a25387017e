"""What whoever has the keys of the bucket puts into it: manifests of data sets, arrays, pictures and metrics."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ganservice.manifest import MANIFEST, DataManifest, digests_of, identity, images_file, labels_file
from tests.hostile.draw import DEEP_JSON, damaged_bytes, damaged_trees, json_values, odd_texts
from tests.hostile.families.arrays import npy, npy_files
from tests.hostile.families.files import bomb, bombs, png
from tests.hostile.ground import Ground
from tests.strangers_text import strangers_texts
from workers.commands.half_blocks import half_blocks

SET = "mallorys"
DIGEST = "0" * 64
SHAPE = (40, 1, 16, 16)


def data_set(files: dict[str, bytes]) -> dict[str, Any]:
    """A manifest that is right about its files."""
    digests = digests_of(files)
    manifest = DataManifest(
        files=digests, name=SET, digest=identity(digests), image_size=SHAPE[2], channels=1, counts={"train": SHAPE[0]},
        classes=("bars", "discs"), class_counts={"bars": 20, "discs": 20}, source="a stranger",
    )  # fmt: skip
    return manifest.model_dump(mode="json")


GOOD_IMAGES, GOOD_LABELS = np.zeros(SHAPE, np.uint8), npy(np.zeros(SHAPE[0], np.uint8))
GOOD_FILES = {images_file("train"): npy(GOOD_IMAGES), labels_file("train"): GOOD_LABELS}
SHARDS = {images_file("train", shard): npy(part) for shard, part in enumerate(np.split(GOOD_IMAGES, [13, 26]))}
GOOD_SHARDS = SHARDS | {labels_file("train"): GOOD_LABELS}
GOOD_TREE, SHARDS_TREE = data_set(GOOD_FILES), data_set(GOOD_SHARDS)
LIES = st.one_of(
    st.builds(lambda digest: {"digest": digest}, st.sampled_from(["/home/gan/.ssh", "..", DIGEST, "a" * 63, "A" * 64])),
    st.builds(lambda name: {"name": name}, odd_texts),
    st.builds(lambda name: {"files": {name: {"sha256": DIGEST, "bytes": 1}}}, odd_texts),
    st.builds(lambda size: {"files": {"train-images.npy": {"sha256": DIGEST, "bytes": size}}}, json_values),
    st.builds(lambda count: {"counts": {"train": count}}, json_values),
    st.builds(lambda name: {"classes": [name], "class_counts": {name: 1}}, strangers_texts),
    st.builds(lambda text: {"source": text}, strangers_texts),
    st.just({"classes": ["x"] * 100_001}),
    st.just({"class_counts": {str(number): 1 for number in range(100_001)}}),
    st.just({"files": {f"f{number}": {"sha256": DIGEST, "bytes": 1} for number in range(3_000)}}),
    st.builds(lambda version: {"format": version}, json_values),
)
manifests = st.one_of(
    LIES.map(lambda lie: json.dumps(GOOD_TREE | lie).encode("utf-8", "replace")),
    st.sampled_from([GOOD_TREE, SHARDS_TREE])
    .flatmap(damaged_trees)
    .map(lambda tree: json.dumps(tree).encode("utf-8", "replace")),
    st.sampled_from(DEEP_JSON),
    st.just(b'"' + b"x" * (17 * 2**20) + b'"'),
    damaged_bytes(json.dumps(GOOD_TREE).encode()),
    st.binary(max_size=50),
)
places = st.sampled_from(
    [
        f"data/{SET}/{GOOD_TREE['digest']}/{MANIFEST}", f"data/{SET}/{DIGEST}/{MANIFEST}", f"data/{SET}/{MANIFEST}",
        f"data/{SET}/../{MANIFEST}", f"data/{SET}/%2e%2e/{MANIFEST}", f"data/\x1b[2J/{DIGEST}/{MANIFEST}",
        f"data/{SET}/{GOOD_TREE['digest']}/manifest-9999999999999999999.json", f"data/{'x' * 300}/{DIGEST}/{MANIFEST}",
    ]
)  # fmt: skip
manifest_inputs = st.tuples(places, manifests, st.sampled_from([True, True, True, False]))


def feed_manifest(ground: Ground, value: tuple[str, bytes, bool]) -> None:
    """Have data sets listed, asked for, trained on and deleted."""
    key, manifest, is_signed = value
    folder = f"data/{SET}/{GOOD_TREE['digest']}/"
    files = {folder + name: data for name, data in GOOD_FILES.items()}
    with ground.stored(files), ground.stored({key: manifest}, is_signed=is_signed):
        ground.look([["data", "list"], ["data", "list", "-o", "json"], ["gc", "--dry-run"], ["list", "--stored"]])
        with victim_spec(ground, SET) as path:
            ground.ganctl("submit", str(path), "--dry-run")
            ground.ganctl("run", str(path), writes=True)
        ground.ganctl("data", "delete", SET, "--yes", writes=True)
    ground.clear_cache()


@contextlib.contextmanager
def victim_spec(ground: Ground, data: str) -> Iterator[Path]:
    tree = {
        "name": "victim", "images": 64, "report_every_images": 64, "max_attempts": 1,
        "recipe": {
            "data": {"dataset": data, "image_size": 16, "channels": 1}, "latent_size": 4, "batch_size": 16,
            "generator": {"kind": "mlp", "widths": [8]}, "discriminator": {"kind": "mlp", "widths": [8]},
        },
    }  # fmt: skip
    with ground.file("victim.yaml", json.dumps(tree).encode()) as path:
        yield path


# One file, of a set in one piece or in shards, is another; the manifest has the digest of that, or of the good one.
array_inputs = st.sampled_from([GOOD_FILES, GOOD_SHARDS]).flatmap(
    lambda files: st.tuples(st.just(files), st.sampled_from(sorted(files)), npy_files, st.booleans())
)


def feed_array(ground: Ground, value: tuple[dict[str, bytes], str, bytes, bool]) -> None:
    """Train on arrays that a manifest pins, or on others in their place."""
    good, name, data, is_pinned = value
    files = good | {name: data}
    tree = data_set(files if is_pinned else good)
    folder = f"data/{SET}/{tree['digest']}/"
    with (
        ground.stored(
            {folder + name: found for name, found in files.items()} | {folder + MANIFEST: json.dumps(tree).encode()}
        ),
        victim_spec(ground, SET) as path,
    ):
        ground.ganctl("run", str(path), writes=True)
    ground.clear_cache()


picture_inputs = st.tuples(st.just("samples/000000000640.png"), bombs.map(bomb) | damaged_bytes(png(64, 64, "RGB")))
METRICS = (
    b"\xff\xfe", b"[" * 100_000, b"{}\n" * 1_000, b"null\n", b'{"images": 1' + b"0" * 5_000 + b"}", b"\n" * 100_000,
    b'{"images": NaN}', b"\x1b[2J\n", b"x" * 5_000_000,
)  # fmt: skip
metrics_inputs = st.tuples(st.just("metrics/000000000640.jsonl"), st.sampled_from(METRICS))
left_inputs = picture_inputs | metrics_inputs


def feed_left(ground: Ground, value: tuple[str, bytes]) -> None:
    """Show a job in whose folder somebody has put a picture, or metrics."""
    name, data = value
    base = ground.found["base"]
    with ground.stored({f"jobs/{base}/attempts/0001/{name}": data}):
        ground.ganctl("report", base, "--into", "report.html", writes=True)
        if (page := ground.service.work / "report.html").exists():
            text = page.read_text()
            if "<script>alert" in text or "onload=" in text:
                ground.violation("the report page says what a browser would run")
        ground.look([["show", base], ["watch", base]])
    if name.endswith(".png"):
        with ground.refusal("half_blocks"):
            half_blocks(data, 76, 30)
    for key in [key for key in ground.store.keys(base) if "/reports/" in key]:
        ground.store.objects.delete(key)
