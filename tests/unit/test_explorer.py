"""What the explorer's server hands out, and to whom; the page itself is tried in a browser, in tests/integration."""

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from ganservice.errors import ArtifactMissing, RequestError
from tests.published import write_generator
from workers.bundle import open_bundle
from workers.explorer.description import directions_of
from workers.explorer.resources import resources_of
from workers.explorer.server import Answer, PageServer
from workers.gan.directions import find_directions
from workers.gan.export import ONNX, SYNTHESIS
from workers.gan.randomness import fixed_latents

KEYS = {"data": {"dataset": "shapes", "image_size": 8, "channels": 1}, "generator": {"kind": "mlp", "widths": [4]}}
STYLES = {"kind": "stylegan2", "width": 4, "w_size": 8, "mapping_layers": 2, "mapping_lr_share": 1.0}
# What a stranger may have called a class, and what of it a page is told.
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
PLAIN = "<img src=x onerror=alert(1)>\\u202e\\x1b[2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = KEYS | {"conditioning": {"classes": 2}}
    return write_generator(
        tmp_path_factory.mktemp("made") / "tiny", keys, classes=("disc", HOSTILE), graph=lambda *_: {ONNX: b"graph"}
    )


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PageServer]:
    with PageServer(0, resources_of(open_bundle(str(folder)))) as server:
        server.start()
        yield server
        server.shutdown()


def ask(server: PageServer, path: str, host: str = "127.0.0.1") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def page(server: PageServer) -> str:
    """The path of the page."""
    return "/" + server.address.split("/", 3)[3]


def test_all_that_the_page_names_is_there(server: PageServer) -> None:
    asked, seen = [""], set[str]()
    while asked:
        name = asked.pop()
        seen.add(name)
        answer, content = ask(server, page(server) + name)
        assert answer.status == 200, name
        if (answer.headers.get_content_type()) in ("text/html", "text/javascript") and "ort." not in name:
            named = re.findall(r'(?:src=|href=|from |bytesOf\()"(?:\./)?([\w.]+)"', content.decode())
            asked += [each for each in named if each not in seen]
    assert {"explore.js", "ort.wasm.bundle.min.mjs", "style.css", "icon.svg", "description.json"} <= seen
    wasm, _ = ask(server, page(server) + "ort-wasm-simd-threaded.wasm")
    assert (wasm.status, wasm.getheader("Content-Type")) == (200, "application/wasm")


def test_directions_are_those_of_the_class_that_is_asked_for(tmp_path: Path) -> None:
    """They were those of the first class, whichever was shown."""
    keys = KEYS | {"generator": {"kind": "resnet", "width": 4}, "discriminator": {"kind": "resnet", "width": 4}}
    folder = write_generator(
        tmp_path / "classes", keys | {"conditioning": {"classes": 3}}, graph=lambda *_: {ONNX: b""}
    )
    bundle = open_bundle(str(folder))
    with PageServer(0, resources_of(bundle)) as server:
        server.start()
        of_class = []
        for label in (0, 2):
            answer, content = ask(server, f"{page(server)}directions?label={label}")
            assert answer.status == 200
            of_class.append(torch.tensor([each["vector"] for each in json.loads(content)]))
            found = find_directions(bundle.generator, 8, (torch.tensor([label]),), 8)
            torch.testing.assert_close(of_class[-1], found.vectors)
        assert not torch.allclose(of_class[0], of_class[1], atol=0.1)
        for query in ("", "?label=3", "?label=-1", "?label=0.0", "?label=%00"):
            answer, content = ask(server, f"{page(server)}directions{query}")
            assert answer.status == 400
            assert content.startswith(b"label: expected that of a class which the generator learned")
        server.shutdown()


