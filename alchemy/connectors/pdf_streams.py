"""Limits on what the streams of a PDF unpack to, for all filters that can make much of little.

The parser unpacks a stream whole, whatever it becomes. Its decoders are replaced, which is for a
process that does nothing else (`pdf_process`).
"""

from __future__ import annotations

import zlib
from io import BytesIO
from types import SimpleNamespace

from alchemy.connectors.fields import BadRecord

_PIECE = 1 << 20


def limit_streams(max_bytes: int) -> None:
    """From now on, fail with `BadRecord` when the streams of a file unpack to more in all."""
    from pdfminer import pdftypes
    from pdfminer.lzw import LZWDecoder

    left = max_bytes

    def spend(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise BadRecord(f"its streams unpack to more than {max_bytes} bytes")

    def inflate(data: bytes) -> tuple[bytes, bool]:
        """What comes of the data, and whether the stream ended as it should."""
        engine, tail, found = zlib.decompressobj(), data, bytearray()
        try:
            while tail and not engine.eof:
                piece = engine.decompress(tail, _PIECE)
                spend(len(piece))
                found += piece
                tail = engine.unconsumed_tail
            found += engine.flush()
        except zlib.error:
            return bytes(found), False
        return bytes(found), engine.eof

    def decompress(data: bytes) -> bytes:
        found, whole = inflate(data)
        if not whole:
            raise zlib.error("incomplete or damaged")
        return found

    def lzw(data: bytes) -> bytes:
        found = bytearray()
        for piece in LZWDecoder(BytesIO(data)).run():
            spend(len(piece))
            found += piece
        return bytes(found)

    def run_length(data: bytes) -> bytes:
        found, at = bytearray(), 0
        while at < len(data) and (length := data[at]) != 128:
            repeats = length > 128
            piece = (
                data[at + 1 : at + 2] * (257 - length) if repeats else data[at + 1 :][: length + 1]
            )
            spend(len(piece))
            found += piece
            at += 2 if repeats else length + 2
        return bytes(found)

    replaced = {
        "zlib": SimpleNamespace(decompress=decompress, error=zlib.error),
        "decompress_corrupted": lambda data: inflate(data)[0],
        "lzwdecode": lzw,
        "rldecode": run_length,
    }
    for name, decoder in replaced.items():
        if not hasattr(pdftypes, name):  # it would be unlimited, and nobody would know
            raise ImportError(f"pdfminer.pdftypes has no {name}: its decoders cannot be limited")
        setattr(pdftypes, name, decoder)
