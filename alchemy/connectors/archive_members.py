"""Zip, tar and single compressed files → their members, in order, never extracted by name.

A zip and a plain tar are read by seeking, so that one member costs its own bytes; a compressed tar
is one stream.
"""

from __future__ import annotations

import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from alchemy.connectors.compressed import Pieces, unpack
from alchemy.connectors.fields import BadRecord, clean_line
from alchemy.connectors.records import suffix_of
from alchemy.protocols import Lake

FORMS: dict[str, str] = {
    ".zip": "zip",
    ".tar": "tar",
    **{suffix: "tar gz" for suffix in (".tar.gz", ".tgz")},
    **{suffix: "tar bz2" for suffix in (".tar.bz2", ".tbz2", ".tbz")},
    **{suffix: "tar xz" for suffix in (".tar.xz", ".txz")},
    **{f".{method}": method for method in ("gz", "bz2", "xz")},
}
"""Suffix → container and compression."""

_PIECE = 1 << 20
_READ_AHEAD = 1 << 18
_LONGEST_PATH = 1000
_LONGEST_HEADER = 1 << 20  # tar's extra headers (long names, pax) are held in memory
_DIRECTORY_ENTRY = 2048  # generous bytes of one entry in a zip's directory
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError, IndexError),
)
"""What the standard library raises for archives that are not what they should be."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as the archive has it; not to be trusted.
        size: declared bytes, unpacked; 0 where unknown.
        packed: bytes in the archive; None where it is part of a larger stream.
        problem: why it must not be read.
        read: its content in pieces; only before the next member is asked for.
    """

    name: str
    size: int
    read: Callable[[], Iterator[bytes]]
    packed: int | None = None
    problem: str = ""
    directory: bool = False


def form_of(key: str) -> str:
    """How the archive is packed; empty for no archive."""
    return FORMS.get(suffix_of(key, FORMS), "")


def safe_path(name: str) -> str:
    """A member's path inside its archive, without empty and `.` parts.

    Raises:
        BadRecord: it could mean something outside the archive, or is no usable name.
    """
    if "\\" in name:
        raise BadRecord("its name has a backslash")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise BadRecord("its path is absolute")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadRecord("its path leaves the archive")
    if not parts or len(name) > _LONGEST_PATH or re.search(r"[\x00-\x1f\x7f]", name):
        raise BadRecord("its name is empty, too long or has control characters")
    return re.sub("[\ud800-\udfff]", "\ufffd", "/".join(parts))


def shown_name(name: str) -> str:
    """A name that is not trusted, for a position."""
    return clean_line(name)[:300]


def members(lake: Lake, key: str, max_ratio: float, max_members: int) -> Iterator[Member]:
    """The members of an archive in order, directories too.

    Raises:
        BadRecord: the archive is damaged or cut off; the members before were given.
    """
    form = form_of(key)
    try:
        if form == "zip":
            yield from _zip(lake, key, max_members)
        elif form.startswith("tar"):
            yield from _tar(lake, key, form.removeprefix("tar").strip(), max_ratio)
        else:
            pieces = unpack(lake.stream(key), form, max_ratio)
            yield Member(PurePosixPath(key).stem, 0, lambda: pieces)
    except DAMAGE as error:
        raise BadRecord(f"the archive is damaged ({type(error).__name__})") from error


# --- zip ------------------------------------------------------------------------------------------


def _zip(lake: Lake, key: str, max_members: int) -> Iterator[Member]:
    file = io.BufferedReader(LakeFile(lake, key), _READ_AHEAD)
    _check_directory(file, max_members)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            problem = ""
            if info.flag_bits & 0x1:
                problem = "it is encrypted"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = "it is a link or a device"
            yield Member(
                _zip_name(info),
                info.file_size,
                lambda info=info: _zip_content(archive, info),
                info.compress_size,
                problem,
                info.is_dir(),
            )


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(info) as content:
        while piece := content.read(_PIECE):
            yield piece


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as stored; without the UTF-8 flag many tools write UTF-8 all the same."""
    name = info.orig_filename
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_directory(file: Any, max_members: int) -> None:
    """Refuse a directory of more entries than are allowed, before it is loaded."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise BadRecord("the zip has no directory: it is cut off or is no zip")
    directory = struct.unpack_from("<I", tail, at + 12)[0]
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if directory == 0xFFFFFFFF and wide >= 0 and len(tail) >= wide + 56:
        directory = struct.unpack_from("<Q", tail, wide + 40)[0]
    if directory > max_members * _DIRECTORY_ENTRY:
        raise BadRecord(f"more members than archives.max_members ({max_members})")
    file.seek(0)


# --- tar ------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """Remembers how the reading of headers ended, which `tarfile` keeps to itself."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        try:
            return super().fromtarfile(tarfile)
        except Exception as error:
            tarfile.ended = error
            raise

    def _proc_member(self, tarfile: Any) -> Any:
        # the hook that tarfile offers subclasses; what is not a file's content is held in memory
        if self.type in b"LKxgX" and self.size > _LONGEST_HEADER:
            raise BadRecord("a header of the tar is too large")
        return super()._proc_member(tarfile)  # type: ignore[misc]


def _tar(lake: Lake, key: str, method: str, max_ratio: float) -> Iterator[Member]:
    if method:
        stream = Pieces(unpack(lake.stream(key), method, max_ratio))
        file, mode = io.BufferedReader(stream, _PIECE), "r|"
    else:
        file, mode = io.BufferedReader(LakeFile(lake, key), _READ_AHEAD), "r:"
    with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for info in archive:
            problem, whole = "", None if method else info.size
            if info.issym() or info.islnk():
                problem = "it is a link"
            elif not (info.isfile() or info.isdir()):
                problem = "it is a device or of an unknown type"
            yield Member(
                info.name,
                info.size if info.isfile() else 0,
                lambda info=info: _tar_content(archive, info),
                _sparse_bytes(info) if info.issparse() else whole,
                problem,
                info.isdir(),
            )
        # tarfile takes a damaged header for the end
        ended = getattr(archive, "ended", None)
        if not isinstance(ended, tarfile.EOFHeaderError):  # pyright: ignore[reportAttributeAccessIssue]
            raise BadRecord("the tar has no end: it is cut off or damaged")
        while method and file.read(_PIECE):
            pass  # the compressed stream's checksum is at its end


def _sparse_bytes(info: tarfile.TarInfo) -> int:
    """What a file with holes really holds; its size counts the holes."""
    parts: Any = info.sparse
    return sum(size for _, size in parts)


def _tar_content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(info)
    while content is not None and (piece := content.read(_PIECE)):
        yield piece


# --- reading by position --------------------------------------------------------------------------


class LakeFile(io.RawIOBase):
    """A lake object as a file that can be sought; each seek starts another ranged read."""

    def __init__(self, lake: Lake, key: str) -> None:
        super().__init__()
        self._lake, self._key = lake, key
        self._size = next((item.size for item in lake.list(key) if item.key == key), 0)
        self._at = 0
        self._pieces: Pieces | None = None

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; what was being read there is dropped."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset != self._at:
            self._at, self._pieces = max(0, base + offset), None
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one piece goes; 0 at the end."""
        if self._at >= self._size:
            return 0
        if self._pieces is None:
            self._pieces = Pieces(self._lake.stream(self._key, _READ_AHEAD, self._at))
        count = self._pieces.readinto(buffer)
        self._at += count
        return count
