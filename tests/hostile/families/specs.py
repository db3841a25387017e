"""Specs: as files, on standard input, and as overrides; and valid ones at the ends of all ranges."""

import json
from typing import Any

from hypothesis import strategies as st

from ganservice.errors import SpecInvalid
from ganservice.spec import EvaluateSpec, TrainSpec
from ganservice.spec_file import dump_spec, read_spec
from tests.any_spec import FIRST, HOSTILE_TEXTS, hostile_trees, valid_specs
from tests.hostile.draw import damaged_bytes, odd_texts
from tests.hostile.ground import Ground
from tests.hostile.hand import typed

MIXTURE = next(tree for tree in FIRST if tree["name"] == "mixture")
GOOD = json.dumps(MIXTURE).encode()
KEYS = ("", "seed", "name", "images", "recipe", "recipe.data.only", "recipe.generator", "a." * 30 + "b", "\x1b[2J", "=")
# No cluster of the tests has so many: a job that was let in must run nowhere.
TOO_MANY = {"cpus_per_worker": 4_096}


def _text(tree: Any) -> bytes:
    return json.dumps(tree).encode()


files = st.one_of(
    hostile_trees().map(_text),
    HOSTILE_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    damaged_bytes(GOOD),
)
inputs = st.one_of(
    st.tuples(st.sampled_from(["file", "stdin", "run", "verify"]), files),
    st.tuples(st.just("set"), st.tuples(st.sampled_from(KEYS), HOSTILE_TEXTS | odd_texts)),
    st.tuples(st.just("from"), odd_texts),
)


def feed(ground: Ground, value: tuple[str, Any]) -> None:
    """Have it submitted, planned and run, as it may be."""
    way, given = value
    with ground.file("good.yaml", GOOD) as good:
        if way == "set":
            key, text = given
            ground.ganctl("submit", str(good), "--dry-run", "--set", f"{key}={text}")
            ground.ganctl("submit", str(good), "--set", f"{key}={text}", *nowhere(), refused=_refused(f"{key}={text}"))
        elif way == "from":
            ground.ganctl("submit", str(good), "--from", given, *nowhere(), refused=True)
        elif way == "stdin":
            ground.ganctl("submit", "-", *nowhere(), stdin=given)
        else:
            command = {"file": "submit", "run": "run", "verify": "verify-resume"}[way]
            with ground.file("hostile.yaml", given) as path:
                ground.ganctl("submit", str(path), "--dry-run")
                # What is valid would train here, which is no matter of this family.
                if command == "submit" or _is_refused(given):
                    ground.ganctl(command, str(path), *nowhere())
    forget(ground)


def _refused(override: str) -> bool | None:
    """Whether an override must be refused; of one that a spec may have it is for other reasons to say."""
    try:
        read_spec(GOOD.decode(), "good.yaml", [typed(override)])
    except SpecInvalid:
        return True
    return None


def _is_refused(given: bytes) -> bool:
    try:
        read_spec(given.decode(), "hostile.yaml", [])
    except (SpecInvalid, UnicodeDecodeError):
        return True
    return False


def nowhere() -> list[str]:
    """Options by which what is let in runs nowhere."""
    return [word for key, value in TOO_MANY.items() for word in ("--set", f"resources.{key}={value}")]


def forget(ground: Ground) -> None:
    """Take what was let in out of the queue again, after everybody has looked at it."""
    for given in list(ground.case.commands):
        if given.code or given.arguments[0] != "submit" or "--dry-run" in given.arguments:
            continue
        job_id = given.stdout.strip()
        ground.look([["show", job_id], ["list"], ["list", "-o", "json"], ["events", job_id]])
        ground.scrape()
        ground.ganctl("cancel", job_id, "--now", refused=False)
        ground.ganctl("delete", job_id, "--yes", refused=False)


valid_inputs = valid_specs()


def feed_valid(ground: Ground, spec: TrainSpec | EvaluateSpec) -> None:
    """Have any valid spec planned by the command and kept by the queue, looked at by all, and taken out again."""
    tree = spec.model_dump(mode="json")
    tree["resources"] = tree["resources"] | TOO_MANY | {"workers": 1}
    if isinstance(spec, TrainSpec):
        with ground.file("valid.yaml", dump_spec(spec).encode()) as path:
            ground.ganctl("submit", str(path), "--dry-run")
    try:
        job_id, _ = ground.queue.submit(type(spec).model_validate_json(json.dumps(tree)))
    except ValueError:  # so few workers cannot hold what the spec asks for
        return
    try:
        ground.look(
            [["show", job_id], ["show", job_id, "-o", "json"], ["list"], ["events", job_id], ["report", job_id]]
        )
        ground.scrape()
    finally:
        ground.queue.cancel(job_id, now=True)
        ground.queue.delete(job_id)
