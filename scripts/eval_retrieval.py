"""Measure retrieval on public sets: `python scripts/eval_retrieval.py --sets springxd squad mtrag`.

Documents go the product's way (clean, chunk, embed, `write_index`, `search`); a document stands
where its best chunk stands. Printed are means with 95 % bootstrap intervals, and paired differences
to a plain BM25 that shares no code with the product, and to dense search.

`lora` is measured on Spring XD alone, which has links to learn from: an adapter is trained on the
links of two thirds of the issues, and all modes are measured again on the links of the others.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from retrieval_metrics import METRICS, Bm25, interval, measure
from retrieval_sets import LOADERS, Question, RetrievalSet, folds_by_document

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.tokens import chunk_budget, ruler
from alchemy.config import ModelSettings, Settings
from alchemy.knowledge.build import embed_chunks, write_index
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import FORMAT, Snapshot
from alchemy.models import registry
from alchemy.protocols import Embedder
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import Manifest, directory_digests
from alchemy.types import PUBLIC_GROUP, Chunk, Mode, Passage, Principal, digest_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PLAIN = ("lexical", "dense", "hybrid", "rerank")
LORA = ("dense+lora", "hybrid+lora", "rerank+lora")
LINKED = "springxd"
"""The set with links to learn from."""
FOLDS = 3
_PASSAGES = 400
"""Chunks asked for: a hundred distinct documents must come out of them."""
_BATCH = 64


@dataclass(frozen=True)
class Index:
    """An open index of one corpus, with what else a mode needs.

    Attributes:
        vectors: float32[chunks, d], of `chunks` in their order.
    """

    snapshot: Snapshot
    chunks: Sequence[Chunk]
    vectors: np.ndarray
    bm25: Bm25
    documents: Sequence[str]


class Evaluation:
    """Builds each corpus once and ranks the questions of a set in every mode."""

    def __init__(self, settings: Settings, cache: Path, scratch: Path) -> None:
        self.settings = settings
        self._lake = LocalLake(cache)
        self._scratch = scratch
        self.embedder: Embedder = registry.load_embedder(settings.model_b)
        self.reranker = registry.load_reranker(settings.reranker)
        self._indexes: dict[str, Index] = {}

    def index_of(self, data: RetrievalSet) -> Index:
        """The set's index; vectors that the cache holds are not computed again."""
        if data.corpus not in self._indexes:
            self._indexes[data.corpus] = self._build(data)
        return self._indexes[data.corpus]

    def _build(self, data: RetrievalSet) -> Index:
        model, tokens = self.settings.model_b, self.settings.cleaning.chunk_tokens
        starts = ruler(model)
        chunks = [
            chunk
            for document in sorted(data.documents, key=lambda d: d.id)
            for chunk in chunk_document(document, starts, chunk_budget(document, model, tokens))
        ]
        cache = EmbeddingCache(self._lake, self.embedder.digest, self.embedder.dim)
        vectors, _ = embed_chunks(lambda: chunks, self.embedder, cache, lambda done, total: None)
        directory = self._scratch / data.corpus
        write_index(directory, chunks, vectors, ())
        files = directory_digests(directory)
        meta = {"format": FORMAT, "embedder": self.embedder.digest}
        manifest = Manifest(f"ix-{data.corpus}", files, 0, digest_of(files), meta)
        texts = [f"{document.title}\n{document.text}".strip() for document in data.documents]
        return Index(
            Snapshot.open(directory, manifest),
            chunks,
            vectors,
            Bm25(texts),
            [document.id for document in data.documents],
        )

    def rank(
        self, index: Index, questions: Sequence[Question], vectors: np.ndarray, mode: str
    ) -> list[list[str]]:
        """Documents of each question in one mode, best first."""
        found: list[list[str]] = []
        for start in range(0, len(questions), _BATCH):
            part = slice(start, start + _BATCH)
            batch = zip(questions[part], vectors[part], strict=True)
            for passages in self._search(index, [(q.text, v) for q, v in batch], mode):
                found.append(list(dict.fromkeys(p.chunk.document_id for p in passages)))
        return found

    def _search(
        self, index: Index, asked: Sequence[tuple[str, np.ndarray]], mode: str
    ) -> list[list[Passage]]:
        """The one place that knows how a mode is asked for."""
        reader = Principal("evaluator", "default", (PUBLIC_GROUP,))
        signals = cast("Mode", mode if mode in ("dense", "lexical") else "hybrid")
        queries = [Query(text, v, reader, _PASSAGES, mode=signals) for text, v in asked]
        reranker = self.reranker if mode == "rerank" else None
        return search(index.snapshot, queries, self.settings.retrieval, reranker)


