import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from ganservice.errors import DataInvalid
from tests.source_files import Files, make_folder, make_tar, make_zip
from tests.unit.picture_files import packed
from workers.gan.data.image_set import Pixels
from workers.gan.data.pictures import read_pictures

RED, BLUE = (255, 0, 0), (0, 0, 255)
Colour = str | int | tuple[int, ...]


def plain(colour: Colour, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    return packed(Image.new(mode, size, colour))


def two_halves(left: Colour, right: Colour, size: tuple[int, int] = (8, 8)) -> Image.Image:
    picture = Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def read_one(tmp_path: Path, content: bytes, channels: Literal[1, 3] = 3, size: int = 8, name: str = "a.png") -> Pixels:
    """The pixels [C, H, W] of one picture; a second one makes it a set."""
    folder = make_folder(tmp_path / "one", {name: content, "z.png": plain("white")})
    pixels: Pixels = read_pictures(folder, "one", size, channels, print).splits["train"].images[0]
    return pixels


def refusal(path: Path) -> str:
    with pytest.raises(DataInvalid) as caught:
        read_pictures(path, "refused", 8, 3, print)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_no_option_of_an_import_is_named_to_who_has_none(tmp_path: Path) -> None:
    assert "--" not in refusal(make_folder(tmp_path / "one", {"a.png": plain(RED), "b.png": b"no picture"}))


FILES = {"b.png": plain(BLUE), "a.png": plain(RED), "c.png": plain("white")}


def test_a_folder_a_zip_and_tars_of_the_same_pictures_are_the_same_set(tmp_path: Path) -> None:
    sources = [
        make_folder(tmp_path / "folder", FILES),
        make_zip(tmp_path / "archive.zip", FILES),
        make_tar(tmp_path / "archive.tar", {f"./{name}": content for name, content in FILES.items()}),
        make_tar(tmp_path / "archive.tar.gz", FILES, "w:gz"),
    ]
    for source in sources:
        found = read_pictures(source, "three", 4, 3, print)
        train = found.splits["train"]
        assert (found.name, found.source, found.classes) == ("three", str(source), ())
        assert train.labels is None
        assert train.images.shape == (3, 3, 4, 4)
        np.testing.assert_array_equal(train.images[:, :, 0, 0], [RED, BLUE, (255, 255, 255)])


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    files = {"dog/1.png": plain(RED), "cat/2.png": plain(BLUE), "cat/1.png": plain("white")}
    wrapped = {f"all/{name}": content for name, content in files.items()}
    for source in (
        make_folder(tmp_path / "folder", files),
        make_zip(tmp_path / "plain.zip", files),
        make_zip(tmp_path / "wrapped.zip", wrapped),
    ):
        found = read_pictures(source, "pets", 8, 3, print)
        assert found.classes == ("cat", "dog")
        np.testing.assert_array_equal(found.splits["train"].labels, [0, 0, 1])
        np.testing.assert_array_equal(found.splits["train"].images[2, :, 0, 0], RED)


def test_hidden_foreign_and_climbing_names_are_ignored(tmp_path: Path) -> None:
    extra = {
        ".hidden.png": b"no picture",
        ".cache/a.png": b"no picture",
        "__MACOSX/._a.png": b"no picture",
        "../climbs.png": b"no picture",
        "readme.txt": b"no picture",
    }
    for source in (make_zip(tmp_path / "a.zip", FILES | extra), make_tar(tmp_path / "a.tar", FILES | extra)):
        assert len(read_pictures(source, "three", 8, 3, print).splits["train"].images) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_reads_each_format(tmp_path: Path, file_format: str) -> None:
    content = packed(Image.new("RGB", (8, 8), RED), file_format)
    pixels = read_one(tmp_path, content, name=f"a.{file_format.lower()}")
    np.testing.assert_allclose(pixels[:, 4, 4], RED, atol=3)


def test_takes_the_first_frame_of_a_moving_gif(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    content = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_one(tmp_path, content, name="a.gif")[:, 0, 0], RED)


def test_turns_a_picture_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn clockwise, the left half becomes the upper half
    content = packed(two_halves(RED, BLUE, (16, 16)), "JPEG", exif=exif, quality=95)
    pixels = read_one(tmp_path, content, name="a.jpg", size=16)
    np.testing.assert_allclose(pixels[:, 2, 13], RED, atol=8)
    np.testing.assert_allclose(pixels[:, 13, 2], BLUE, atol=8)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("RGB", (8, 8), RED).quantize(2), RED),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
    ],
    ids=["clear", "half-clear", "clear-grey", "palette", "one-bit"],
)
def test_every_kind_of_pixel_becomes_rgb_on_white(
    tmp_path: Path, picture: Image.Image, expected: tuple[int, ...]
) -> None:
    np.testing.assert_array_equal(read_one(tmp_path, packed(picture))[:, 0, 0], expected)


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    content = packed(picture, transparency=0)
    np.testing.assert_array_equal(read_one(tmp_path, content, channels=1), np.full((1, 8, 8), 255))


