"""What each signal should weigh in the search: `python scripts/fit_fusion.py --cache DIR`.

Questions are taken out of real documents (`reranker_data.py`): titles, sentences, first messages.
For each set nDCG@10 under a grid of `retrieval.weights`, of which `dense` is 1. The best weights of
the training sets' mean are then compared with the defaults on both held-out projects.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from eval_retrieval import DATA, Evaluation
from reranker_data import DEVELOPMENT, TEST, projects, set_of
from retrieval_metrics import interval, measure
from retrieval_sets import TENANT, RetrievalSet

from alchemy.config import ModelSettings, RerankerSettings, RetrievalSettings, Settings
from alchemy.knowledge.search import Query, search
from alchemy.types import PUBLIC_GROUP, Principal

LEXICAL = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
PARENT = (0.0, 0.05, 0.1, 0.3)
_DEPTH = 60
"""Chunks asked for, so that ten documents come out of them."""
Weights = tuple[float, float]


def ndcgs(evaluation: Evaluation, data: RetrievalSet) -> dict[Weights, np.ndarray]:
    """nDCG@10 of each question under each (lexical, parent)."""
    index = evaluation.index_of(data)
    vectors = evaluation.embedder.encode([question.text for question in data.questions])
    reader = Principal("fit", TENANT, (PUBLIC_GROUP,))
    queries = [
        Query(question.text, vector, reader, _DEPTH)
        for question, vector in zip(data.questions, vectors, strict=True)
    ]
    found: dict[Weights, np.ndarray] = {}
    for lexical, parent in product(LEXICAL, PARENT):
        settings = weighted(evaluation.settings.retrieval, lexical, parent)
        scores = [
            measure(
                list(dict.fromkeys(passage.chunk.document_id for passage in passages)),
                question.relevant,
            )["ndcg@10"]
            for question, passages in zip(
                data.questions, search(index.snapshot, queries, settings), strict=True
            )
        ]
        found[lexical, parent] = np.array(scores)
    return found


def weighted(settings: RetrievalSettings, lexical: float, parent: float) -> RetrievalSettings:
    """The settings with these two weights."""
    weights = settings.weights.model_copy(update={"lexical": lexical, "parent": parent})
    return settings.model_copy(update={"weights": weights})


def main() -> None:
    """Measure every set, choose, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=400, help="of each training set")
    parser.add_argument("--held-out", type=int, default=600, help="of each held-out project")
    parser.add_argument("--cache", type=Path, help="vectors of the corpora, kept between runs")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    settings = Settings(model_b=ModelSettings(), reranker=RerankerSettings(provider="none"))
    grid = list(product(LEXICAL, PARENT))
    report: dict[str, Any] = {"sets": {}}
    total = np.zeros(len(grid))
    with tempfile.TemporaryDirectory(prefix="alchemy-fusion-") as scratch:
        evaluation = Evaluation(settings, options.cache or Path(scratch) / "v", Path(scratch))
        names = projects(options.data)
        for name in names:
            found = ndcgs(evaluation, set_of(options.data, name, options.documents))
            means = np.array([found[weights].mean() for weights in grid])
            total += means / len(names)
            report["sets"][name] = table(grid, means)
            print(f"{name}: best {grid[int(means.argmax())]} of {means.max():.4f}", flush=True)
        report["mean"] = table(grid, total)
        best = grid[int(total.argmax())]
        print(f"\nmean of {len(names)} sets, nDCG@10 by lexical (down) and parent (across)")
        print(("{:>8}" * (1 + len(PARENT))).format("", *PARENT))
        for lexical in LEXICAL:
            row = [f"{total[grid.index((lexical, parent))]:.4f}" for parent in PARENT]
            print(("{:>8}" * (1 + len(row))).format(lexical, *row))
        default = settings.retrieval.weights
        mine = (default.lexical, default.parent)
        print(f"\nbest {best}; the defaults are {mine}")
        report |= {"best": best, "default": mine, "held_out": {}}
        for name in (DEVELOPMENT, TEST):
            found = ndcgs(evaluation, set_of(options.data, name, options.held_out))
            gain = interval(found[best] - found[mine], options.seed)
            report["held_out"][name] = {
                "best": interval(found[best], options.seed),
                "default": interval(found[mine], options.seed),
                "difference": gain,
            }
            print(
                f"{name}: default {found[mine].mean():.4f}, best {found[best].mean():.4f} "
                f"({gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}])",
                flush=True,
            )
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def table(grid: list[Weights], values: np.ndarray) -> dict[str, float]:
    """`lexical/parent` → nDCG@10."""
    return {f"{w[0]}/{w[1]}": round(float(v), 4) for w, v in zip(grid, values, strict=True)}


if __name__ == "__main__":
    main()
