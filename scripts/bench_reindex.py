"""Build an index, change some documents, build again: what the second build costs.

    python scripts/bench_reindex.py --chunks 100000 --changed 0.01 --out bench.json

Both builds are the stage "index" as the pipeline runs it, on a local lake: read chunks, embed those
that are new, write, publish. Chunks are of real words (`bench_index_corpus.py`), two to a document,
vectors come from the embedded model. `--embedder hashed` takes vectors from a hash of the text
instead: the stage without the embedding, which is most of the first build.

With `hashed` the second index is also built from nothing and compared. Above 50,000 chunks the two
differ: the inverted lists are those learned for the first.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bench_index_corpus as corpus
import numpy as np

from alchemy.config import LakeSettings, Settings
from alchemy.knowledge import stage
from alchemy.models.registry import load_embedder
from alchemy.protocols import Embedder
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Chunk, Receipt

COLUMNS = ("build", "chunks", "embedded", "wall s", "cpu s", "share of full")


class Hashed:
    """Vectors that follow from the text and mean nothing: an embedder that costs nothing."""

    digest = "hashed"
    dim = 384

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        seeds = (int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in texts)
        made = np.stack([np.random.default_rng(s).standard_normal(self.dim) for s in seeds])
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        return [len(text.split()) for text in texts]


def changed(chunks: Sequence[Chunk], share: float) -> list[Chunk]:
    """The chunks with the text of every so-manieth document edited."""
    every = round(1 / share)
    edited: list[Chunk] = []
    for number, chunk in enumerate(chunks):
        if number // 2 % every == 0:
            text = f"{chunk.text} Edited afterwards."
            digest = hashlib.sha256(f"{chunk.title}\n{text}".encode()).hexdigest()
            chunk = dataclasses.replace(chunk, text=text, end=len(text), content_hash=digest)
        edited.append(chunk)
    return edited


def built(root: Path, run_id: str, chunks: Sequence[Chunk], embedder: Embedder) -> Receipt:
    """One run of the stage; what it reads is written before."""
    lake = LocalLake(root / "lake")
    settings = Settings(lake=LakeSettings(root=str(root / "lake")))
    scratch = root / f"scratch-{run_id}"
    for name, prefix, file, rows in (
        ("wash", "processed", "rag_chunks.jsonl", chunks),
        ("quant", "quant", "insights.jsonl", ()),
    ):
        before = StageContext(run_id, name, settings, lake, scratch)
        count = write_jsonl(before.out(file), rows)
        files = {file: before.out(file)}
        receipt = before.finish(f"{prefix}/{run_id}", files, rows=count, schema=(), inputs={})
        write_receipt(lake, receipt)
    return stage.run(StageContext(run_id, "index", settings, lake, scratch), embedder)


def timed(
    root: Path, run_id: str, chunks: Sequence[Chunk], embedder: Embedder
) -> tuple[Receipt, float, float]:
    """The receipt, and wall and CPU seconds of the stage alone."""
    used, began = time.process_time(), time.monotonic()
    receipt = built(root, run_id, chunks, embedder)
    cpu = time.process_time() - used
    written = time.monotonic() - began - receipt.seconds  # of the chunks: not the stage's work
    return receipt, receipt.seconds, cpu - min(written, cpu)


def main() -> None:
    """Run both builds, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--changed", type=float, default=0.01, help="share of the documents")
    parser.add_argument("--embedder", choices=("embedded", "hashed"), default="embedded")
    parser.add_argument("--issues", type=Path, default=Path("../shared/data/jira_gpt2sp"))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    embedder: Embedder = Hashed()
    if options.embedder == "embedded":
        embedder = load_embedder(Settings().model_b)
    first = list(corpus.chunks(options.issues, options.chunks))
    second = changed(first, options.changed)
    results: list[dict[str, float | str]] = []
    print(("{:>16}" * len(COLUMNS)).format(*COLUMNS))
    with tempfile.TemporaryDirectory(prefix="alchemy-reindex-") as scratch:
        root = Path(scratch)
        digests: dict[str, str] = {}
        for name, place, chunks in (
            ("full", root / "a", first),
            ("changed", root / "a", second),
            ("unchanged", root / "a", second),
        ):
            receipt, wall, cpu = timed(place, name, chunks, embedder)
            digests[name] = receipt.sha256
            full = results[0]["wall s"] if results else wall
            results.append(
                {
                    "build": name,
                    "chunks": len(chunks),
                    "embedded": receipt.counts["embedded"],
                    "wall s": round(wall, 1),
                    "cpu s": round(cpu, 1),
                    "share of full": round(wall / float(full), 4),
                }
            )
            print(("{:>16}" * len(COLUMNS)).format(*map(str, results[-1].values())), flush=True)
        if options.embedder == "hashed":  # with the model it would cost as much as the first build
            anew, _, _ = timed(root / "b", "anew", second, embedder)
            same = anew.sha256 == digests["changed"]
            print(
                "the changed index and one built from nothing:", "same" if same else "NOT the same"
            )
            results.append({"build": "anew", "same bytes": str(same)})
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
