"""Resources: all that the page of the explorer consists of and asks for."""

import json
from collections.abc import Mapping
from functools import partial
from importlib import resources

from ganservice.arguments import checked
from ganservice.errors import ArtifactMissing, RequestError
from ganservice.judging import Truncation
from ganservice.model import Seed
from workers.bundle import Bundle
from workers.explorer.description import describe, directions_of, graphs_of, labels_of, latents_of
from workers.explorer.server import Answer, Resource

# The page's own files, and those of ONNX Runtime Web by which it runs the generator.
FOLDERS = ("page", "runtime")
PAGE = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
BYTES, JSON = "application/octet-stream", "application/json"


def resources_of(bundle: Bundle) -> dict[str, Resource]:
    """What a server serves that shows a generator, by the names by which the page asks for it.

    Raises:
        RequestError: the generator makes points, no pictures.
        ArtifactMissing: there is no file of ONNX.
    """
    description = json.dumps(describe(bundle)).encode()
    graphs = graphs_of(bundle)
    if missing := [name for name in graphs if name not in bundle.manifest.files]:
        raise ArtifactMissing(
            f"{bundle.folder}: holds no {missing[0]}, which the page runs; fetch one that was published whole"
        )
    answers = {
        **_files(),
        "description.json": Answer(description, JSON),
        **{name: Answer((bundle.folder / name).read_bytes(), BYTES) for name in graphs},
    }
    return {
        **{name: partial(_same, answer) for name, answer in answers.items()},
        "directions": partial(_directions, bundle),
        "latents": partial(_latents, bundle),
    }


def _files() -> dict[str, Answer]:
    """The files of this package by name; one that is packed by the name that it has unpacked."""
    answers = {}
    for folder in FOLDERS:
        for file in resources.files("workers.explorer").joinpath(folder).iterdir():
            name = file.name.removesuffix(".gz")
            suffix = f".{name.rpartition('.')[2]}"
            if suffix in MEDIA_TYPES:
                packed = "gzip" if name != file.name else None
                answers["" if name == PAGE else name] = Answer(file.read_bytes(), MEDIA_TYPES[suffix], packed)
    return answers


def _same(answer: Answer, query: Mapping[str, str]) -> Answer:
    del query
    return answer


def _directions(bundle: Bundle, query: Mapping[str, str]) -> Answer:
    text, labels = query.get("label"), {str(label): label for label in labels_of(bundle)}
    if (text not in labels) if labels else (text is not None):
        raise RequestError("label: expected that of a class which the generator learned, and none of one without")
    found = directions_of(bundle, None if text is None else labels[text])
    return Answer(json.dumps(found).encode(), JSON)


def _latents(bundle: Bundle, query: Mapping[str, str]) -> Answer:
    draw = _draw_of(query.get("seed"), query.get("truncation"))  # type: ignore[arg-type] # texts, which it checks
    return Answer(latents_of(bundle, *draw), BYTES)


@checked
def _draw_of(seed: Seed, truncation: Truncation | None) -> tuple[int, float | None]:
    return seed, truncation
