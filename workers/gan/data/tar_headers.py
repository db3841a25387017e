"""Headers of tars, which say how long they are, and which tarfile reads whole before anything of it is known."""

import tarfile

# Of a long name, or of all that one header says of a file.
MOST_BYTES = 1 << 20
LONG = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class BoundedHeader(tarfile.TarInfo):
    """A header that is refused where it says that it is longer than any is: a few packed bytes could fill the memory.

    For `tarfile.open(..., tarinfo=BoundedHeader)`, whose reading then raises ReadError.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in LONG and self.size > MOST_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes; expected {MOST_BYTES:,} at most")
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc] # known to tarfile alone
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("a file with holes, whose map may be of any length; expected pictures")
