"""The engines that `bench_index.py` compares: `python bench_index_engines.py ENGINE PHASE …`.

Phase `build` writes an index below a directory, phase `query` opens it in a fresh process and
asks it; each prints one line of figures.
"""

# pyright: reportMissingImports=false
# the peers are installed only where they are compared

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import bench_index_corpus as corpus
import numpy as np

MARK = "bench-result:"
TOP = 10


class Engine(Protocol):
    """Builds below a directory; then answers with row numbers, best first."""

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None: ...

    def open(self, place: Path) -> None: ...

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]: ...

    def nearest(self, vector: np.ndarray, rare: bool) -> Sequence[int] | None:
        """By vector alone; None where the engine has none."""
        ...


class Ours:
    """This project's index."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None:
        from alchemy.knowledge.build import write_index

        chunks = corpus.chunks(issues, len(vectors))
        kind: Any = self._kind
        write_index(place, chunks, vectors, [], kind=kind)

    def open(self, place: Path) -> None:
        from alchemy.knowledge.snapshot import FORMAT, Snapshot
        from alchemy.settings import RetrievalSettings
        from alchemy.stores.versions import Manifest
        from alchemy.types import Principal

        self._snapshot = Snapshot.open(place, Manifest("ix", {}, 0, "", {"format": FORMAT}))
        self._settings = RetrievalSettings()
        self._who = {rare: Principal("u", "default", corpus.groups(rare)) for rare in (True, False)}

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]:
        from alchemy.knowledge.search import Query, search

        query = Query(text, vector, self._who[rare], TOP)
        found = search(self._snapshot, [query], self._settings)[0]
        return [_row(passage.chunk.id) for passage in found]

    def nearest(self, vector: np.ndarray, rare: bool) -> Sequence[int]:
        mask = self._snapshot.catalog.access(self._who[rare]).mask if rare else None
        return self._snapshot.vectors.search(vector[None], TOP, mask)[0][0].tolist()


class Lance:
    """LanceDB: IVF with HNSW over bytes, its own full-text index, pre-filtered."""

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None:
        import lancedb
        import pyarrow as pa

        schema = pa.schema(
            [
                ("row", pa.int64()),
                ("acl", pa.string()),
                ("text", pa.string()),
                ("vector", pa.list_(pa.float32(), vectors.shape[1])),
            ]
        )

        def batches() -> Iterator[pa.RecordBatch]:
            held: list[Any] = []
            for row, chunk in enumerate(corpus.chunks(issues, len(vectors))):
                held.append((row, chunk.acl[0], f"{chunk.title}\n{chunk.text}"))
                if len(held) == 20_000 or row == len(vectors) - 1:
                    rows, acl, texts = zip(*held, strict=True)
                    block = vectors[rows[0] : rows[-1] + 1].ravel()
                    flat = pa.FixedSizeListArray.from_arrays(pa.array(block), vectors.shape[1])
                    columns = [pa.array(rows), pa.array(acl), pa.array(texts), flat]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)
                    held = []

        table = lancedb.connect(str(place)).create_table("chunks", batches(), schema=schema)
        if len(vectors) > 50_000:
            table.create_index(metric="cosine", index_type="IVF_HNSW_SQ")
        table.create_fts_index("text", use_tantivy=False)
        table.create_scalar_index("acl", index_type="BITMAP")

    def open(self, place: Path) -> None:
        import lancedb

        self._table = lancedb.connect(str(place)).open_table("chunks")

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]:
        query: Any = self._table.search(query_type="hybrid").vector(vector).text(text)
        return self._rows(query, rare)

    def nearest(self, vector: np.ndarray, rare: bool) -> Sequence[int]:
        query: Any = self._table.search(vector, query_type="vector")
        return self._rows(query.distance_type("cosine"), rare)

    @staticmethod
    def _rows(query: Any, rare: bool) -> Sequence[int]:
        if rare:
            query = query.where(f"acl = '{corpus.RARE}'", prefilter=True)
        return query.select(["row"]).limit(TOP).to_arrow()["row"].to_pylist()


class Tantivy:
    """The lexical half alone, with tantivy's English analysis."""

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None:
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("row", stored=True)
        builder.add_text_field("acl", tokenizer_name="raw")
        builder.add_text_field("title", tokenizer_name="en_stem")
        builder.add_text_field("text", tokenizer_name="en_stem")
        index = tantivy.Index(builder.build(), path=str(place))
        writer = index.writer(heap_size=512 << 20, num_threads=2)
        for row, chunk in enumerate(corpus.chunks(issues, len(vectors))):
            writer.add_document(
                tantivy.Document(row=row, acl=chunk.acl[0], title=chunk.title, text=chunk.text)
            )
        writer.commit()
        writer.wait_merging_threads()

    def open(self, place: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        self._index = tantivy.Index.open(str(place))
        self._searcher = self._index.searcher()

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]:
        plain = "".join(c if c.isalnum() else " " for c in text).lower()
        query: Any = self._index.parse_query(plain, ["title", "text"])
        if rare:
            must = self._tantivy.Occur.Must
            only = self._tantivy.Query.term_query(self._index.schema, "acl", corpus.RARE)
            query = self._tantivy.Query.boolean_query([(must, query), (must, only)])
        hits = self._searcher.search(query, TOP).hits
        return [self._searcher.doc(address)["row"][0] for _, address in hits]

    def nearest(self, vector: np.ndarray, rare: bool) -> None:
        return None


