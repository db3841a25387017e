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
            ground.ganctl(
                "submit", str(good), "--set", f"{key}={text}", *_nowhere(), refused=_refused([*_settings((key, text))])
            )
        elif way == "from":
            ground.ganctl("submit", str(good), "--from", given, *_nowhere(), refused=True)
        elif way == "stdin":
            ground.ganctl("submit", "-", *_nowhere(), stdin=given)
        else:
            command = {"file": "submit", "run": "run", "verify": "verify-resume"}[way]
            with ground.file("hostile.yaml", given) as path:
                ground.ganctl("submit", str(path), "--dry-run")
                # What is valid would train here, which is no matter of this family.
                if command == "submit" or _is_refused(given):
                    ground.ganctl(command, str(path), *_nowhere())
    _forget(ground)


def _settings(pair: tuple[str, str]) -> list[str]:
    return [f"{pair[0]}={pair[1]}"]


def _refused(overrides: list[str]) -> bool | None:
    try:
        read_spec(GOOD.decode(), "good.yaml", overrides)
    except SpecInvalid:
        return True
    except ValueError:
        return None
    return None


def _is_refused(given: bytes) -> bool:
    try:
        read_spec(given.decode(), "hostile.yaml", [])
    except (SpecInvalid, UnicodeDecodeError):
        return True
    return False


def _nowhere() -> list[str]:
    return [word for key, value in TOO_MANY.items() for word in ("--set", f"resources.{key}={value}")]


def _forget(ground: Ground) -> None:
    """Take what was let in out of the queue again, after everybody has looked at it."""
    ids = [given.stdout.strip() for given in ground.case.commands if given.code == 0 and given.arguments[0] == "submit"
           and "--dry-run" not in given.arguments]  # fmt: skip
    for job_id in ids:
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