def test_a_step_along_a_direction_of_styles_is_one_standard_deviation_of_them(tmp_path: Path) -> None:
    keys = {"generator": STYLES, "data": {"dataset": "shapes", "image_size": 16, "channels": 1}}
    folder = write_generator(tmp_path / "styles", keys, graph=lambda *_: {ONNX: b"", SYNTHESIS: b""})
    bundle = open_bundle(str(folder))
    vectors = torch.tensor([each["vector"] for each in directions_of(bundle, None)])
    unit = find_directions(bundle.generator, 8, (), 8).vectors
    torch.testing.assert_close(torch.nn.functional.normalize(vectors), unit, rtol=0, atol=1e-4)
    styles = bundle.style_generator("").mapping(torch.randn(5_000, 8, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(vectors.norm(dim=1), (styles @ unit.T).std(dim=0), rtol=0.15, atol=0)


def test_what_a_page_may_do_is_said_with_each_answer(server: PageServer) -> None:
    for path in (page(server), page(server) + "explore.js", "/elsewhere"):
        answer, _ = ask(server, path)
        policy = answer.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert not re.search("unsafe-(eval|inline)'", policy.replace("wasm-unsafe-eval", ""))
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:80", "127.0.0.1.example", "", "localhost@x.example"]
)
def test_under_another_name_nothing_is_answered(server: PageServer, host: str) -> None:
    answer, content = ask(server, page(server), host)
    assert answer.status == 421
    assert b"<" not in content


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_through_a_tunnel_loopback_may_have_another_port(server: PageServer, host: str) -> None:
    assert ask(server, page(server), host)[0].status == 200


@pytest.mark.parametrize(
    "path", ["/", "/description.json", "//", "/x/", "/x/generator.onnx", "/..", "*", "/%00/", "http://["]
)
def test_who_does_not_know_the_address_gets_nothing(server: PageServer, path: str) -> None:
    answer, content = ask(server, path)
    assert (answer.status, content) == (404, b"nothing is here; open the address that `ganctl explore` printed\n")
    assert ask(server, page(server) + "../../../../etc/passwd")[0].status == 404


def test_what_is_on_a_command_line_leads_to_the_page_once(server: PageServer) -> None:
    once = "/" + server.address_for_once().split("/", 3)[3]
    assert page(server).strip("/") not in once
    first, _ = ask(server, once)
    assert (first.status, first.getheader("Location")) == (303, server.address)
    assert ask(server, once)[0].status == 404


def test_the_page_without_its_last_slash_leads_to_the_page(server: PageServer) -> None:
    """It was the page itself, beside which none of its files are."""
    answer, _ = ask(server, page(server).rstrip("/"))
    assert (answer.status, answer.getheader("Location")) == (303, server.address)


@pytest.mark.parametrize("line", ["POST / HTTP/1.1", "<script>\x1b[2J / HTTP/1.1", "GET / HTTP/9.9", "GET / / /"])
def test_what_is_no_request_is_refused_as_all_else_is(server: PageServer, line: str) -> None:
    """It was answered with HTML, without a policy."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(f"{line}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer
    assert b"<!DOCTYPE" not in answer
    assert b"\x1b" not in answer


def test_nothing_is_computed_once_the_server_is_closed() -> None:
    """The process aborted where it ended while a thread computed, or while one that had computed ended."""
    begun, may_end, computed = threading.Event(), threading.Event(), list[threading.Thread]()

    def compute(query: Mapping[str, str]) -> Answer:
        del query
        begun.set()
        may_end.wait(30)
        computed.append(threading.current_thread())
        return Answer(b"", "text/plain")

    def ask_in_vain(server: PageServer) -> None:
        with contextlib.suppress(http.client.HTTPException, ConnectionError):
            ask(server, f"{page(server)}slow")

    with PageServer(0, {"slow": compute}) as server:
        server.start()
        askers = [threading.Thread(target=ask_in_vain, args=(server,), daemon=True) for _ in range(3)]
        for asker in askers:
            asker.start()
        assert begun.wait(30)
        server.shutdown()
        threading.Timer(0.1, may_end.set).start()
    assert len(computed) == 1
    for asker in askers:
        asker.join(30)
    assert len(computed) == 1
    assert computed[0].native_id not in {thread.id for thread in psutil.Process().threads()}


def test_of_a_browser_that_leaves_nothing_is_told(
    server: PageServer, capfd: pytest.CaptureFixture[str], eventually: Callable[..., Any]
) -> None:
    threads = threading.active_count()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.server_port)) as leaving:
            leaving.sendall(
                f"GET {page(server)}ort-wasm-simd-threaded.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            leaving.recv(1)
            # Closed so, what is still on the way meets a reset.
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: threading.active_count() <= threads)
    assert capfd.readouterr().err == ""


def test_the_latents_are_those_of_sample(server: PageServer) -> None:
    for query, truncation in (("seed=7", None), ("seed=9223372036854775807&truncation=0.5", 0.5)):
        _, content = ask(server, f"{page(server)}latents?{query}")
        found = np.frombuffer(content, "<f4").reshape(-1, 8)
        seed = int(query.partition("=")[2].partition("&")[0])
        assert torch.equal(torch.from_numpy(found.copy()), fixed_latents(seed, 64, 8, truncation)[: len(found)])


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "seed: found null"), ("seed=-1", "seed: found"), ("seed=x", "seed: found"),
        ("seed=9223372036854775808", "seed: found"),
        ("seed=1&truncation=0", "truncation: found"), ("seed=1&truncation=nan", "truncation: found"),
    ],
)  # fmt: skip
def test_what_is_no_draw_is_refused_in_one_line(server: PageServer, query: str, says: str) -> None:
    answer, content = ask(server, f"{page(server)}latents?{query}")
    assert answer.status == 400
    assert content.decode().startswith(says)
    assert content.count(b"\n") == 1


def test_the_page_is_told_plain_text(server: PageServer) -> None:
    answer, content = ask(server, page(server) + "description.json")
    assert answer.getheader("Content-Type") == "application/json"
    told = json.loads(content)
    assert told["classes"] == [{"label": 0, "name": "disc"}, {"label": 1, "name": PLAIN}]
    assert (told["channels"], told["height"], told["width"], told["latent_size"]) == (1, 8, 8, 8)
    assert told["directions"] == 4


def test_points_and_folders_without_a_graph_are_refused(tmp_path: Path) -> None:
    without = write_generator(tmp_path / "without", KEYS, graph=None)
    with pytest.raises(ArtifactMissing, match=r"without: holds no generator.onnx, which the page runs"):
        resources_of(open_bundle(str(without)))
    mixture = {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1},
        "generator": KEYS["generator"],
    }
    points = write_generator(tmp_path / "points", mixture, graph=None)
    with pytest.raises(RequestError, match="makes points in the plane; expected one of pictures"):
        resources_of(open_bundle(str(points)))