class Bm25s:
    """The lexical half alone, in numpy, scores worked out beforehand."""

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None:
        import bm25s
        import Stemmer

        made = list(corpus.chunks(issues, len(vectors)))
        texts = [f"{chunk.title}\n{chunk.text}" for chunk in made]
        tokens = bm25s.tokenize(texts, stemmer=Stemmer.Stemmer("english"), show_progress=False)
        index = bm25s.BM25()
        index.index(tokens, show_progress=False)
        index.save(str(place))
        np.save(place / "rare.npy", np.array([c.acl[0] == corpus.RARE for c in made]))

    def open(self, place: Path) -> None:
        import bm25s
        import Stemmer

        self._index = bm25s.BM25.load(str(place), mmap=True)
        self._stemmer = Stemmer.Stemmer("english")
        self._rare = np.load(place / "rare.npy").astype(np.float32)
        self._bm25s = bm25s

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]:
        tokens = self._bm25s.tokenize(text, stemmer=self._stemmer, show_progress=False)
        mask = self._rare if rare else None
        rows, _ = self._index.retrieve(tokens, k=TOP, show_progress=False, weight_mask=mask)
        # masked rows score 0 and fill up a short result
        return [row for row in rows[0].tolist() if mask is None or mask[row]]

    def nearest(self, vector: np.ndarray, rare: bool) -> None:
        return None


class Fts5:
    """The lexical half alone, in SQLite."""

    def build(self, place: Path, issues: Path, vectors: np.ndarray) -> None:
        connection = sqlite3.connect(place / "words.sqlite")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "CREATE VIRTUAL TABLE words USING fts5(title, body, content='', tokenize='porter')"
        )
        connection.execute("CREATE TABLE access (id INTEGER PRIMARY KEY, acl TEXT)")
        made = enumerate(corpus.chunks(issues, len(vectors)))
        for row, chunk in made:
            values = (row, chunk.title, chunk.text)
            connection.execute("INSERT INTO words (rowid, title, body) VALUES (?, ?, ?)", values)
            connection.execute("INSERT INTO access VALUES (?, ?)", (row, chunk.acl[0]))
        connection.execute("INSERT INTO words(words) VALUES ('optimize')")
        connection.commit()
        connection.close()

    def open(self, place: Path) -> None:
        self._connection = sqlite3.connect(f"file:{place}/words.sqlite?mode=ro", uri=True)
        self._connection.execute("PRAGMA mmap_size = 4294967296")

    def ask(self, text: str, vector: np.ndarray, rare: bool) -> Sequence[int]:
        from alchemy.knowledge.terms import STOPWORDS

        words = "".join(c if c.isalnum() else " " for c in text).lower().split()
        query = " OR ".join(f'"{word}"' for word in words if word not in STOPWORDS)
        limit = f"AND access.acl = '{corpus.RARE}'" if rare else ""
        found = self._connection.execute(
            f"""SELECT words.rowid FROM words JOIN access ON access.id = words.rowid
                WHERE words MATCH ? {limit} ORDER BY bm25(words, 4.0, 1.0) LIMIT {TOP}""",
            (query or '""',),
        )
        return [row for (row,) in found]

    def nearest(self, vector: np.ndarray, rare: bool) -> None:
        return None


