"""`ganctl explore`: the page in a browser, where it draws what `ganctl sample` draws; and the command around it."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ganservice.cli import ganctl
from ganservice.errors import RequestError
from tests.conftest import wait_until
from tests.published import write_generator
from workers.bundle import open_bundle
from workers.explorer.description import directions_of
from workers.explorer.resources import resources_of
from workers.explorer.server import PageServer
from workers.gan.directions import find_directions
from workers.gan.export import ONNX
from workers.gan.latent import slerp
from workers.gan.randomness import fixed_latents

# They only end what hangs: a busy machine takes several times what an idle one does.
TIMEOUT_MS = 300_000
expect.set_options(timeout=TIMEOUT_MS)

DESKTOP, PHONE = (1280, 800), (390, 844)
# What a stranger may have called a class and a job.
HOSTILE = "</option><script>alert(1)</script>"
DCGAN = {"kind": "dcgan", "widths": [8, 4, 4]}
DENSE = {"kind": "dense_dcgan", "widths": [8, 4, 4]}
RESNET = {"kind": "resnet", "width": 4}
STYLES = {"kind": "stylegan2", "width": 8, "w_size": 8, "mapping_layers": 1, "mapping_lr_share": 1.0}
KINDS: dict[str, dict[str, Any]] = {
    "grey": {"data": {"dataset": "shapes", "image_size": 28, "channels": 1}, "generator": DCGAN,
             "conditioning": {"classes": 3, "latent_features": 8}},
    "rgb": {"data": {"dataset": "shapes", "image_size": "16x64", "channels": 3}, "generator": DENSE},
    "rgba": {"data": {"dataset": "shapes", "image_size": "24x16", "channels": 4}, "generator": DENSE},
    "styles": {"data": {"dataset": "shapes", "image_size": 16, "channels": 3}, "generator": STYLES},
    "classes": {"data": {"dataset": "shapes", "image_size": 16, "channels": 1}, "generator": RESNET,
                "discriminator": RESNET, "conditioning": {"classes": 3}},
}  # fmt: skip
CLASSES = ("disc", "it's a 'bar'", HOSTILE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A generator of each kind, as it is fetched."""
    made = tmp_path_factory.mktemp("made")
    jobs = {"grey": HOSTILE, "rgb": "rgb-1", "rgba": "rgba-1", "styles": "styles-1", "classes": "classes-1"}
    return {
        kind: write_generator(made / kind, keys, jobs[kind], CLASSES if "conditioning" in keys else ())
        for kind, keys in KINDS.items()
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no chromium on PATH: on Debian, `apt-get install chromium`"
    with sync_playwright() as playwright:
        # Its sandbox takes rights that containers and root do not have; it shows pages of ours alone.
        yield playwright.chromium.launch(executable_path=path, chromium_sandbox=False)


@pytest.fixture(scope="module")
def servers(folders: dict[str, Path]) -> Iterator[dict[str, PageServer]]:
    found = {kind: PageServer(0, resources_of(open_bundle(str(folder)))) for kind, folder in folders.items()}
    for server in found.values():
        server.start()
    yield found
    for server in found.values():
        server.shutdown()
        server.server_close()


@contextmanager
def blank(browser: Browser, size: tuple[int, int] = DESKTOP) -> Iterator[Page]:
    """A window of a browser that has seen nothing yet."""
    with browser.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=size == PHONE) as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield context.new_page()


@contextmanager
def opened(browser: Browser, address: str, size: tuple[int, int] = DESKTOP) -> Iterator[Page]:
    """The page of a server, which asks nobody else for anything and says nothing in the console."""
    with blank(browser, size) as page:
        said, asked = list[str](), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        settled(page)
        yield page
        assert said == []
        # What is saved is a blob, which the page makes.
        assert all(url.startswith((address.partition("#")[0], "blob:")) for url in asked)


