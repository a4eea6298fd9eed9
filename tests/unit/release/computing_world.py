"""Records and an index of some documents, ready for questions that count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from alchemy.knowledge.build import write_index
from alchemy.knowledge.snapshot import FORMAT, RECORDS_FILE, Snapshot
from alchemy.quant.records import write_records
from alchemy.release.computing import Computer
from alchemy.stage import write_jsonl
from alchemy.stores.versions import Manifest
from alchemy.types import (
    NO_LIMITS,
    Answer,
    Chunk,
    Document,
    Filters,
    Passage,
    Principal,
    Quarantined,
)

TODAY = date(2026, 11, 27)
ANN = Principal("ann", "default", ("everyone",))


class Counter:
    """A `Computer` over documents, each of them one chunk."""

    def __init__(
        self,
        directory: Path,
        documents: Iterable[Document],
        copies: Iterable[Document] = (),
        quarantined: Iterable[Quarantined] = (),
    ) -> None:
        directory.mkdir(parents=True)
        found = sorted(documents, key=lambda document: document.id)
        corpus, metrics = directory / "corpus.jsonl", directory / "metrics.parquet"
        write_jsonl(directory / "copies.jsonl", copies)
        write_jsonl(directory / "quarantine.jsonl", quarantined)
        corpus.write_text("".join(f"{d.to_json()}\n" for d in found), encoding="utf-8")
        rows = [{"document_id": d.id, **d.metrics, "chars": float(len(d.text))} for d in found]
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(metrics)
        index = directory / "index"
        write_index(index, map(_chunk, found), np.eye(len(found), 4, dtype=np.float32), [])
        write_records(
            corpus,
            metrics,
            directory / "copies.jsonl",
            index / RECORDS_FILE,
            directory / "quarantine.jsonl",
        )
        self.snapshot = Snapshot.open(
            index, Manifest("ix-test", {}, 0, "0" * 64, {"format": FORMAT})
        )
        self._computer = Computer("rl-test", self.snapshot)

    def made(
        self,
        question: str,
        who: Principal = ANN,
        filters: Filters = NO_LIMITS,
        hidden: frozenset[str] = frozenset(),
    ) -> tuple[Answer, list[Passage]] | None:
        """The computed answer and its passages."""
        return self._computer.answer(question, who, filters, TODAY, hidden)

    def text(self, question: str, who: Principal = ANN) -> str:
        """The computed answer's text; fails when texts should answer."""
        made = self.made(question, who)
        assert made is not None, f"{question!r} was not taken for a computation"
        return made[0].text


def _chunk(document: Document) -> Chunk:
    return Chunk(
        id=f"{document.id}#0",
        document_id=document.id,
        source=document.source,
        title=document.title,
        uri=document.uri,
        tenant=document.tenant,
        acl=document.acl,
        text=document.text,
        ordinal=0,
        start=0,
        end=len(document.text),
        content_hash=hashlib.sha256(document.text.encode()).hexdigest(),
    )


def issue(
    number: int, title: str, text: str = "", acl: tuple[str, ...] = ("everyone",), **more: object
) -> Document:
    """A Jira issue; `more` are numbers (metrics), texts and lists (labels), or its dates."""
    dates = {name: str(more.pop(name)) for name in ("created_at", "updated_at") if name in more}
    numbers = {n: float(v) for n, v in more.items() if isinstance(v, int | float)}
    labels = {n: v for n, v in more.items() if not isinstance(v, int | float)}
    return Document(
        f"jira:OPS-{number}", "jira", title, text or title, f"https://jira.example/OPS-{number}",
        "default", acl, metrics=dict(numbers), extra=dict(labels), **dates,
    )  # fmt: skip


def pull(number: int, title: str, **more: object) -> Document:
    """A pull request, as `issue`."""
    made = issue(number, title, **more)  # type: ignore[arg-type]
    fields = {**made.to_dict(), "id": f"git_pr:core#{number}", "source": "git_pr"}
    return Document.from_dict(fields)
