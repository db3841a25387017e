"""`data import` as a command: what it says, and how it goes on after whatever has ended it."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess

GANCTL = (sys.executable, "-m", "ganservice.cli")


def import_words(folder: Path, name: str, *options: str, size: int = 16) -> list[str]:
    return ["data", "import", str(folder), "--name", name, "--size", str(size), *options]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Pictures of 12 bits in files of 16, as a scanner gives them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for number in range(3):
        Image.fromarray(np.roll(ramp, number, axis=1)).save(folder / f"{number}.png")
    return folder


def test_pictures_of_12_bits_keep_their_greys_and_the_range_is_told(service: InProcess, scans: Path) -> None:
    done = service.ganctl(*import_words(scans, "scans", size=64))
    assert done.returncode == 0, done.stderr
    assert (
        "values: 3 of 3 pictures have more than 8 bits, reduced to 256 greys: the smallest of all, 0, has become 0, "
        "the largest, 4095, 255" in done.stderr
    )
    manifest = service.store.find_data_set("scans")
    assert manifest.value_range == (0.0, 4095.0)
    folder = service.store.cache_data_set(manifest, service.settings.cache_dir)
    assert len(np.unique(np.load(folder / "train-images.npy"))) == 256
    done = service.ganctl(*import_words(scans, "scans", "--range", "0", "1000", size=64))
    assert "0 has become 0 and 1000 255; what is beyond, in 3 of them, has become the same" in done.stderr
    assert service.store.find_data_set("scans").value_range == (0.0, 1000.0)


@pytest.mark.parametrize("words", [("5", "5"), ("7", "5"), ("nan", "5"), ("0", "inf")])
def test_a_range_that_is_none_is_refused(service: InProcess, scans: Path, words: tuple[str, str]) -> None:
    service.refused(2, "expected two numbers, the smaller one first", *import_words(scans, "scans", "--range", *words))


def test_the_same_pictures_in_both_splits_are_told_and_may_be_left_out(service: InProcess, tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / split).mkdir()
        for number in range(count):
            Image.new("RGB", (16, 16), (10 * number, 2, 3)).save(tmp_path / split / f"{number}.png")
    done = service.ganctl(*import_words(tmp_path, "twice"))
    assert "duplicates: WARNING: 2 of 2 pictures that are held out are also trained on" in done.stderr
    assert service.store.find_data_set("twice").duplicates == 2
    done = service.ganctl(*import_words(tmp_path, "twice", "--skip-duplicates"))
    manifest = service.store.find_data_set("twice")
    assert (manifest.counts, manifest.duplicates, manifest.left_out) == ({"train": 3}, 0, {"same as another": 2})


# It waits for ever before it reads the last picture, so that it never ends by itself.
ENDLESS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background has told us to ignore
from ganservice.cli import main
from workers.gan.data.folder_source import FolderSource

def read(source, name, read=FolderSource.read):
    while name == "99.png":
        time.sleep(0.01)
    return read(source, name)

FolderSource.read = read
main()
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Pictures of many batches."""
    folder = tmp_path / "many"
    folder.mkdir()
    Image.effect_noise((64, 64), 50).save(folder / "0.png")
    for number in range(1, 600):
        os.link(folder / "0.png", folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("is_impatient", [False, True], ids=["once", "again-and-again"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_an_import_goes_on_after_whatever_has_ended_it(
    service: InProcess, many: Path, tmp_path: Path, end: signal.Signals, *, is_impatient: bool
) -> None:
    is_killed = end is signal.SIGKILL
    words = import_words(many, "many", "--processes", "2")
    environment = os.environ | service.addresses() | {"GANSERVICE_CACHE_DIR": str(tmp_path / "cache")}
    command = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *words],
        env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: any(path.read_bytes().strip(b"\0") for path in tmp_path.glob("cache/imports/*/journal")))
    children = psutil.Process(command.pid).children()
    decoders = [process for process in children if "--multiprocessing-fork" in process.cmdline()]
    assert decoders

    def is_ended() -> bool:
        if is_impatient:
            os.killpg(command.pid, end)
        return command.poll() is not None

    try:
        if is_killed:
            command.kill()
        else:
            for decoder in decoders:
                decoder.suspend()  # so that whoever waits for one to end by itself waits for ever
            # As Ctrl-C of a terminal, which is sent to all of its processes.
            os.killpg(command.pid, end)
        wait_until(is_ended)
        wait_until(lambda: not any(process.is_running() for process in decoders))
    finally:
        command.kill()
        for decoder in decoders:
            with contextlib.suppress(psutil.NoSuchProcess):
                decoder.kill()
    _, said = command.communicate()
    lines = ["classes: none, for neither folders nor files tell them"]
    lines += [] if is_killed else ["interrupted; the same command goes on from there", ""]
    assert (command.returncode, said.splitlines()) == (-signal.SIGKILL if is_killed else 130, lines)
    done = service.ganctl(*words, GANSERVICE_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0
    assert "of 600 pictures are decoded already, by an import that did not end" in done.stderr
    assert service.store.find_data_set("many").counts == {"train": 600}
    assert list((tmp_path / "cache" / "imports").iterdir()) == []


def test_a_disk_that_is_full_is_told_before_hours_of_decoding(service: InProcess, scans: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    words = " ".join([*GANCTL, *import_words(scans, "scans", size=256)])
    script = f"""
        mount -t tmpfs -o size=100k tmpfs {full}
        {words}; echo code $?
        find {full} -type f
    """
    environment = os.environ | service.addresses() | {"GANSERVICE_CACHE_DIR": str(full)}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "code 5\n"
    assert done.stderr.count("\n") == 2
    assert "the disk is full; nothing half-written was kept" in done.stderr


def test_a_cache_that_cannot_be_written_to_is_one_line(service: InProcess, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = import_words(scans, "scans")
    service.refused(2, "set GANSERVICE_CACHE_DIR", *words, GANSERVICE_CACHE_DIR=str(tmp_path / "file"))