def settled(page: Page) -> None:
    """Wait until the picture is what was asked for last, and the address tells it."""
    wait_until(
        lambda: page.evaluate("""() => {
            const { ariaBusy, dataset } = document.getElementById("picture");
            return ariaBusy === "false" && dataset.view === location.hash.slice(1);
        }""")
    )


def view_of(page: Page) -> str | None:
    """The view that the picture shows."""
    return page.locator("#picture").get_attribute("data-view")


def saved(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def shown(page: Page) -> NDArray[np.int_]:
    """The picture as it is saved, [height, width, channels]."""
    with Image.open(io.BytesIO(saved(page, "Save PNG"))) as picture:
        return np.atleast_3d(np.asarray(picture).astype(int))


def sampled(tmp_path: Path, folder: Path, *arguments: str, number: int = 0) -> NDArray[np.int_]:
    """A picture of what `ganctl sample` writes, [height, width, channels]."""
    target = tmp_path / "sampled.png"
    done = CliRunner().invoke(
        ganctl, ["sample", str(folder), "--into", str(target), *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    _, height, width = open_bundle(str(folder)).pictures.shape
    top, left = (2 + number // 8 * (height + 2), 2 + number % 8 * (width + 2))
    with Image.open(target) as grid:
        return np.atleast_3d(np.asarray(grid).astype(int))[top : top + height, left : left + width]


def set_slider(page: Page, label: str | re.Pattern[str], value: float) -> None:
    """Move a slider as a drag does."""
    page.get_by_role("slider", name=label).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


# The pictures


# A kind of generator, a view, what `sample` is told, and which of its pictures is the same.
CASES = {
    "grey, of a class": ("grey", "a=5.9&class=1", ("--seed", "5", "--class", "1"), 9),
    "rgb, of the largest seed": ("rgb", f"a={2**63 - 1}.23", ("--seed", str(2**63 - 1)), 23),
    "rgba, truncated": ("rgba", "a=0.3&truncation=0.4", ("--truncation", "0.4"), 3),
    "styles, truncated": ("styles", "a=4.2&psi=0.5", ("--seed", "4", "--psi", "0.5"), 2),
    "styles, as they are": ("styles", "a=4.3", ("--seed", "4"), 3),
    "rgba, at the end of a walk": ("rgba", "b=2.1&at=1&end=b", ("--seed", "2"), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_the_one_that_sample_draws(
    browser: Browser, servers: dict[str, PageServer], folders: dict[str, Path], tmp_path: Path, case: str
) -> None:
    kind, view, arguments, number = CASES[case]
    with opened(browser, f"{servers[kind].address}#{view}") as page:
        expect(page.locator("#what")).to_have_text(f"Picture {number + 1} of:")
        found = shown(page)
    expected = sampled(tmp_path, folders[kind], *arguments, number=number)
    assert found.shape == expected.shape
    assert expected.std() > 20  # no grey plane, which any picture would be near to
    assert np.abs(found - expected).max() <= 1


def test_styles_have_psi_and_no_truncation(
    browser: Browser, servers: dict[str, PageServer], folders: dict[str, Path]
) -> None:
    with opened(browser, f"{servers['styles'].address}#a=0.1&psi=0.3") as page:
        expect(page.get_by_label("Truncation")).to_be_hidden()
        set_slider(page, "Psi", 0.6)
        settled(page)
        assert page.url.partition("#")[2].endswith("&psi=0.6")
        expect(page.locator("#command")).to_contain_text(" --psi 0.6 ")
    done = CliRunner().invoke(ganctl, ["sample", str(folders["styles"]), "--truncation", "0.5"])
    assert "changes nothing; see --psi" in str(done.exception)


def test_a_latent_that_is_saved_gives_sample_the_picture_that_is_shown(
    browser: Browser, servers: dict[str, PageServer], folders: dict[str, Path], tmp_path: Path
) -> None:
    with opened(browser, f"{servers['grey'].address}#a=1.2&b=3.4&at=0.3&class=2") as page:
        set_slider(page, re.compile("Direction 1,"), 2.5)
        set_slider(page, re.compile("Direction 3,"), -1)
        settled(page)
        found, latent = shown(page), saved(page, "Save latent")
        expect(page.locator("#what")).to_have_text("Of the saved latent:")
    (tmp_path / "latent.npy").write_bytes(latent)
    expected = sampled(tmp_path, folders["grey"], "--latents", str(tmp_path / "latent.npy"), "--class", "2")
    assert np.abs(found - expected).max() <= 1
    bundle = open_bundle(str(folders["grey"]))
    directions = find_directions(bundle.generator, 8, (torch.tensor([0]),), 8)
    walked = slerp(fixed_latents(1, 64, 8)[2], fixed_latents(3, 64, 8)[4], 0.3)
    asked = walked + 2.5 * directions.vectors[0] - directions.vectors[2]
    assert np.allclose(np.load(io.BytesIO(latent)), asked[None].numpy(), atol=1e-5)


def test_a_style_that_is_saved_gives_sample_the_picture_that_is_shown(
    browser: Browser, servers: dict[str, PageServer], folders: dict[str, Path], tmp_path: Path
) -> None:
    """A latent was moved in the place of its style."""
    with opened(browser, f"{servers['styles'].address}#a=1.2&b=3.4&at=0.3&psi=0.8") as page:
        before = shown(page)
        set_slider(page, re.compile("Direction 1,"), 2.5)
        settled(page)
        found, style = shown(page), saved(page, "Save style")
        expect(page.locator("#what")).to_have_text("Of the saved style:")
        expect(page.locator("#command")).to_have_text("ganctl sample styles-1 --styles styles-1.npy")
        page.get_by_role("button", name="Reset").click()
        settled(page)
        assert np.array_equal(shown(page), before)
        expect(page.locator("#save-latent")).to_have_text("Save latent")
    (tmp_path / "style.npy").write_bytes(style)
    expected = sampled(tmp_path, folders["styles"], "--styles", str(tmp_path / "style.npy"))
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - before).max() > 10
    bundle = open_bundle(str(folders["styles"]))
    walked = slerp(fixed_latents(1, 64, 8)[2], fixed_latents(3, 64, 8)[4], 0.3)
    w = bundle.style_generator("").styles(walked[None], None, torch.tensor([0.8]))[0]
    asked = w + 2.5 * torch.tensor(directions_of(bundle, None)[0]["vector"])
    assert np.allclose(np.load(io.BytesIO(style)), asked[None].numpy(), atol=1e-4)


def test_styles_take_a_style_generator_and_nothing_of_latents(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros((2, 8), np.float32))
    for kind, options, told in (
        ("rgb", [], "--styles: the generator of rgb-1 is of kind dense_dcgan, expected one with styles"),
        ("styles", ["--psi", "0.5"], "--psi: is of latents, from which styles come; leave it or --styles out"),
        ("styles", ["--arrays", "a.npz"], "--arrays: is of latents, from which styles come"),
    ):
        done = CliRunner().invoke(ganctl, ["sample", str(folders[kind]), "--styles", str(path), *options])
        assert isinstance(done.exception, RequestError)
        assert str(done.exception).startswith(told)
    np.save(path, np.zeros((2, 9), np.float32))
    done = CliRunner().invoke(ganctl, ["sample", str(folders["styles"]), "--styles", str(path)])
    assert str(done.exception) == f"--styles {path}: found float32 [2, 9], expected float32 [N, 8] in .npy format"


def test_directions_are_those_of_the_class_that_is_shown(
    browser: Browser, servers: dict[str, PageServer], folders: dict[str, Path]
) -> None:
    latents = []
    with opened(browser, f"{servers['classes'].address}#a=1.2") as page:
        set_slider(page, re.compile("Direction 1,"), 2)
        for label in ("2", "0"):
            page.get_by_label("Class").select_option(label)
            settled(page)
            latents.append(np.load(io.BytesIO(saved(page, "Save latent"))))
    bundle = open_bundle(str(folders["classes"]))
    for number, latent in zip((2, 0), latents, strict=True):
        directions = find_directions(bundle.generator, 8, (torch.tensor([number]),), 8)
        asked = fixed_latents(1, 64, 8)[2] + 2 * directions.vectors[0]
        assert np.allclose(latent, asked[None].numpy(), atol=1e-5)


# The controls


def test_the_address_keeps_what_is_chosen(browser: Browser, servers: dict[str, PageServer]) -> None:
    with opened(browser, servers["grey"].address) as page:
        page.get_by_label("Class").select_option("2")
        page.get_by_label("Seed", exact=True).fill("007")
        page.get_by_label("Seed", exact=True).press("Enter")
        page.get_by_role("button", name="Picture 6", exact=True).click()
        page.get_by_role("button", name="Choose B").click()
        page.get_by_role("button", name="Picture 3", exact=True).click()
        set_slider(page, "Truncation", 1.5)
        set_slider(page, "How far from A to B", 0.25)
        page.get_by_role("slider", name=re.compile("Direction 2,")).press("ArrowRight")
        settled(page)
        assert page.url.partition("#")[2] == (
            "seed=7&a=7.5&b=7.2&end=b&at=0.25&class=2&truncation=1.5&offsets=0,0.1,0,0,0,0,0,0"
        )
        before = shown(page)
        page.reload()
        settled(page)
        assert np.array_equal(shown(page), before)
        expect(page.get_by_label("Class")).to_have_value("2")
        page.get_by_role("button", name="Reset").click()
        settled(page)
        assert "offsets" not in page.url


@pytest.mark.parametrize(
    "view", ["seed=-1&a=x.y&b=1.99&at=7&class=9&truncation=nan&offsets=1e9,,x", "%00&=&#&a=<b>", "seed=" + "9" * 400]
)
def test_of_an_address_that_says_nothing_sensible_the_first_view_is_shown(
    browser: Browser, servers: dict[str, PageServer], view: str
) -> None:
    with blank(browser) as page:
        page.goto(f"{servers['grey'].address}#{view}")
        wait_until(lambda: view_of(page))
        assert view_of(page) == "seed=0&a=0.0&b=0.1&end=a&at=0&class=0"
        expect(page.get_by_role("alert")).to_be_hidden()


def test_a_walk_plays_until_it_is_stopped(browser: Browser, servers: dict[str, PageServer]) -> None:
    with opened(browser, servers["rgb"].address) as page:
        first = view_of(page)
        page.get_by_role("button", name="Play").click()
        wait_until(lambda: view_of(page) != first)
        page.get_by_role("button", name="Stop").click()
        settled(page)
        expect(page.get_by_role("button", name="Play")).to_have_attribute("aria-pressed", "false")


def test_another_draw_is_by_another_seed_and_what_is_none_is_refused(
    browser: Browser, servers: dict[str, PageServer]
) -> None:
    with opened(browser, servers["rgb"].address) as page:
        page.get_by_role("button", name="New draw").click()
        settled(page)
        assert re.search(r"seed=(\d+)&a=\1\.0&", page.url)
        drawn = page.url
        for text in ("x", "-1", str(2**63)):
            page.get_by_label("Seed", exact=True).fill(text)
            page.get_by_label("Seed", exact=True).press("Enter")
            assert not page.get_by_label("Seed", exact=True).evaluate("field => field.validity.valid")
        assert page.url == drawn


# Whoever looks at it


def test_names_of_strangers_are_texts(browser: Browser, servers: dict[str, PageServer]) -> None:
    with opened(browser, f"{servers['grey'].address}#class=2") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        assert page.locator("#class option").all_text_contents() == list(CLASSES)
        assert page.locator("script").count() == 1
        expect(page.locator("#command")).to_contain_text(f"--class '{HOSTILE}'")


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_has_one_column_and_the_picture_stays_in_sight(
    browser: Browser, servers: dict[str, PageServer], kind: str
) -> None:
    with opened(browser, servers[kind].address, PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        sliders = page.get_by_role("slider").all()
        boxes = [slider.bounding_box() for slider in sliders]
        assert all(box and box["height"] >= 44 for box in boxes)
        sliders[-1].scroll_into_view_if_needed()
        picture, last = page.locator("#picture").bounding_box(), sliders[-1].bounding_box()
        assert picture
        assert last
        assert picture["y"] >= 0
        assert picture["y"] + picture["height"] < last["y"] <= PHONE[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_desktop_shows_all_at_once(browser: Browser, servers: dict[str, PageServer], kind: str) -> None:
    with opened(browser, servers[kind].address) as page:
        size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert size == list(DESKTOP)
        # Everything that can be done is reached by the keyboard, and has a name that is read out.
        unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, select")].filter((each) =>
            each.tabIndex < 0 || !(each.ariaLabel || each.textContent.trim() || each.labels?.length)).length""")
        assert unnamed == 0


def test_a_server_that_has_ended_is_said(browser: Browser, folders: dict[str, Path]) -> None:
    server = PageServer(0, resources_of(open_bundle(str(folders["rgb"]))))
    server.start()
    with blank(browser) as page:
        page.goto(server.address)
        wait_until(lambda: view_of(page))
        server.shutdown()
        server.server_close()
        page.get_by_role("button", name="New draw").click()
        expect(page.get_by_role("alert")).to_contain_text("ganctl does not answer")


def test_a_graph_that_cannot_be_run_is_said(browser: Browser, tmp_path: Path) -> None:
    folder = write_generator(tmp_path / "broken", KINDS["rgb"], graph=lambda *_: {ONNX: b"no graph"})
    with PageServer(0, resources_of(open_bundle(str(folder)))) as server, blank(browser) as page:
        server.start()
        page.goto(server.address)
        expect(page.get_by_role("alert")).to_contain_text("The generator cannot be run here:")
        server.shutdown()


# The command


GANCTL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background has told us to ignore
from ganservice.cli import main
main()
"""


@contextmanager
def exploring(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", GANCTL, "explore", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("SSH_CONNECTION", "BROWSER")}
    process = subprocess.Popen(
        command, env=inherited | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_command_leads_to_the_page_until_ctrl_c(folders: dict[str, Path], tmp_path: Path) -> None:
    browser, asked = tmp_path / "browser", tmp_path / "asked"
    browser.write_text(f'#!/bin/sh\necho "$1" >{asked}\n')
    browser.chmod(0o700)
    folder = str(folders["rgb"])
    with exploring(folder, BROWSER=f"{browser} %s") as here, exploring(folder, SSH_CONNECTION="a 1 b 22") as far:
        assert here.stdout
        assert far.stdout
        address, port = here.stdout.readline().strip(), urlsplit(far.stdout.readline()).port
        wait_until(lambda: asked.exists() and asked.read_text())
        opened_by_browser = asked.read_text().strip()
        assert urlsplit(address).path not in opened_by_browser
        with urllib.request.urlopen(opened_by_browser) as answer:  # noqa: S310 # a server of the test's own
            assert answer.url == address
            assert b"<title>explore</title>" in answer.read()
        way = f"ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()}"
        for process, told in ((here, []), (far, [f"from your own machine: {way}, then open the address"])):
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT_MS / 1_000)
            assert (process.returncode, out) == (0, "")
            assert err.splitlines() == [*told, "Ctrl-C ends it", "the page has ended"]


def test_a_port_that_is_taken_is_said(folders: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(ganctl, ["explore", str(folders["rgb"]), "--port", str(port), "--no-browser"])
    assert isinstance(done.exception, RequestError)
    assert str(done.exception) == f"--port {port}: cannot be listened on (Address already in use); choose another, or 0"
