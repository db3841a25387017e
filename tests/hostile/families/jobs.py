"""Jobs on what is hostile in the store, by the dispatcher and its gangs: each fails with one line."""

import json
from typing import Any

from hypothesis import strategies as st

from ganservice.manifest import MANIFEST, images_file
from tests.conftest import wait_until
from tests.hostile.families.arrays import npy_files
from tests.hostile.families.models import ATTEMPT, GHOST
from tests.hostile.families.stored import GOOD_FILES, GOOD_TREE, SET, data_set, victim_spec
from tests.hostile.ground import Ground
from tests.strangers_text import OBEYED


def inputs(checkpoints: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """What a job of each kind reads."""
    return st.one_of(
        st.tuples(st.sampled_from(["evaluate", "continue"]), checkpoints),
        st.tuples(st.sampled_from(["data", "exchanged"]), npy_files),
    )


def feed(ground: Ground, value: tuple[str, bytes]) -> None:
    """Submit a job, exchange what it reads, and wait for its end."""
    way, data = value
    files = GOOD_FILES | ({images_file("train"): data} if way in ("data", "exchanged") else {})
    tree = data_set(files) if way == "data" else GOOD_TREE
    folder = f"data/{SET}/{tree['digest']}/"
    objects: dict[str, Any] = {folder + name: found for name, found in files.items()}
    objects[folder + MANIFEST] = json.dumps(tree).encode()
    objects |= {f"jobs/{GHOST}/spec.yaml": ground.found["spec"], f"{ATTEMPT}checkpoints/000000000640.pt": data}
    if way in ("data", "exchanged"):
        objects = {key: found for key, found in objects.items() if key.startswith("data/")}
    with ground.stored(objects):
        job_id = _submitted(ground, way)
        if job_id:
            job = wait_until(lambda: ground.queue.get(job_id).state.is_final and ground.queue.get(job_id), 300)
            message = job.message or ""
            if "\n" in message or set(OBEYED) & set(message) or "Traceback" in message:
                ground.violation(f"the message of a job is no line: {message!r}")
            if "Error: " in message:
                ground.violation(f"an unforeseen end: {message!r}")
            ground.look([["show", job_id], ["logs", job_id], ["events", job_id], ["wait", job_id]])
            ground.ganctl("delete", job_id, "--yes", refused=False)


def _submitted(ground: Ground, way: str) -> str | None:
    retry = ["--set", "max_attempts=1"]
    if way == "evaluate":
        given = ground.ganctl("evaluate", GHOST, "--samples", "1000", "--measures", "frechet", writes=True)
    elif way == "continue":
        with ground.file("on.yaml", ground.found["on"]) as path:
            given = ground.ganctl("submit", str(path), "--from", GHOST, *retry, writes=True)
    else:
        with victim_spec(ground, SET) as path:
            given = ground.ganctl("submit", str(path), *retry, writes=True)
    return given.stdout.strip() or None