ENGINES: dict[str, Callable[[], Engine]] = {
    "alchemy": lambda: Ours("auto"),
    "alchemy-hnsw": lambda: Ours("hnsw"),
    "lancedb": Lance,
    "tantivy": Tantivy,
    "bm25s": Bm25s,
    "fts5": Fts5,
}


def _row(chunk_id: str) -> int:
    document, _, ordinal = chunk_id.partition("#")
    return int(document.rpartition("-")[2]) * 2 + int(ordinal)


def _memory_mb() -> dict[str, int]:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "resident_mb": int(fields["VmRSS"].split()[0]) >> 10,
        "own_mb": int(fields["RssAnon"].split()[0]) >> 10,
    }


def build(engine: Engine, place: Path, issues: Path, cache: Path, count: int) -> dict[str, Any]:
    """Write the index; seconds and megabytes."""
    base, _, _ = corpus.embedded(issues, cache)
    vectors = corpus.vectors(base, count)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    began, used = time.monotonic(), time.process_time()
    engine.build(place, issues, vectors)
    seconds, cpu = time.monotonic() - began, time.process_time() - used
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return {"build_s": round(seconds, 1), "build_cpu_s": round(cpu, 1), "size_mb": size >> 20}


def query(engine: Engine, place: Path, issues: Path, cache: Path, count: int) -> dict[str, Any]:
    """Open and ask: times in milliseconds, memory, recall of the vector half."""
    _, questions, texts = corpus.embedded(issues, cache)
    began = time.monotonic()
    engine.open(place)
    engine.ask(texts[0], questions[0], False)
    figures: dict[str, Any] = {"load_s": round(time.monotonic() - began, 2)}
    truth = np.load(cache / f"truth-{count}.npz")
    for name, rare in (("all", False), ("1%", True)):
        engine.ask(texts[0], questions[0], rare)
        times: list[float] = []
        for text, vector in zip(texts, questions, strict=True):
            started = time.perf_counter()
            found = engine.ask(text, vector, rare)
            times.append(1000 * (time.perf_counter() - started))
            assert not rare or all(row % 100 == 0 for row in found)
        figures[f"p50_ms {name}"] = round(float(np.percentile(times, 50)), 1)
        figures[f"p99_ms {name}"] = round(float(np.percentile(times, 99)), 1)
        answers = [engine.nearest(vector, rare) for vector in questions]
        if answers[0] is not None:
            hits = sum(len({*a} & {*b}) for a, b in zip(answers, truth[name], strict=True) if a)
            figures[f"recall@10 {name}"] = round(hits / truth[name].size, 4)
    return {**figures, **_memory_mb()}


def truth(issues: Path, cache: Path, count: int) -> None:
    """The nearest vectors of each question by comparing all, stored for the engines."""
    path = cache / f"truth-{count}.npz"
    if path.exists():
        return
    base, questions, _ = corpus.embedded(issues, cache)
    vectors = corpus.vectors(base, count)
    found: dict[str, np.ndarray] = {}
    for name, step in (("all", 1), ("1%", 100)):
        rows = np.arange(0, count, step)
        best: list[np.ndarray] = []
        for start in range(0, len(questions), 50):
            scores = questions[start : start + 50] @ vectors[rows].T
            places = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
            best.append(rows[places])
        found[name] = np.concatenate(best)
    np.savez(path, allow_pickle=False, **found)


def main() -> None:
    """Run one phase of one engine."""
    name, phase, place, issues, cache, count = sys.argv[1:]
    if name == "truth":
        truth(Path(issues), Path(cache), int(count))
        return
    work = build if phase == "build" else query
    figures = work(ENGINES[name](), Path(place), Path(issues), Path(cache), int(count))
    print(MARK + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
