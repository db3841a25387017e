"""Names, ids and keys on the command line."""

import re

from hypothesis import strategies as st

from ganservice.cli.reference import is_pattern
from ganservice.job_list import LAST
from tests.conftest import wait_until
from tests.hostile.draw import odd_texts
from tests.hostile.families.specs import GOOD, forget, nowhere
from tests.hostile.ground import Ground

# Each with the place of the name; those that only look are also done with a name that is somebody's.
COMMANDS = (
    "show {}", "events {}", "logs {}", "wait {} --timeout 0", "cancel {}", "retry {}", "watch {}", "report {}",
    "fetch {}", "link {}", "evaluate {}", "compare {}", "delete {} --yes", "list --user {}", "list -s {}", "list -n {}",
    "data get {}", "data delete {} --yes", "users add {}", "users remove {}", "cordon {}", "drain {}", "uncordon {}",
    "quota set {} --cpus 1", "quota show {}", "sample {}", "interpolate {}", "run {}", "augment {}", "recover {}",
    "upscale a.png --from {}", "evaluate base --checkpoint {}", "fetch base --checkpoint {}", "link base --hours {}",
    "gc --dry-run --older-than {}", "networks put {}", "pause --reason {}", "data import {} --name a --size 8",
    "wait base --timeout {}", "{}", "data {}", "submit {}", "events base -o {}",
    "evaluate base --weights {} --network inception_v3", "evaluate base --weights {} --network onnx",
    "evaluate base --sha256 {}",
)  # fmt: skip
# What a word for a job may be made of; whatever else is refused.
JOB_WORD = re.compile(r"[a-z0-9-]{1,64}")
OF_JOBS = ("show", "events", "logs", "wait", "cancel", "retry", "watch", "report", "fetch", "link", "compare", "delete")
# Those that take a pattern, which may well mean every job that the run needs.
OF_MANY = ("show", "wait", "cancel", "retry", "set-priority", "compare", "delete")

UNDONE_BY = {
    "users add": ["users", "remove"],
    "quota set": ["users", "remove"],
    "cordon": ["uncordon"],
    "drain": ["uncordon"],
    "pause": ["resume"],
}

inputs = st.tuples(st.sampled_from(COMMANDS), odd_texts)


def feed(ground: Ground, value: tuple[str, str]) -> None:
    """Give one command with the name in its place."""
    command, name = value
    words = [name if word == "{}" else word for word in command.split()]
    if words[0] in OF_MANY and (is_pattern(name) or name == LAST):
        return
    must_be = True if words[0] in OF_JOBS and "base" not in words and not JOB_WORD.fullmatch(name) else None
    if "--help" in words or "-h" in words:
        must_be = None
    given = ground.ganctl(*words, refused=must_be)
    if given.is_refused or "--help" in words:
        return
    if words[0] == "evaluate":  # what it writes until it has ended would be taken for what others have done
        job_id = given.stdout.strip()
        wait_until(lambda: ground.queue.get(job_id).state.is_final)
    for beginning, undoing in UNDONE_BY.items():
        if command.startswith(beginning):
            ground.ganctl(*undoing, *([] if undoing == ["resume"] else [name]), refused=False)


keys = st.tuples(st.sampled_from(["--idempotency-key", "--set"]), odd_texts)


def feed_key(ground: Ground, value: tuple[str, str]) -> None:
    """Submit by a key of any letters; what is let in is taken out again."""
    option, text = value
    with ground.file("good.yaml", GOOD) as path:
        ground.ganctl("submit", str(path), option, text if option != "--set" else f"name={text}", *nowhere())
    forget(ground)
