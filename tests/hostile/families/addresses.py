"""URLs and settings: with passwords, of odd hosts, and where evaluations may have weights from."""

import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from hypothesis import strategies as st

from ganservice.artifacts import ArtifactStore
from ganservice.judging import NetworkWeights
from tests.hostile.draw import odd_texts
from tests.hostile.ground import Ground
from workers.attempt.network_weights import weights_file

# In all of these the password is that of a well-known joke; it is looked for in all that is printed.
HOSTS = (
    "127.0.0.1:1", "[::1]:1", "127.0.0.1:99999", "127.0.0.1:x", "0x7f.1:1", "2130706433:1", "127.0.0.1:1\\@evil", "a b",
    "\x1b[2J", "127.0.0.1:1#@evil", "%31.2", "a" * 300, "[::1", "127.0.0.1:-1", "127.0.0.1:0", "\u2025", "ⓛocalhost:1",
)  # fmt: skip
FORMS = (
    "redis://:hunter2@{}/0", "redis://u:hunter2@{}", "rediss://:hunter2@{}/0?ssl_cert_reqs=none&x=hunter2",
    "http://u:hunter2@{}/bucket", "http://{}/bucket?password=hunter2", "https://{}/bucket", "http://{}", "hunter2@{}",
    "redis://{}/0?client_name=x&password=hunter2", "file:///etc/passwd", "unix:///{}", "javascript:alert(1)", "{}", "",
    "http://127.0.0.1:1/b\r\nX: hunter2", "redis://:hunter2@127.0.0.1:1/99999999999999999999",
    "s3://u:hunter2@{}/b",
)  # fmt: skip
urls = st.builds(lambda form, host: form.format(host), st.sampled_from(FORMS), st.sampled_from(HOSTS) | odd_texts)
VARIABLES = (
    "BROKER_URL", "WORKER_BROKER_URL", "STORE_URL", "STORE_ACCESS_KEY", "STORE_SECRET_KEY", "STORE_REGION",
    "RAY_ADDRESS", "USER", "WEIGHTS_FROM", "LEASE_S", "HEARTBEAT_S", "FINISHED_TTL_S", "GC_GRACE_S", "KEEP_REPORTS",
    "EXPORTER_PORT", "DATA_MIRRORS", "OUTAGE_PATIENCE_S",
)  # fmt: skip
NUMBERS = st.sampled_from(["nan", "inf", "-1", "0", "1e999", "9" * 400, "x", "1e308", "0x10", "١"])
COMMANDS = (
    ["list"],
    ["data", "list"],
    ["show", "base"],
    ["fetch", "base"],
    ["nodes"],
    ["report", "base"],
    ["list", "--stored"],
)
settings_inputs = st.tuples(
    st.lists(st.tuples(st.sampled_from(VARIABLES), urls | NUMBERS | odd_texts), min_size=1, max_size=2),
    st.sampled_from(COMMANDS),
)


def feed_settings(ground: Ground, value: tuple[list[tuple[str, str]], list[str]]) -> None:
    """Have commands read the settings; whatever they refuse they tell no password."""
    pairs, command = value
    # In a variable there is no zero byte; and what is too long for one argument is for one variable.
    found = {f"GANSERVICE_{name}": _variable(text) for name, text in pairs}
    ground.ganctl(*command, writes=True, variables=found)


def _variable(text: str) -> str:
    return os.fsdecode(text.encode("utf-8", "surrogatepass").replace(b"\0", b"")[:100_000])


class _Trap(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/" if "link" in self.path else "/secret")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hunter2" * 1_000)

    do_HEAD = do_GET  # noqa: N815 # names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name in the base class
        """Say nothing."""


@contextlib.contextmanager
def _trap() -> Iterator[int]:
    """A server of this machine that nobody may ask; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Trap)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _Trap.asked.clear()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SOURCES = (
    "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:{port}/x", "http://127.0.0.1:{port}/allowed/../secret",
    "http://127.0.0.1:{port}/allowed/%2e%2e/secret", "http://127.0.0.1:{port}/allowed\\..\\secret",
    "http://169.254.169.254/", "http://u:hunter2@127.0.0.1:{port}/allowed/x", "http://127.0.0.1:{port}@evil/allowed/x",
    "http://[::ffff:127.0.0.1]:{port}/x", "networks/../data/x", "networks/" + "0" * 64 + ".pth", "networks/\x1b[2J.pth",
    "ftp://127.0.0.1:{port}/x", "../canary/bird", "http://127.0.0.1:{port}/away/allowed", "", "{canary}",
    "http://127.0.0.1:{port}/away/link", "HTTP://127.0.0.1:{port}/secret",
    "http://127.0.0.1:{port}/allowed/..;/secret", "http://127.0.0.1:{port}/Allowed/x", "//127.0.0.1:{port}/x",
)  # fmt: skip
sources = st.tuples(st.sampled_from(SOURCES) | odd_texts, st.booleans())


def feed_source(ground: Ground, value: tuple[str, bool]) -> None:
    """Have an evaluation's weights read from there: nothing is asked and nothing told but where the operator says."""
    source, is_listed = value
    with _trap() as port:
        text = source.replace("{port}", str(port)).replace("{canary}", str(ground.service.canary / "bird"))
        allowed = f"http://127.0.0.1:{port}/allowed,http://127.0.0.1:{port}/away" if is_listed else ""
        settings = ground.service.settings.model_copy(update={"weights_from": allowed})
        try:
            weights = NetworkWeights(source=text, sha256="0" * 64)
        except ValueError:
            weights = None
        if weights:
            with ground.refusal("weights_file"):
                weights_file(settings, ArtifactStore(settings), weights)
                ground.violation("weights of another digest are taken")
        if forbidden := [path for path in _Trap.asked if not is_listed or not path.startswith(("/allowed/", "/away"))]:
            ground.violation(f"it was asked for {forbidden}")
        words = ["evaluate", str(ground.found["base"]), "--network", "inception_v3", "--weights", text]
        given = ground.ganctl(*words, "--sha256", "0" * 64, "--cpus", "4096", writes=True)
    if given.code == 0:
        job_id = given.stdout.strip()
        ground.look([["show", job_id], ["list"]])
        ground.ganctl("cancel", job_id, "--now", refused=False)
        ground.ganctl("delete", job_id, "--yes", refused=False)