def evaluate(
    evaluation: Evaluation, data: RetrievalSet, modes: Sequence[str], seed: int
) -> dict[str, Any]:
    """All plain modes on all questions of a set."""
    index = evaluation.index_of(data)
    vectors = evaluation.embedder.encode([question.text for question in data.questions])
    scores = {"bm25": scored(bm25_ranks(index, data.questions), data.questions)}
    for mode in (mode for mode in modes if mode in PLAIN):
        if mode == "rerank" and evaluation.reranker is None:
            continue
        started = time.perf_counter()
        ranks = evaluation.rank(index, data.questions, vectors, mode)
        seconds = (time.perf_counter() - started) / len(ranks)
        scores[mode] = {**scored(ranks, data.questions), "ms": np.array([1000 * seconds])}
    return {"questions": len(data.questions), **summary(scores, seed)}


def evaluate_lora(
    evaluation: Evaluation, data: RetrievalSet, modes: Sequence[str], seed: int, out: Path
) -> dict[str, Any]:
    """The held-out third of the links, with and without an adapter trained on the others.

    No issue that a held-out link leads to is the answer of a training pair, not even of its title.
    """
    from alchemy.models.query_adapter import AdaptedQueries, tunable_base
    from alchemy.training.retrieval import FrozenIndex, tune
    from alchemy.training.retrieval_pairs import (
        RetrievalPair,
        balanced,
        split_pairs,
        title_pairs,
    )

    settings = evaluation.settings.tuning
    index = evaluation.index_of(data)
    fold = folds_by_document(data.questions, FOLDS, seed)
    held = [question for question in data.questions if fold[question.id] == 0]
    hidden = {document for question in held for document in question.relevant}
    pairs = [
        RetrievalPair(q.text, tuple(sorted(q.relevant)), "link", "default", (PUBLIC_GROUP,))
        for q in data.questions
        if fold[q.id] != 0
    ]
    pairs += [pair for pair in title_pairs(index.chunks) if pair.documents[0] not in hidden]
    train, stopping = split_pairs(
        pairs, settings.held_out_share, settings.held_out_pairs, settings.seed
    )
    train = balanced(train, settings.title_ratio, settings.max_pairs, settings.seed)
    frozen = FrozenIndex([chunk.document_id for chunk in index.chunks], index.vectors)
    model = evaluation.settings.model_b
    base_dir, _ = tunable_base(model)
    tuned = tune(base_dir, train, stopping, frozen, settings, out)
    adapted = AdaptedQueries(model, out)
    texts = [question.text for question in held]
    encoded = {"": evaluation.embedder.encode(texts), "+lora": adapted.encode_queries(texts)}
    scores = {"bm25": scored(bm25_ranks(index, held), held)}
    for mode in modes:
        name, plus, _ = mode.partition("+")
        if name == "rerank" and evaluation.reranker is None:
            continue
        ranks = evaluation.rank(index, held, encoded["+lora" if plus else ""], name)
        scores[mode] = scored(ranks, held)
    return {"questions": len(held), "training": vars(tuned), **summary(scores, seed)}


def bm25_ranks(index: Index, questions: Sequence[Question]) -> list[list[str]]:
    """The baseline's documents of each question."""
    return [[index.documents[i] for i in index.bm25.rank(q.text, 100)] for q in questions]


