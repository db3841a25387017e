import gzip
import io
import tarfile
from pathlib import Path

import pytest

from ganservice.errors import DataInvalid
from workers.gan.data.mirrors import download_archive
from workers.gan.data.picture_source import named_damage
from workers.gan.data.tar_headers import LONG
from workers.gan.data.tars import TarSource


def bomb(kind: bytes) -> bytes:
    """A packed tar whose second header says that it is 8 GiB long, as some bytes of zeros would be."""
    first, long = tarfile.TarInfo("a.png"), tarfile.TarInfo("long")
    long.type, long.size = kind, 8 << 30
    return gzip.compress(first.tobuf() + long.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


@pytest.mark.parametrize("kind", LONG)
def test_a_header_of_any_length_fills_no_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(bomb(kind))
    with pytest.raises(DataInvalid, match="a header of 8,589,934,592 bytes"), named_damage(path):
        TarSource(path)


def test_nor_does_that_of_an_archive_that_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.data.mirrors.fetched", lambda _: [bomb(tarfile.XHDTYPE)])
    with pytest.raises(DataInvalid, match="a header of 8,589,934,592 bytes"):
        next(download_archive("https://mirror/a.tar.gz", ["a.png"], tmp_path))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tmp_path: Path, form: int) -> None:
    path, name = tmp_path / "long.tar", "a/" * 60 + "b" * 150 + ".png"
    with tarfile.open(path, "w", format=form) as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    source = TarSource(path)
    assert source.names() == [name]
    assert source.read(name) == b"abc"
    source.close()
