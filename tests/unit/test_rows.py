"""Rows by index, wherever they lie."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ganservice.errors import DataInvalid
from tests.conftest import wait_until
from workers.gan.data.arrays import map_arrays
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows

PICTURES = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
Cut = Callable[..., Rows]


@pytest.fixture
def mapped(tmp_path: Path) -> Cut:
    """Writes pictures into files that are cut at some rows, and maps them."""

    def cut(*at: int, pictures: torch.Tensor = PICTURES) -> Rows:
        paths = []
        for shard, part in enumerate(np.split(pictures.numpy(), at)):
            paths.append(tmp_path / f"{len(at)}-{shard}.npy")
            np.save(paths[-1], part)
        return Rows(map_arrays(paths))

    return cut


CUTS = [(), (17,), (1, 2, 49), tuple(range(1, 50))]


@pytest.mark.parametrize("cuts", CUTS)
def test_rows_are_the_same_in_memory_and_in_files_wherever_those_are_cut(mapped: Cut, cuts: tuple[int, ...]) -> None:
    rows = mapped(*cuts)
    assert (len(rows), rows.form, rows.dtype, rows.bytes) == (50, (3, 4, 4), torch.uint8, 50 * 48)
    for indices in (torch.randperm(50), torch.tensor([49, 0, 17, 17, 16]), torch.zeros(0, dtype=torch.int64)):
        assert torch.equal(rows.take(indices), PICTURES[indices])
    assert torch.equal(rows.first(20), PICTURES[:20])
    assert torch.equal(rows.first(60), PICTURES)
    blocks = list(rows.blocks(8))
    assert [len(block) for block in blocks] == [8] * 6 + [2]
    assert torch.equal(torch.cat(blocks), PICTURES)


@pytest.mark.parametrize("cuts", CUTS)
def test_some_of_the_rows_are_rows_again(mapped: Cut, cuts: tuple[int, ...]) -> None:
    chosen, again = torch.tensor([40, 3, 3, 16, 17]), torch.tensor([4, 0])
    some = mapped(*cuts).select(chosen)
    assert torch.equal(some.first(9), PICTURES[chosen])
    assert torch.equal(some.select(again).first(9), PICTURES[chosen][again])
    assert some.bytes == 5 * 48


@pytest.mark.parametrize("cuts", CUTS)
def test_there_is_no_row_beyond_the_last(mapped: Cut, cuts: tuple[int, ...]) -> None:
    with pytest.raises(IndexError):
        mapped(*cuts).take(torch.tensor([50]))


def test_points_are_rows_too() -> None:
    points = torch.randn(10, 2)
    rows = Examples(points).images
    assert (rows.form, rows.dtype, rows.bytes) == ((2,), torch.float32, 80)
    assert torch.equal(rows.take(torch.tensor([9, 2])), points[[9, 2]])


def test_what_is_taken_is_a_copy_that_may_be_changed(mapped: Cut) -> None:
    for rows in (mapped(), mapped(9), Rows.of(PICTURES.clone())):
        rows.take(torch.arange(50)).zero_()
        assert torch.equal(rows.first(50), PICTURES)


def is_in_memory(path: Path) -> bool:
    """Whether the last page of a file need not be read from disk; so it is where there is none."""
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], path.stat().st_size - 1, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False
        except OSError:  # a file system that does not tell
            return True


@pytest.mark.parametrize("cuts", [(), (1_000,)])
def test_rows_that_are_begun_come_from_disk_by_themselves(mapped: Cut, tmp_path: Path, cuts: tuple[int, ...]) -> None:
    rows = mapped(*cuts, pictures=torch.zeros(2_000, 1, 64, 64, dtype=torch.uint8))
    last = max(tmp_path.iterdir())
    with last.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rows.select(torch.arange(2_000)).begin(torch.tensor([1_999, 0]))
    wait_until(lambda: is_in_memory(last))
    Rows.of(PICTURES).begin(torch.tensor([3]))


def test_neither_rows_nor_the_choice_of_classes_read_the_pictures(mapped: Cut) -> None:
    pictures = torch.zeros(4_000, 1, 64, 64, dtype=torch.uint8)
    labels = torch.arange(4_000) % 4
    files = mapped(1_000, 3_000, pictures=pictures)
    tracemalloc.start()
    try:
        chosen = Examples(files, labels, ("a", "b", "c", "d")).of_classes([1, 3])
        assert len(chosen.images) == 2_000
        assert [len(block) for block in chosen.images.blocks(100)] == [100] * 20
        assert tracemalloc.get_traced_memory()[1] < pictures.nbytes / 10
    finally:
        tracemalloc.stop()


def test_more_files_are_mapped_than_a_process_may_have_open_at_first(tmp_path: Path) -> None:
    for shard in range(300):
        np.save(tmp_path / f"{shard:05d}.npy", np.full((1, 2), shard, np.int64))
    code = (
        "import resource, sys; from pathlib import Path; from workers.gan.data.arrays import map_arrays\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "print(sum(int(array[0, 0]) for array in map_arrays(sorted(Path(sys.argv[1]).iterdir()))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(sum(range(300))), "")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x02\x00()"])
def test_a_file_that_cannot_be_mapped_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataInvalid, match=r"^.*a\.npy: .*; expected a whole \.npy file$"):
        map_arrays([tmp_path / "a.npy"])
