"""The files of the last wash, read again in the order of ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from alchemy.cleaning.finishing import Finish
from alchemy.cleaning.plan import Boilerplate
from alchemy.types import text_digest

CORPUS = "cleaned_corpus.jsonl"
CHUNKS = "rag_chunks.jsonl"
METRICS = "metrics.parquet"
RECORDS = "records.parquet"


@dataclass(frozen=True)
class Previous:
    """Local copies of a wash's files, made with the same settings.

    Attributes:
        boilerplate: source → digest of what was left out of its documents.
    """

    directory: Path
    boilerplate: Mapping[str, str]

    def lines(self, boilerplate: Boilerplate) -> dict[str, bytes]:
        """Id → digest of the cleaned form, of documents that were kept and would end up the same.

        Args:
            boilerplate: what is left out now.
        """
        now = boilerplate_digests(boilerplate)
        table = pq.read_table(self.directory / RECORDS, filters=[("kept", "=", True)])
        rows = zip(*(table[name].to_pylist() for name in ("id", "source", "line")), strict=True)
        return {
            identifier: line
            for identifier, source, line in rows
            if now.get(source) == self.boilerplate.get(source)
        }

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


def boilerplate_digests(boilerplate: Boilerplate) -> dict[str, str]:
    """Source → digest of the lines that are left out of its documents."""
    return {
        source: text_digest(*(f"{line:016x}" for line in sorted(lines)))[:16]
        for source, lines in sorted(boilerplate.items())
    }


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