@pytest.mark.parametrize(("channels", "expected"), [(3, RED), (1, (76,))])
def test_cmyk_becomes_rgb_or_grey(tmp_path: Path, channels: Literal[1, 3], expected: tuple[int, ...]) -> None:
    content = packed(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    pixels = read_one(tmp_path, content, channels, name="a.jpg")
    np.testing.assert_allclose(pixels[:, 0, 0], expected, atol=4)


def test_fits_the_shorter_side_and_crops_the_longer(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 16), "white")
    picture.paste(RED, (24, 0, 40, 16))
    pixels = read_one(tmp_path, packed(picture), size=8)
    # The filter reaches a little beyond the crop: the white there tints the border.
    np.testing.assert_allclose(pixels, np.broadcast_to(np.reshape(RED, (3, 1, 1)), (3, 8, 8)), atol=16)


def test_who_has_no_options_is_told_of_none(tmp_path: Path) -> None:
    said = list[str]()
    wide = plain(RED, (9, 8))
    files = {"a.png": plain((0, 0, 0, 0), mode="RGBA"), "b.png": wide, "c.png": wide}
    files |= {"d.png": packed(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)))}
    read_pictures(make_folder(tmp_path / "some", files), "some", 8, 3, said.append)
    assert [line.partition(":")[0] for line in said] == ["classes", "shapes", "alpha", "values", "duplicates"]
    assert not any("--" in line for line in said[1:])


def test_refuses_what_is_no_place_for_pictures(tmp_path: Path) -> None:
    assert "no such folder or file" in refusal(tmp_path / "absent")
    with pytest.raises(DataInvalid, match=r"^a{100,200}.{,40}: no path is so long; .{,100}$"):
        read_pictures(Path("a" * 100_000), "endless", 8, 3, print)
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    assert "neither a folder nor a whole zip, tar or Parquet" in refusal(text)
    os.mkfifo(tmp_path / "pipe")
    assert "no such folder or file" in refusal(tmp_path / "pipe")


def test_refuses_fewer_than_two_pictures(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "few", {"notes.txt": b"text"})
    assert "pictures found: 0; expected at least 2 files named *.png" in refusal(folder)
    make_folder(folder, {"one.png": plain(RED)})
    assert "pictures found: 1; expected at least 2" in refusal(folder)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("CMYK", 3)])
def test_without_channels_pictures_have_what_is_theirs(tmp_path: Path, mode: str, channels: int) -> None:
    suffix, file_format = ("jpg", "JPEG") if mode == "CMYK" else ("png", "PNG")
    content = packed(Image.new(mode, (8, 8)), file_format)
    folder = make_folder(tmp_path / "same", {f"{name}.{suffix}": content for name in "ab"})
    assert read_pictures(folder, "same", 8, None).splits["train"].images.shape == (2, channels, 8, 8)


def test_refuses_mixed_channels_unless_told_what_to_make_of_them(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "mixed.zip", {"a.png": plain(RED), "b.png": plain(0, mode="L")})
    with pytest.raises(
        DataInvalid, match=r"mixed channels: b\.png is grey, a\.png has colours or a palette; .*--channels"
    ):
        read_pictures(archive, "mixed", 8, None)
    assert read_pictures(archive, "mixed", 8, 3).splits["train"].images.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_refuses_an_unreadable_picture_by_name(tmp_path: Path, make: Callable[[Path, Files], Path]) -> None:
    source = make(tmp_path / "source", FILES | {"bad.png": b"not a picture"})
    assert f"{source}: bad.png: not a PNG, JPEG" in refusal(source)


def test_refuses_a_picture_cut_short_or_damaged(tmp_path: Path) -> None:
    whole = packed(Image.effect_noise((64, 64), 50))
    folder = make_folder(tmp_path / "cut", FILES | {"bad.png": whole[: len(whole) // 2]})
    assert "bad.png: cannot be read" in refusal(folder)
    make_folder(folder, {"bad.png": whole[:60] + b"\xff" * 40 + whole[100:]})
    assert "bad.png: cannot be read" in refusal(folder)


# The second is in the range where Pillow itself would only warn.
@pytest.mark.parametrize("side", [60_000, 10_000])
def test_refuses_a_decompression_bomb(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    folder = make_folder(tmp_path / "bomb", FILES | {"bomb.png": b"\x89PNG\r\n\x1a\n" + chunks})
    assert "bomb.png: has more than" in refusal(folder)


def test_refuses_a_file_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.data.picture_source.MAX_FILE_BYTES", 1000)
    source = tmp_path / "bomb.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(100_000))
        archive.writestr("b.png", plain(RED))
    assert "a.png: more than 1,000 bytes" in refusal(source)


def test_refuses_a_zip_whose_member_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"")
        archive.infolist()[0].filename = ""  # as it is written down at the end
    with pytest.raises(DataInvalid, match="expected a whole folder, zip, tar or Parquet"):
        read_pictures(path, "nameless", 8, None)


def test_refuses_archives_that_are_cut_short_or_damaged(tmp_path: Path) -> None:
    noise = {f"{number}.png": packed(Image.effect_noise((64, 64), 50)) for number in range(3)}
    for source in (make_tar(tmp_path / "a.tar", noise), make_tar(tmp_path / "a.tar.gz", noise, "w:gz")):
        source.write_bytes(source.read_bytes()[:9000])
        assert "cannot be read" in refusal(source)
    source = make_zip(tmp_path / "a.zip", noise)
    content = bytearray(source.read_bytes())
    content[2000:2010] = b"0123456789"
    source.write_bytes(content)
    assert "0.png: cannot be read (Bad CRC-32" in refusal(source)
