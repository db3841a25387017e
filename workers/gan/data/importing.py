"""Pictures of a source as the files of a set: decoded in processes, written as they are read, gone on with when killed.

train-images.npy ...   the files of the set, at full length from the beginning
journal                a RECORD of each picture: a row counts where its digest is the one that stands here
range.json             the values that become 0 and 255 in pictures of more than 8 bits
finished.json          what is in the files, once all is done
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ganservice.errors import DataInvalid
from ganservice.files import write_aside
from workers.gan.data.decoder_pool import RECORD, Batch, DecodedPicture, decode_all, digest_of
from workers.gan.data.decoding import Mark, Range, Target
from workers.gan.data.finished_import import FinishedImport, finish_import
from workers.gan.data.image_files import ImageFiles
from workers.gan.data.image_set import SPLIT_NAMES
from workers.gan.data.import_options import Options
from workers.gan.data.layout import Layout
from workers.gan.data.picture_lines import range_of
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.row_writer import RowWriter

BATCH_FILES = 64
BATCH_BYTES = 4 << 20
# Fewer pictures are decoded sooner than a process has begun.
FEW_FILES = 500
JOURNAL, RANGE = "journal", "range.json"

Say = Callable[[str], None]
# Called with the number of pictures that are done, and of all that are to be done.
Proceed = Callable[[int, int], None]


def say_nothing(_: str) -> None:
    """Say nothing."""


def tell_nobody(_: int, __: int) -> None:
    """Tell nobody how far it is."""


def import_pictures(
    source: PictureSource,
    layout: Layout,
    options: Options,
    folder: Path,
    say: Say = say_nothing,
    proceed: Proceed = tell_nobody,
) -> ImageFiles:
    """Write the pictures of a layout into a folder as the files of a set: the rows of a split in the order of names.

    What an import of the same source and layout to the same target has left in the folder is gone on with. Memory is
    bounded by a few batches, and by names and a RECORD of each picture. `say` gets a line for all that was done to
    pictures.

    Raises:
        DataInvalid: too few pictures, mixed channels, or a picture cannot be read and `skip_unreadable` is not given.
        RequestError: a process that decodes has ended.
        OSError: the folder cannot be written to.
    """
    finished = FinishedImport.find(folder, options)
    if finished:
        say("goes on: all pictures are decoded already, by an import that did not end")
        for line in finished.left_out:
            say(line)
    else:
        with _Import(source, layout, options, folder, say, proceed) as work:
            work.go_on()
            work.decode()
            finished = work.finish()
    for line in finished.lines:
        say(line)
    return finished.images


class _Import:
    """An import that has begun. A picture's place is its number among all, those to train on first."""

    def __init__(
        self, source: PictureSource, layout: Layout, options: Options, folder: Path, say: Say, proceed: Proceed
    ) -> None:
        self._source, self._options, self._folder = source, options, folder
        self._say, self._proceed = say, proceed
        files = sorted(layout.files, key=lambda file: (SPLIT_NAMES.index(file.split), file.name))
        self._layout = replace(layout, files=files)
        self._places = {file.name: place for place, file in enumerate(files)}
        self._train_count = sum(file.split == "train" for file in files)
        self._records = open_journal(folder / JOURNAL, len(files))
        self._rows: dict[str, RowWriter] = {}
        self._stack = ExitStack()
        self._first: tuple[str, bool] | None = None  # a picture, and whether it is grey, as all others must be
        self._done, self._to_do = 0, len(files)
        self._left_out: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def go_on(self) -> None:
        """Take what is there already; rows that are not what the journal has noted are forgotten."""
        found = np.flatnonzero(self._is_written() | self._is_deep())
        if not len(found):
            return
        self._check_channels(int(found[0]), int(self._records["marks"][found[0]]))
        for place in np.flatnonzero(self._is_written()):
            rows, row = self._row(int(place))
            if (digest_of(rows.read(row)) != self._records["digest"][place]).any():
                self._records[place] = np.zeros((), RECORD)
        self._done = int(self._is_written().sum())
        self._say(
            f"goes on: {self._done:,} of {self._to_do:,} pictures are decoded already, by an import that did not end"
        )

    def decode(self) -> None:
        """Decode all pictures that are not there yet, those with more than 8 bits once their range is known."""
        target = self._options.target
        self._decode(target, ~self._is_written() & ~self._is_deep())
        deep = self._is_deep()
        if target.value_range is None and deep.any():
            value_range = range_of(self._records[deep])
            self._keep_to(value_range, deep)
            self._decode(replace(target, value_range=value_range), deep & ~self._is_written())

    def _keep_to(self, value_range: Range, deep: NDArray[np.bool_]) -> None:
        """Forget rows of more than 8 bits that an earlier import has scaled by another range, and note this one.

        It is another where a picture was left out that can be read now.
        """
        path, noted = self._folder / RANGE, json.dumps(value_range)
        scaled = deep & self._is_written()
        if scaled.any() and not (path.exists() and path.read_text() == noted):
            self._records["digest"][scaled] = 0
            self._done -= int(scaled.sum())
            self._say(
                f"goes on: {scaled.sum():,} pictures of more than 8 bits are decoded anew: they were scaled by other "
                f"values than {value_range.low:g} to {value_range.high:g}, the smallest and the largest of all"
            )
        with write_aside(path) as aside:
            aside.write_text(noted)

    def finish(self) -> FinishedImport:
        """Leave out what is to be left out, and say what is in the files."""
        records = np.array(self._records)
        finished = finish_import(self._source.path, self._layout, self._options, self._folder, records, self._rows)
        finished = replace(finished, left_out=self._left_out)
        finished.keep(self._folder, self._options)
        return finished

    def _is_written(self) -> NDArray[np.bool_]:
        return np.array(self._records["digest"].any(axis=1), bool)

    def _is_deep(self) -> NDArray[np.bool_]:
        return np.array(self._records["marks"] & Mark.DEEP != 0, bool)

    def _decode(self, target: Target, wanted: NDArray[np.bool_]) -> None:
        # In stored order, because going back in a compressed tar means unpacking it again.
        places = (self._places.get(name) for name in self._source.names())
        chosen = [place for place in places if place is not None and wanted[place]]
        processes = self._options.processes if self._options.processes > 1 and len(chosen) > FEW_FILES else 0
        with closing(decode_all(self._batches(chosen), target, processes)) as pictures:
            for picture in pictures:
                self._enter(picture)

    def _batches(self, places: Sequence[int]) -> Iterator[Batch]:
        """Yield the files of places, a few at a time; those that cannot be read are left out."""
        batch = Batch()
        for place in places:
            name = self._layout.files[place].name
            try:
                packed = self._source.read(name)
            except DataInvalid as error:
                self._leave_out(error)
                continue
            batch.add(f"{self._source.path}: {name}", place, packed)
            if len(batch.files) == BATCH_FILES or batch.length_bytes >= BATCH_BYTES:
                yield batch
                batch = Batch()
        if batch.files:
            yield batch

    def _enter(self, picture: DecodedPicture) -> None:
        """Write down what a picture has become."""
        if picture.error is not None:
            self._leave_out(DataInvalid(picture.error))
            return
        self._check_channels(picture.place, int(picture.record["marks"]))
        if picture.pixels is None:  # to be looked at once more
            self._to_do += 1
        else:
            rows, row = self._row(picture.place)
            rows.write(row, picture.pixels)
        self._records[picture.place] = picture.record
        self._advance()

    def _leave_out(self, error: DataInvalid) -> None:
        if not self._options.skip_unreadable:
            advice = "; --skip-unreadable leaves such out" if self._options.advises else ""
            raise DataInvalid(f"{error}{advice}") from error
        self._left_out.append(f"left out: {error}")
        self._say(self._left_out[-1])
        self._advance()

    def _advance(self) -> None:
        self._done += 1
        self._proceed(self._done, self._to_do)

    def _check_channels(self, place: int, marks: int) -> None:
        """Compare a picture with the first one, and open the files once there is a first. Raises DataInvalid."""
        found = self._layout.files[place].name, bool(marks & Mark.GREY)
        channels = self._options.target.channels or (1 if found[1] else 3)
        if self._first is None:
            self._first = found
            self._open_rows(channels)
        elif self._options.target.channels is None and self._first[1] != found[1]:
            (colour, _), (grey, _) = sorted((self._first, found), key=lambda each: each[1])
            raise DataInvalid(
                f"{self._source.path}: mixed channels: {grey} is grey, {colour} has colours or a palette; expected one "
                "kind: mend them, or give --channels to make all of them 1 (grey), 3 (RGB) or 4 (RGBA)"
            )

    def _open_rows(self, channels: int) -> None:
        width, height = self._options.target.sides
        counts = {"train": self._train_count, "test": len(self._places) - self._train_count}
        for split, count in counts.items():
            if count:
                rows = RowWriter(self._folder, split, count, (channels, height, width))
                self._rows[split] = self._stack.enter_context(rows)

    def _row(self, place: int) -> tuple[RowWriter, int]:
        """The files of a place, and its row there."""
        is_test = place >= self._train_count
        return self._rows["test" if is_test else "train"], place - is_test * self._train_count


def open_journal(path: Path, count: int) -> NDArray[np.void]:
    """The records of so many pictures in a file, which keeps what is written to them. Raises OSError."""
    length_bytes = count * RECORD.itemsize
    if not path.exists() or path.stat().st_size != length_bytes:
        with path.open("wb") as file:
            # All at once: a mapped file that finds no room on the disk later ends the process.
            os.posix_fallocate(file.fileno(), 0, length_bytes)
    return np.memmap(path, RECORD, "r+", shape=(count,))
