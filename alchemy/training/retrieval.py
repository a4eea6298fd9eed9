"""LoRA on the query side of the embedding model, against chunk vectors that stay as they are.

Chunks keep the vectors of the base model, so an adapter needs no new index and is compared with
and without it on the same one. Training reads queries only: every chunk of the corpus is a frozen
vector, and so the whole corpus (or its hardest part) is the set of negatives of every query.

The loss of a query is -log of the softmax mass on the chunks of its documents. Near copies of those
chunks are left out of the softmax: they are right answers that nobody has linked.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from alchemy.config import TuningSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.embedded import pooled_vectors
from alchemy.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weights_digest
from alchemy.stage import Progress, no_progress
from alchemy.training.dataset import batch_order
from alchemy.training.optimizing import rate_at
from alchemy.training.retrieval_pairs import RetrievalPair

TARGET_MODULES = ("query", "key", "value", "dense")
"""Linear layers of a BERT encoder: attention, its output, and both layers of the network after it."""
_DEPTH = 10
_ENCODE_ROWS = 64
_REPORT_EVERY = 10
_OUTCOME = "tuned.json"


@dataclass(frozen=True)
class FrozenIndex:
    """What queries are trained against.

    Attributes:
        documents: document id of each chunk.
        vectors: float32[chunks, dim], L2-normalised, from the base model.
    """

    documents: Sequence[str]
    vectors: np.ndarray


@dataclass(frozen=True)
class Tuned:
    """What a training did; ranks are of documents by their best chunk, dense search alone.

    Attributes:
        epochs: passes done; `best_epoch` is the one that was kept, 0 when none beat the base.
        base_ndcg, ndcg: nDCG@10 on the held-out pairs before and after.
    """

    epochs: int
    best_epoch: int
    train_pairs: int
    held_out_pairs: int
    base_ndcg: float
    ndcg: float
    seconds: float


def tune(
    base_dir: Path,
    train: Sequence[RetrievalPair],
    held_out: Sequence[RetrievalPair],
    index: FrozenIndex,
    settings: TuningSettings,
    output: Path,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Tuned:
    """Train an adapter and write its files to `output`; float32, deterministic for one machine.

    Training stops when the held-out pairs have not gained for `patience` epochs, and the best epoch
    is kept. Where none beats the base, the written adapter changes nothing.

    Args:
        base_dir: directory of a BERT-like encoder with mean pooling, the model of the vectors.
        progress: gets `tune.step` and `tune.eval` events.

    Raises:
        AlchemyError: INPUT_INVALID when no pair's document is in the index.
    """
    started = time.monotonic()
    torch.manual_seed(settings.seed)
    pool = _Targets(index, settings, device)
    train, held_out = pool.known(train), pool.known(held_out)
    if not train or not held_out:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{len(train)} pairs to train on and {len(held_out)} held out are too few",
            "Ingest more linked records, or set tuning.enabled: false.",
        )
    tower = QueryTower(base_dir, settings, device)
    queries = tower.tokens([pair.query for pair in train])
    held_queries = tower.tokens([pair.query for pair in held_out])
    anchors = torch.from_numpy(tower.encode(queries)).to(device)
    hard = pool.hardest(anchors)
    base_ndcg = pool.ndcg(tower.encode(held_queries), held_out)
    progress("tune.eval", {"epoch": 0, "ndcg": round(base_ndcg, 4)})

    optimizer = torch.optim.AdamW(tower.trainable(), lr=settings.learning_rate, weight_decay=0.01)
    # rows of like length together: most of a mixed batch's work would be padding
    order = batch_order([len(ids) for ids in queries], settings.batch_size, settings.seed)
    per_epoch = max(1, len(train) // settings.batch_size)
    steps = per_epoch * settings.epochs
    best, best_ndcg, best_epoch, epoch, step = tower.state(), base_ndcg, 0, 0, 0
    for epoch in range(1, settings.epochs + 1):
        for rows in islice(order, per_epoch):
            vectors = tower.forward([queries[row] for row in rows])
            negatives, allowed, gold = pool.choose([train[row] for row in rows], hard[rows])
            scores = vectors @ negatives.T / settings.temperature
            scores = scores.masked_fill(~allowed, -torch.inf)
            mass = torch.logsumexp(scores.masked_fill(~gold, -torch.inf), dim=1)
            loss = (torch.logsumexp(scores, dim=1) - mass).mean()
            # what the pairs say nothing about should stay where the base has put it
            drift = (1 - (vectors * anchors[rows]).sum(1)).mean()
            (loss + settings.anchor * drift).backward()
            rate = rate_at(step, steps, settings.learning_rate, max(1, steps // 20))
            _step(optimizer, rate)
            step += 1
            if step % _REPORT_EVERY == 0 or step == steps:
                fields = {"step": step, "steps": steps, "loss": round(loss.item(), 4)}
                progress("tune.step", {**fields, "drift": round(drift.item(), 4)})
        ndcg = pool.ndcg(tower.encode(held_queries), held_out)
        progress("tune.eval", {"epoch": epoch, "ndcg": round(ndcg, 4)})
        if ndcg > best_ndcg:
            best, best_ndcg, best_epoch = tower.state(), ndcg, epoch
        elif epoch - best_epoch >= settings.patience:
            break
    tower.save(best, output)
    tuned = Tuned(
        epochs=epoch,
        best_epoch=best_epoch,
        train_pairs=len(train),
        held_out_pairs=len(held_out),
        base_ndcg=round(base_ndcg, 4),
        ndcg=round(best_ndcg, 4),
        seconds=round(time.monotonic() - started, 1),
    )
    (output / _OUTCOME).write_text(json.dumps(asdict(tuned)), encoding="utf-8")
    return tuned


def read_tuned(trained: Path) -> Tuned:
    """What the directory that `tune` wrote says about the training."""
    return Tuned(**json.loads((trained / _OUTCOME).read_text(encoding="utf-8")))


class QueryTower:
    """The base encoder with LoRA on every linear layer."""

    def __init__(self, base_dir: Path, settings: TuningSettings, device: str) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
        base: Any = AutoModel.from_pretrained(base_dir, local_files_only=True, dtype=torch.float32)
        config = LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(TARGET_MODULES),
            # the pooler is never used; an adapter of it would only take room
            exclude_modules=r"pooler\..*",
        )
        self._base_dir = base_dir
        self._model: Any = get_peft_model(base.to(device), config)
        self._device = device
        self._max_tokens = settings.max_tokens

    def trainable(self) -> list[torch.nn.Parameter]:
        """Parameters of the adapter."""
        return [p for p in self._model.parameters() if p.requires_grad]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut to `max_tokens`."""
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)
        return list(encoded["input_ids"])

    def forward(self, tokens: Sequence[list[int]]) -> torch.Tensor:
        """float32[n, dim], with gradients and dropout."""
        self._model.train()
        return pooled_vectors(self._model, self._padded(tokens))

    @torch.inference_mode()
    def encode(self, tokens: Sequence[list[int]]) -> np.ndarray:
        """float32[n, dim], as in use."""
        self._model.eval()
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        vectors = np.zeros((len(tokens), self._model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), _ENCODE_ROWS):
            rows = order[start : start + _ENCODE_ROWS]
            batch = self._padded([tokens[row] for row in rows])
            vectors[rows] = pooled_vectors(self._model, batch).cpu().numpy()
        return vectors

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter's weights."""
        state = get_peft_model_state_dict(self._model, save_embedding_layers=False)
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}

    def save(self, state: dict[str, torch.Tensor], output: Path) -> None:
        """Write PEFT's files with these weights; the configuration names the base by its digest."""
        output.mkdir(parents=True, exist_ok=True)
        save_file(state, output / ADAPTER_WEIGHTS)
        config = self._model.peft_config["default"].to_dict()
        config["base_model_name_or_path"] = weights_digest(self._base_dir)
        # sets become lists: their order must not depend on the process
        plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
        text = json.dumps({**plain, "inference_mode": True}, sort_keys=True, indent=1)
        (output / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")

    def _padded(self, tokens: Sequence[list[int]]) -> Any:
        padded = self._tokenizer.pad({"input_ids": list(tokens)}, return_tensors="pt")
        return padded.to(self._device)


class _Targets:
    """The frozen chunks: which are right for a pair, and which compete."""

    def __init__(self, index: FrozenIndex, settings: TuningSettings, device: str) -> None:
        self._vectors = torch.from_numpy(np.ascontiguousarray(index.vectors)).to(device)
        self._settings = settings
        self._rows: dict[str, list[int]] = {}
        for row, document in enumerate(index.documents):
            self._rows.setdefault(document, []).append(row)
        names = {name: number for number, name in enumerate(self._rows)}
        self._document = torch.tensor([names[d] for d in index.documents], device=device)
        self._chance = torch.Generator().manual_seed(settings.seed)

    def known(self, pairs: Sequence[RetrievalPair]) -> list[RetrievalPair]:
        """Pairs that have a chunk to find."""
        return [pair for pair in pairs if any(i in self._rows for i in pair.documents)]

    def hardest(self, queries: torch.Tensor) -> torch.Tensor:
        """int64[queries, k]: the chunks nearest to each under the base model."""
        most = min(self._settings.hard_negatives, len(self._vectors))
        parts = [(part @ self._vectors.T).topk(most, dim=1).indices for part in queries.split(256)]
        return torch.cat(parts)

    def choose(
        self, pairs: Sequence[RetrievalPair], hard: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Chunks that one batch is scored against.

        Returns:
            vectors float32[m, dim]; bool[pairs, m] of the chunks that count for a pair, and of
            those that are right for it.
        """
        gold_rows = [self._gold(pair) for pair in pairs]
        rows = self._pool(gold_rows, hard)
        place = torch.full((len(self._vectors),), -1, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        vectors = self._vectors[rows]
        gold = torch.zeros((len(pairs), len(rows)), dtype=torch.bool, device=rows.device)
        allowed = torch.ones_like(gold)
        for at, own in enumerate(gold_rows):
            gold[at, place[own]] = True
            copies = (vectors @ self._vectors[own].T).amax(1) >= self._settings.copy_cosine
            allowed[at] = ~copies | gold[at]
        return vectors, allowed, gold

    def ndcg(self, queries: np.ndarray, pairs: Sequence[RetrievalPair]) -> float:
        """Mean nDCG@10 of the documents by their best chunk."""
        total = 0.0
        scores = torch.from_numpy(queries).to(self._vectors.device) @ self._vectors.T
        depth = min(len(self._rows), _DEPTH)
        for row, pair in enumerate(pairs):
            best = torch.full((len(self._rows),), -torch.inf, device=scores.device)
            best.scatter_reduce_(0, self._document, scores[row], "amax")
            found = best.topk(depth).indices.tolist()
            right = {
                int(self._document[self._rows[i][0]]) for i in pair.documents if i in self._rows
            }
            gain = sum(1 / math.log2(n + 2) for n, name in enumerate(found) if name in right)
            total += gain / sum(1 / math.log2(n + 2) for n in range(min(len(right), _DEPTH)))
        return total / len(pairs)

    def _gold(self, pair: RetrievalPair) -> torch.Tensor:
        rows = [row for i in pair.documents for row in self._rows.get(i, ())]
        return torch.tensor(rows, device=self._vectors.device)

    def _pool(self, gold: Sequence[torch.Tensor], hard: torch.Tensor) -> torch.Tensor:
        """All chunks, or the batch's right and hard ones and a random share of the rest."""
        if len(self._vectors) <= self._settings.negatives:
            return torch.arange(len(self._vectors), device=self._vectors.device)
        drawn = torch.randint(
            len(self._vectors), (self._settings.negatives,), generator=self._chance
        ).to(self._vectors.device)
        return torch.unique(torch.cat([*gold, hard.flatten(), drawn]))


def _step(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