def scored(ranks: Sequence[Sequence[str]], questions: Sequence[Question]) -> dict[str, Any]:
    """metric → float64[questions]."""
    found = [measure(r, question.relevant) for r, question in zip(ranks, questions, strict=True)]
    return {metric: np.array([row[metric] for row in found]) for metric in METRICS}


def summary(scores: dict[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """Means with intervals by mode, and differences in nDCG@10 to the modes they build on."""
    ndcg = {mode: values["ndcg@10"] for mode, values in scores.items()}
    against: dict[str, dict[str, Any]] = {}
    for mode, values in ndcg.items():
        plain = mode.removesuffix("+lora")
        before = mode.replace("rerank", "hybrid")
        others = [name for name in ("bm25", "dense", plain, before) if name in ndcg]
        against[mode] = {
            name: interval(values - ndcg[name], seed)
            for name in dict.fromkeys(others)
            if name != mode
        }
    return {
        "modes": {
            mode: {
                name: interval(v, seed) if len(v) > 1 else round(float(v[0]), 2)
                for name, v in values.items()
            }
            for mode, values in scores.items()
        },
        "differences": against,
    }


def show(name: str, result: dict[str, Any]) -> None:
    """One set as a table."""
    print(f"\n{name}: {result['questions']} questions")
    if "training" in result:
        print(f"  adapter: {result['training']}")
    print(f"  {'mode':14}" + "".join(f"{metric:>24}" for metric in METRICS))
    for mode, values in result["modes"].items():
        cells = (values[metric] for metric in METRICS)
        row = "".join(
            f"{v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}]".rjust(24) for v in cells
        )
        print(f"  {mode:14}{row}")
    print("  nDCG@10 against:")
    for mode, others in result["differences"].items():
        for other, v in others.items():
            print(
                f"    {mode:14} - {other:14} {v['value']:+.3f} [{v['low']:+.3f}, {v['high']:+.3f}]"
            )


def main() -> None:
    """Measure the chosen sets and print them."""
    parser = argparse.ArgumentParser(description="Measure retrieval on public sets.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the public sets")
    parser.add_argument("--sets", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--modes", nargs="+", choices=(*PLAIN, *LORA), default=[*PLAIN, *LORA])
    parser.add_argument("--limit", type=int, default=0, help="questions per set, a seeded sample")
    parser.add_argument("--candidates", type=int, default=0, help="per signal; 0: the settings'")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "alchemy-eval-retrieval",
        help="vectors of the corpora, kept between runs",
    )
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    arguments = parser.parse_args()

    settings = Settings(model_b=ModelSettings())
    if arguments.candidates:
        retrieval = settings.retrieval.model_copy(update={"candidates": arguments.candidates})
        settings = settings.model_copy(update={"retrieval": retrieval})
    results: dict[str, Any] = {"candidates": settings.retrieval.candidates, "sets": {}}
    with tempfile.TemporaryDirectory(prefix="alchemy-eval-") as directory:
        evaluation = Evaluation(settings, arguments.cache, Path(directory))
        if evaluation.reranker is None and any("rerank" in mode for mode in arguments.modes):
            print("no reranker is configured: its modes are left out", file=sys.stderr)
        for name in arguments.sets:
            data = LOADERS[name](arguments.data)
            if 0 < arguments.limit < len(data.questions):
                kept = random.Random(arguments.seed).sample(data.questions, arguments.limit)
                data = replace(data, questions=tuple(kept))
            measured = evaluate(evaluation, data, arguments.modes, arguments.seed)
            results["sets"][name] = measured
            show(name, measured)
            if name == LINKED and any("lora" in mode for mode in arguments.modes):
                adapter = Path(directory) / "adapter"
                held = evaluate_lora(evaluation, data, arguments.modes, arguments.seed, adapter)
                results["sets"][f"{name}, held-out links"] = held
                show(f"{name}, held-out links", held)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
