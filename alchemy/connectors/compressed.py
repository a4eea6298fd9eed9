"""Compressed streams, unpacked piece by piece within limits.

The standard library's file classes are not used: they read any amount at once, and xz may ask for
gigabytes of dictionary.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from alchemy.connectors.fields import BadRecord

_PIECE = 1 << 20
_XZ_MEMORY = 256 << 20
RATIO_FROM = 16 << 20
"""Unpacked bytes from which the ratio counts: less is harmless however well it was packed."""


class _Gzip:
    """zlib's decompressor with the interface of the other two."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(out) < max_length and not self._zlib.unconsumed_tail
        return out


def _engine(method: str) -> Any:
    if method == "gz":
        return _Gzip()
    return bz2.BZ2Decompressor() if method == "bz2" else lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


def check_ratio(unpacked: int, packed: int, max_ratio: float) -> None:
    """Raise `BadRecord` for content that is packed as only a bomb is."""
    if unpacked > RATIO_FROM and unpacked > max_ratio * packed:
        raise BadRecord(f"unpacks to more than archives.max_ratio ({max_ratio:g}) times its size")


def unpack(pieces: Iterable[bytes], method: str, max_ratio: float) -> Iterator[bytes]:
    """The content of a `gz`, `bz2` or `xz` stream in pieces of at most a megabyte.

    Raises:
        BadRecord: damaged, cut off, or packed beyond `max_ratio`; what came before was given.
    """
    engine, packed, unpacked = _engine(method), 0, 0
    for piece in pieces:
        packed += len(piece)
        data = piece
        while data or not (engine.needs_input or engine.eof):
            if engine.eof:  # another stream may follow, or padding
                data = data.lstrip(b"\0")
                if not data:
                    break
                engine = _engine(method)
            try:
                out = engine.decompress(data, _PIECE)
            except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
                raise BadRecord(f"the {method} stream is damaged") from error
            data = engine.unused_data if engine.eof else b""
            unpacked += len(out)
            check_ratio(unpacked, packed, max_ratio)
            if out:
                yield out
    if not engine.eof:
        raise BadRecord(
            f"the {method} stream ends early: it is cut off" if packed else "empty file"
        )


class Pieces(io.RawIOBase):
    """A readable file over pieces that come in order."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """It can only be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one piece goes; 0 at the end."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count
