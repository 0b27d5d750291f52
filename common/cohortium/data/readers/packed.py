"""Files compressed by gzip or zstd, as a stream of the bytes inside.

The first bytes tell how a file is compressed, never its name. It is decompressed while it is read, so memory stays bounded;
zstd's window is bounded by its library (128 MiB). More than MAX_UNPACKED bytes are refused: a small file can expand to any
size.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa

from cohortium.errors import InputError

MAX_UNPACKED = 256 << 30
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NOT_READ = {
    b"PK\x03\x04": ("a ZIP archive", "Unpack it; if it is a workbook, let its name end in .xlsx."),
    b"\xd0\xcf\x11\xe0": ("an old or encrypted workbook of Excel", "Save it as .xlsx without a password, or as CSV."),
    b"BZh": ("packed by bzip2", "Unpack it, or pack it by gzip or zstd."),
    b"\xfd7zXZ": ("packed by xz", "Unpack it, or pack it by gzip or zstd."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it."),
    b"PAR1": ("a Parquet file", "Let its name end in .parquet."),
    b"ARROW1": ("an Arrow file", "Write it as Parquet."),
    b"SQLite format 3": ("an SQLite database", "Name it by url and query in [source], or export the table."),
    b"%PDF": ("a PDF", "Export the table as CSV."),
}


class Unpacked:
    """The bytes of a file, unpacked where it is packed. InputError where they break off or are too many.

    by: what it is packed by, in a word; empty where it is not.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._name, self._count = name, 0
        self._read, self.by = _reader(file, name)

    def read(self, size: int, /) -> bytes:
        if not self.by:
            return self._read(size)
        try:
            chunk = self._read(size)
        except (EOFError, OSError, zlib.error, pa.ArrowException):
            what, fix = "it breaks off, or is packed wrongly", "Pack the file again."
            raise InputError("E_CSV_PARSE", self._name, what, fix) from None
        self._count += len(chunk)
        if self._count > MAX_UNPACKED:
            what = f"it unpacks to more than {MAX_UNPACKED >> 30} GiB"
            raise InputError("E_LIMIT", self._name, what, "Unpack it, and look what it holds.")
        return chunk


def _reader(file: IO[bytes], name: str) -> tuple[Callable[[int], bytes], str]:
    start = file.read(16)
    file.seek(0)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file, mode="rb").read, "gzip"
    if start.startswith(_ZSTD):
        stream: Any = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
        return stream.read, "zstd"
    for sign, (what, fix) in _NOT_READ.items():
        if start.startswith(sign):
            raise InputError("E_FORM", name, f"it is {what}, and is not read so", fix)
    return file.read, ""
