"""What looks at a generator: pictures that it is given to enlarge, and what its page in a browser is asked."""

import contextlib
import io
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus

from hypothesis import strategies as st

from tests.hostile.draw import odd_texts
from tests.hostile.families.files import pictures
from tests.hostile.ground import Ground
from tests.hostile.prepare import ENLARGER
from workers.bundle import open_bundle
from workers.explorer.resources import resources_of
from workers.explorer.server import LOOPBACK, PageServer

# An answer takes milliseconds; this ends what hangs.
SILENCE_S = 30.0
# Bytes of a line at which a server stops to read.
LONG = 70_000

enlarged = st.tuples(pictures, st.sampled_from(["a.png", "a.jpg", "-x2.png", "\x1b[2J.png", "a\nb.png", "a"]))


def feed_enlarged(ground: Ground, value: tuple[bytes, str]) -> None:
    """Enlarge a picture that a stranger sent, alone and beside another."""
    data, name = value
    target = ground.service.folder / "enlarged"
    source = ["--from", str(ground.service.folder / ENLARGER), "--into", str(target)]
    with ground.file(name, data) as path:
        for pictures_of in ([path], [path, path]):
            given = ground.ganctl("upscale", *map(str, pictures_of), *source)
            if given.is_refused and target.exists():
                ground.violation("upscale is refused, and its folder is there")
            shutil.rmtree(target, ignore_errors=True)


paths = st.sampled_from(
    [
        "",
        "..",
        "%2e%2e/%2e%2e/etc/passwd",
        "explore.js/..",
        "//etc/passwd",
        "\\..\\x",
        "%00",
        "x" * LONG,
        "generator.onnx",
    ]
)
queries = st.one_of(
    st.sampled_from(["", "seed=-1", f"seed={2**63}", "seed=1&truncation=nan", "seed=0&truncation=1e999", "label=9"]),
    odd_texts.map("seed={}".format),
    odd_texts.map("label={}".format),
    st.integers(1, 2_000).map(lambda count: "&".join(["seed=1"] * count)),
)
headers = st.just("") | st.sampled_from(
    ["Host: rebound.example\r\n", "Host: \x00\r\n", "Host: 127.0.0.1\r\n" * 200, "X: " + "x" * LONG + "\r\n", "\r"]
)
starts = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "\x16\x03\x01", "GET GET", ""])
asked = st.tuples(starts, st.sampled_from(["latents", "directions", ""]) | paths, queries, headers)


def feed_asked(ground: Ground, value: tuple[str, str, str, str]) -> None:
    """Ask the page's server for it, with and without its address; sound requests are answered afterwards."""
    start, path, query, header = value
    told = io.StringIO()
    with _explorer(ground) as server, contextlib.redirect_stderr(told):
        for word in (server.address.split("/")[3], "elsewhere"):
            request = f"{start} /{word}/{path}?{query} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{header}\r\n"
            answer = _answer(server, request.encode(errors="replace"))
            status = answer.split(b" ", 2)[1:2]
            if status == [b"200"] and word == "elsewhere":
                ground.violation("the page is there without its address")
            is_refused = bool(status) and status[0][:1] in (b"4", b"5")
            ground.heard("the page", answer[-200:].decode(errors="replace") if is_refused else None)
        with urllib.request.urlopen(f"{server.address}description.json", timeout=SILENCE_S) as sound:  # noqa: S310 # ours
            if sound.status != HTTPStatus.OK:
                ground.violation(f"a sound request is answered by {sound.status}")
    if told.getvalue():
        ground.violation(f"the server tells: {told.getvalue()[-300:]}")


@contextlib.contextmanager
def _explorer(ground: Ground) -> Iterator[PageServer]:
    with PageServer(0, resources_of(open_bundle(str(ground.service.folder / "bundle")))) as server:
        server.start()
        try:
            yield server
        finally:
            server.shutdown()


def _answer(server: PageServer, request: bytes) -> bytes:
    """All that is answered; nothing where the server hangs up."""
    with socket.create_connection((LOOPBACK, server.server_port), timeout=SILENCE_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))
        except ConnectionError:
            return b""
