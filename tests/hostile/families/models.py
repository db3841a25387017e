"""What is no data in the bucket, and in folders that somebody sent: checkpoints, generators, networks."""

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import strategies as st

from ganservice.judging import Scaling
from ganservice.manifest import MANIFEST
from tests.hostile.draw import DEEP_JSON, damaged_bytes, damaged_trees, odd_texts
from tests.hostile.families.arrays import NPY_HEADERS, npy, npy_files
from tests.hostile.families.files import OWNED, bomb
from tests.hostile.ground import Ground
from tests.strangers_text import strangers_texts
from workers.bundle import open_bundle
from workers.explorer.resources import resources_of
from workers.gan.checkpoint import decode_checkpoint
from workers.gan.evaluation.features import classifier, inception_v3, onnx_network

GHOST = "ghost-0a1b2c"
ATTEMPT = f"jobs/{GHOST}/attempts/0001/"
WEIGHTS = "generator.safetensors"


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
        ground.ganctl("link", GHOST, "generator", "-o", "json")
        ground.ganctl("ls", GHOST)
        ground.ganctl("sample", GHOST, "-n", "2", "--into", "out.png", writes=True)
    folder = ground.service.folder / "inputs" / "bundle"
    folder.mkdir(parents=True)
    try:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        for command in (["sample", "-n", "2", "--class", "0"], ["interpolate"]):
            ground.ganctl(command[0], str(folder), *command[1:], "--into", "out.png")
        with ground.refusal("the page of explore"):
            resources_of(open_bundle(str(folder)))
        ground.ganctl("augment", str(folder), "--into", "out.npz", writes=True)
    finally:
        shutil.rmtree(folder)
    ground.clear_cache()


weights_inputs = npy_files | st.sampled_from(NPY_HEADERS)


def feed_network(ground: Ground, data: bytes) -> None:
    """Put a network that is none, and a classifier that is none in the place of a data set's."""
    sha256 = hashlib.sha256(data).hexdigest()
    with ground.file("weights.pth", data) as path:
        with ground.refusal("inception_v3"):
            inception_v3(path, sha256)
        with ground.refusal("onnx"):
            onnx_network(path, sha256, Scaling())
        with ground.refusal("a classifier"):
            classifier(data, 1, 16, 2)
        head = safetensors.torch.save({"x": torch.zeros(2)})
        with ground.refusal("another classifier"):
            classifier(head, 1, 16, 2)
