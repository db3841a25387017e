"""What whoever has the keys of the bucket puts into it: manifests, arrays, checkpoints, generators, pictures."""

import contextlib
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import strategies as st

from ganservice.manifest import MANIFEST, DataManifest, digests_of, identity
from tests.hostile.draw import DEEP_JSON, damaged_bytes, damaged_trees, json_values, odd_texts
from tests.hostile.families.files import NPY_HEADERS, OWNED, bomb, bombs, npy, npy_files, png
from tests.hostile.ground import Ground
from tests.strangers_text import strangers_texts
from workers.commands.half_blocks import half_blocks
from workers.gan.checkpoint import decode_checkpoint
from workers.gan.evaluation.features import classifier, inception_v3

GHOST = "ghost-0a1b2c"
ATTEMPT = f"jobs/{GHOST}/attempts/0001/"
SET = "mallorys"
DIGEST = "0" * 64
SHAPE = (40, 1, 16, 16)


def data_set(images: bytes, labels: bytes, **changes: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A manifest that is right about its files, and these."""
    files = {"train-images.npy": images, "train-labels.npy": labels}
    digests = digests_of(files)
    manifest = DataManifest(
        files=digests, name=SET, digest=identity(digests), image_size=SHAPE[2], channels=1, counts={"train": SHAPE[0]},
        classes=("bars", "discs"), class_counts={"bars": 20, "discs": 20}, source="a stranger",
    )  # fmt: skip
    return manifest.model_dump(mode="json") | changes, files


GOOD_IMAGES, GOOD_LABELS = npy(np.zeros(SHAPE, np.uint8)), npy(np.zeros(SHAPE[0], np.uint8))
GOOD_TREE, GOOD_FILES = data_set(GOOD_IMAGES, GOOD_LABELS)
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
    damaged_trees(GOOD_TREE).map(lambda tree: json.dumps(tree).encode("utf-8", "replace")),
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
    _clean_cache(ground)


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


def _clean_cache(ground: Ground) -> None:
    for name in ("data", "generators", "networks"):
        shutil.rmtree(ground.service.cache / name, ignore_errors=True)


array_inputs = st.tuples(st.booleans(), npy_files, st.booleans())


def feed_array(ground: Ground, value: tuple[bool, bytes, bool]) -> None:
    """Train on arrays that a manifest pins, or on others in their place."""
    of_images, data, is_pinned = value
    images, labels = (data, GOOD_LABELS) if of_images else (GOOD_IMAGES, data)
    tree, files = (
        data_set(images, labels) if is_pinned else (GOOD_TREE, {"train-images.npy": images, "train-labels.npy": labels})
    )
    folder = f"data/{SET}/{tree['digest']}/"
    with (
        ground.stored(
            {folder + name: found for name, found in files.items()} | {folder + MANIFEST: json.dumps(tree).encode()}
        ),
        victim_spec(ground, SET) as path,
    ):
        ground.ganctl("run", str(path), writes=True)
    _clean_cache(ground)


class _Command:
    """What a pickle would run."""

    def __init__(self, marker: str) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self._marker, "w"))


def _saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _rezipped(data: bytes, way: str) -> bytes:
    """A file of torch with its archive told in another way."""
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if way == "deflated" else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", packing) as new:
        for info in old.infolist():
            found = old.read(info)
            if info.filename.endswith("data.pkl"):
                if way == "pickle in place":
                    found = pickle.dumps(_Command(OWNED))  # made, not read
                if way == "deep":
                    found = b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b"."
                if way == "huge memo":
                    found = b"\x80\x02X\x06\0\0\0formatr\xff\xff\xff\x7fK\x01s."
                if way == "nothing":
                    found = b""
            new.writestr(info.filename, found)
        if way == "bomb":
            new.writestr("archive/data/99", bytes(100_000_000), zipfile.ZIP_DEFLATED)
        if way == "outside":
            new.writestr("../../canary/bird", b"mine")
        if way == "double":
            new.writestr("archive/data.pkl", b"\x80\x02K\x01.")
    return out.getvalue()


ODD_STATES: tuple[Any, ...] = (None, -1, "x" * 5_000, [], {}, 10**20)


def checkpoints(base: bytes) -> st.SearchStrategy[bytes]:
    """Hostile checkpoints, made of a good one."""
    tree = torch.load(io.BytesIO(base), weights_only=True)
    ways = ("deflated", "pickle in place", "deep", "huge memo", "nothing", "bomb", "outside", "double")
    trees: list[Any] = [
        {}, [], None, {"format": 10**30, **tree}, {"format": -1, "trainer": {}, "history": []}, {"format": 1},
        {"format": 1, "trainer": [], "history": [{}]},
        {"format": 1, "trainer": {"ema": {"x": torch.zeros(3)}}, "history": []},
        tree | {"history": tree["history"] * 3}, tree | {"history": [{"images": -1}]}, tree | {"trainer": None},
        tree | {"trainer": tree["trainer"] | {"ema": None}},
        tree | {"trainer": tree["trainer"] | {"precision": "\x1b[2J"}},
        tree | {"trainer": {key: torch.full((2,), float("nan")) for key in tree["trainer"]}},
        tree | {"trainer": tree["trainer"] | {"ema": {"layer\x1b[2J": torch.zeros(1).expand(10**6, 10**5)[:1, :1]}}},
        tree | {"trainer": tree["trainer"] | {"images_seen": 10**400}},
        tree | {"trainer": tree["trainer"] | {"step": "x"}},
    ]  # fmt: skip
    for key in tree["trainer"]:
        trees += [tree | {"trainer": tree["trainer"] | {key: value}} for value in ODD_STATES]
        trees.append(tree | {"trainer": {name: value for name, value in tree["trainer"].items() if name != key}})
    return st.one_of(
        st.sampled_from(ways).map(lambda way: _rezipped(base, way)),
        st.sampled_from(trees).map(_saved),
        st.sampled_from(trees).map(_saved),
        st.sampled_from(trees).map(_saved),
        damaged_bytes(base),
        st.just(pickle.dumps(_Command(OWNED))),
        st.just(_legacy(tree)),
        st.sampled_from(
            [b"", b"PK\x05\x06" + bytes(18), bomb("html"), npy(np.zeros(3)), b"\x80\x04" + b"(" * 1_000_000]
        ),
        st.binary(max_size=100),
    )


def _legacy(tree: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(tree, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def feed_checkpoint(ground: Ground, data: bytes) -> None:
    """Go on from it, judge it, and train from it here."""
    spec = ground.found["spec"]
    key = f"{ATTEMPT}checkpoints/000000000640.pt"
    stored = ground.stored({f"jobs/{GHOST}/spec.yaml": spec, key: data})
    with stored, ground.file("on.yaml", ground.found["on"]) as path:
        ground.ganctl("submit", str(path), "--from", GHOST, "--dry-run")
        ground.ganctl("run", str(path), "--from", f"{GHOST}@final", writes=True)
        ground.ganctl("run", str(path), "--from", GHOST, "--weights-only", writes=True)
    with ground.refusal("decode_checkpoint"):
        decode_checkpoint(data)


generator_files = st.sampled_from(["generator.safetensors", MANIFEST, "generator.onnx", "README.md", "samples.png"])


def generators(files: dict[str, bytes]) -> st.SearchStrategy[tuple[dict[str, bytes], bool]]:
    """A bundle of which one file is another; the manifest may have been made to agree."""
    manifest = json.loads(files[MANIFEST])
    weights = files["generator.safetensors"]
    head = int.from_bytes(weights[:8], "little")
    safetensors = st.one_of(
        damaged_bytes(weights),
        st.sampled_from([2**63, 2**31, head + 8, 0]).map(lambda size: size.to_bytes(8, "little") + weights[8:]),
        st.sampled_from(
            [b'{"a":{"dtype":"F32","shape":[1099511627776,4],"data_offsets":[0,4]}}', b"[" * 90_000, b"{}"]
        ).map(lambda text: len(text).to_bytes(8, "little") + text + bytes(8)),
        st.just(pickle.dumps(_Command(OWNED))),
    )
    return st.one_of(
        st.tuples(damaged_trees(manifest).map(lambda tree: files | {MANIFEST: _json(tree)}), st.just(False)),
        st.tuples(
            st.builds(
                lambda name: files | {MANIFEST: _json(manifest | {"files": {name: manifest["files"][WEIGHTS]}})},
                odd_texts,
            ),
            st.just(False),
        ),
        st.tuples(
            st.builds(
                lambda changes: files | {MANIFEST: _json(manifest | changes)},
                st.fixed_dictionaries({"classes": st.lists(strangers_texts, max_size=3), "name": strangers_texts}),
            ),
            st.just(False),
        ),
        st.tuples(safetensors.map(lambda data: files | {WEIGHTS: data}), st.just(True)),
        st.tuples(safetensors.map(lambda data: files | {WEIGHTS: data}), st.just(False)),
        st.tuples(st.sampled_from(DEEP_JSON).map(lambda text: files | {MANIFEST: text}), st.just(False)),
        st.tuples(damaged_bytes(files[MANIFEST]).map(lambda text: files | {MANIFEST: text}), st.just(False)),
    )


WEIGHTS = "generator.safetensors"


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "replace")


def feed_generator(ground: Ground, value: tuple[dict[str, bytes], bool]) -> None:
    """Fetch it, link it, draw from it; and the same of a folder that somebody sent."""
    files, agrees = value
    if agrees:  # whoever may write the bucket writes a manifest that fits
        tree = json.loads(files[MANIFEST])
        for name in tree["files"]:
            digest = {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
            tree["files"][name] = digest
        files = files | {MANIFEST: _json(tree)}
    target = ground.service.folder / "fetched"
    with ground.stored({f"{ATTEMPT}generator/{name}": data for name, data in files.items()}):
        given = ground.ganctl("fetch", GHOST, "--into", str(target))
        if given.is_refused and target.exists():
            ground.violation("fetch is refused, and its folder is there")
        shutil.rmtree(target, ignore_errors=True)
        ground.ganctl("link", GHOST, "-o", "json")
        ground.ganctl("sample", GHOST, "-n", "2", "--into", "out.png", writes=True)
    folder = ground.service.folder / "inputs" / "bundle"
    folder.mkdir(parents=True)
    try:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        for command in (["sample", "-n", "2", "--class", "0"], ["interpolate"]):
            ground.ganctl(command[0], str(folder), *command[1:], "--into", "out.png")
        ground.ganctl("augment", str(folder), "--into", "out.npz", writes=True)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(ground.service.work / "out.npz", ignore_errors=True)
        (ground.service.work / "out.png").unlink(missing_ok=True)
    _clean_cache(ground)


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
            page.unlink()
        ground.look([["show", base], ["watch", base]])
    if name.endswith(".png"):
        with ground.refusal("half_blocks"):
            half_blocks(data, 76, 30)
    for key in [key for key in ground.store.keys(base) if "/reports/" in key]:
        ground.store.objects.delete(key)


weights_inputs = npy_files | st.sampled_from(NPY_HEADERS)


def feed_network(ground: Ground, data: bytes) -> None:
    """Put a network that is none, and a classifier that is none in the place of a data set's."""
    sha256 = hashlib.sha256(data).hexdigest()
    with ground.file("weights.pth", data) as path:
        with ground.refusal("inception_v3"):
            inception_v3(path, sha256)
        with ground.refusal("a classifier"):
            classifier(data, 1, 16, 2)
        head = safetensors.torch.save({"x": torch.zeros(2)})
        with ground.refusal("another classifier"):
            classifier(head, 1, 16, 2)
