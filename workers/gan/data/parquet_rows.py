"""Rows of tables in Parquet: the cells of a column, and pictures one at a time."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

# Rows of a column that are in memory at once. A picture is alone: however few bytes a table has, thousands of its rows
# may hold the same large one.
BATCH_ROWS = 1024


class RowReader:
    """The pictures of tables, row by row: going on is quick, going back begins a group of rows anew."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._file: tuple[Path, ParquetFile] | None = None
        self._batches: Iterator[RecordBatch] = iter(())
        self._row, self._end = 0, 0  # the row that was read last, and the first after its group
        self._cell: dict[str, Any] | None = None

    def picture(self, path: Path, row: int) -> bytes | None:
        """The bytes of the picture in a row; None where there are none. Raises whatever a damaged table leads to."""
        if self._file is None or self._file[0] != path:
            self._open(path)
        if not self._row <= row < self._end:
            self._begin(row)
        while self._row < row:
            self._cell = next(self._batches).column(0)[0].as_py()
            self._row += 1
        return None if self._cell is None else self._cell["bytes"]

    def close(self) -> None:
        """Close what is open."""
        if self._file:
            self._file[1].close()

    def _open(self, path: Path) -> None:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - an extra

        self.close()
        self._file = path, ParquetFile(path)
        self._row, self._end = 0, 0

    def _begin(self, row: int) -> None:
        """Begin the group of rows that a row is in."""
        file = cast("tuple[Path, ParquetFile]", self._file)[1]
        start = 0
        for group in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if row < end:
                columns = [f"{self._column}.bytes"]
                self._batches = file.iter_batches(batch_size=1, row_groups=[group], columns=columns)
                self._row, self._end = start - 1, end
                return
            start = end


def row_count(file: Path) -> int:
    """How many rows a table says that it has."""
    from pyarrow.parquet import read_metadata  # noqa: PLC0415 - an extra

    metadata = read_metadata(file)
    return sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))


def cells_of(file: Path, column: str) -> Generator[Any, None, None]:
    """Yield the cells of a column of a table, of which no more than a batch is held."""
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - an extra

    with ParquetFile(file) as table:
        schema = table.metadata.schema
        is_single = column in (schema.column(number).path for number in range(len(schema.names)))
    # What many rows have in common is held once, as it is in the file.
    with ParquetFile(file, read_dictionary=[column] if is_single else None) as table:
        for group in range(table.metadata.num_row_groups):  # each has another dictionary; one batch cannot have two
            for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=[column]):
                for cell in batch.column(0):
                    yield cell.as_py()
