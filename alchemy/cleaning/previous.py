"""The files of the last wash, read again in the order of ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from alchemy.cleaning.finishing import Finish

CORPUS = "cleaned_corpus.jsonl"
CHUNKS = "rag_chunks.jsonl"
METRICS = "metrics.parquet"
RECORDS = "records.parquet"


@dataclass(frozen=True)
class Previous:
    """Local copies of a wash's files, made with the same settings."""

    directory: Path

    def lines(self) -> dict[str, bytes]:
        """Document id → digest of its line, of the documents that were kept."""
        table = pq.read_table(self.directory / RECORDS, filters=[("kept", "=", True)])
        return dict(zip(table["id"].to_pylist(), table["line"].to_pylist(), strict=True))

    def finished(self) -> Iterator[tuple[str, Finish]]:
        """Every document with its part of the final files, by ascending id."""
        chunks = _Chunks(self.directory / CHUNKS)
        with (self.directory / CORPUS).open(encoding="utf-8") as corpus:
            for line, row in zip(corpus, _rows(self.directory / METRICS), strict=True):
                identifier = row["document_id"]
                yield (
                    identifier,
                    Finish(line.rstrip("\n"), row["source"], chunks.of(identifier), row),
                )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(4096):
        yield from batch.to_pylist()


class _Chunks:
    """Lines of `rag_chunks.jsonl`, document by document."""

    def __init__(self, path: Path) -> None:
        self._lines = _chunk_lines(path)
        self._next = next(self._lines, None)

    def of(self, document_id: str) -> list[str]:
        found: list[str] = []
        while self._next is not None and self._next[0] == document_id:
            found.append(self._next[1])
            self._next = next(self._lines, None)
        return found


def _chunk_lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["document_id"], line.rstrip("\n")
