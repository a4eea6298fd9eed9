"""Late interaction on the embedded MiniLM: how well a passage's tokens match a question's.

Each token of the question looks for its best match among the tokens of the passage (MaxSim, Khattab
and Zaharia 2020), weighted by how much the token says. The states are those of the embedding model
with a LoRA adapter on its upper layers; below them, nothing changes, so training computes the lower
layers once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from alchemy.models.embedded import load_minilm

if TYPE_CHECKING:
    from alchemy.config import ScorerSettings

QUESTION_TOKENS = 64
PASSAGE_TOKENS = 160
"""What follows rarely decides, and costs as much."""
READ_TOKENS = 512
"""The positions the model has: a part that is cut off could not be quoted."""
_BATCH_TOKENS = 2048  # as in `embedded`
_STEP = 16
"""Texts are padded to a multiple of this, which only their own length decides: rounded to bfloat16,
states would otherwise depend on the longest text beside them, and with them the order of passages.
"""


@dataclass(frozen=True)
class States:
    """The tokens of one text, without the special ones.

    Attributes:
        tokens: float32[n, dim], unit length.
        mean: float32[dim], unit length: the embedding of the whole text.
        raw: float32[n, dim], before they were made unit length.
    """

    tokens: torch.Tensor
    mean: torch.Tensor
    raw: torch.Tensor


class Head(torch.nn.Module):
    """States of a question and of a passage → log-odds that the passage answers.

    A weight for each token of the question (softmax over the question), and three numbers of the
    pair: weighted MaxSim, cosine of both texts, and the share of the question's weight whose match
    is weak.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.importance = torch.nn.Linear(dim, 1)
        self.combine = torch.nn.Linear(3, 1)
        torch.nn.init.zeros_(self.importance.weight)
        torch.nn.init.zeros_(self.importance.bias)
        with torch.no_grad():
            self.combine.weight.copy_(torch.tensor([[10.0, 5.0, 0.0]]))
            self.combine.bias.fill_(-8.0)

    def weights(self, raw: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """float32[..., n]: shares of the question's tokens, 0 where masked."""
        scores = self.importance(raw).squeeze(-1).masked_fill(~mask, float("-inf"))
        return torch.softmax(scores, dim=-1)

    def forward(
        self, matches: torch.Tensor, weights: torch.Tensor, cosine: torch.Tensor
    ) -> torch.Tensor:
        """float32[...]: log-odds.

        Args:
            matches: float32[..., n], best cosine of each token of the question in the passage.
            weights: float32[..., n], see `weights`.
            cosine: float32[...], of both texts.
        """
        matched = (matches * weights).sum(-1)
        missing = (torch.sigmoid((_WEAK - matches) / _SOFTNESS) * weights).sum(-1)
        return self.combine(torch.stack([matched, cosine, missing], dim=-1)).squeeze(-1)


_WEAK, _SOFTNESS = 0.5, 0.05
"""A token whose best match is below this cosine counts as missing, softly."""


class Encoder:
    """Texts → states. Thread-safe.

    Args:
        adapter: directory of a PEFT adapter of the model; None: the model as it is.
    """

    def __init__(self, settings: ScorerSettings, adapter: Path | None = None) -> None:
        loaded = load_minilm(settings.device, settings.dtype, adapter)
        self.device, self.dtype, self.model = loaded.device, str(loaded.dtype), loaded.model
        self._tokenizer = loaded.tokenizer
        self._batch_size = settings.batch_size
        self.dim = int(self.model.config.hidden_size)
        self._tokenizing = threading.Lock()  # each call changes the tokenizer's truncation

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Token ids with the special ones, cut at `max_tokens`."""
        if not texts:
            return []
        with self._tokenizing:
            encoded = self._tokenizer(list(texts), truncation=True, max_length=max_tokens)
        return encoded["input_ids"]

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[States]:
        """States of each text, in order."""
        tokens = self.tokenize(texts, max_tokens)
        found = {row: states_of(hidden) for row, hidden in self._hidden(tokens)}
        return [found[row] for row in range(len(tokens))]

    def encode_parts(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], max_tokens: int
    ) -> list[list[torch.Tensor]]:
        """Unit states float32[n, dim] of the tokens of each `text[start:end]`, read in its text.

        A part behind the `max_tokens`-th token has none.
        """
        if not texts:
            return []
        with self._tokenizing:
            encoded = self._tokenizer(
                list(texts), truncation=True, max_length=max_tokens, return_offsets_mapping=True
            )
        tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
        found: dict[int, list[torch.Tensor]] = {}
        for row, states in self._hidden(tokens):
            unit = torch.nn.functional.normalize(states, dim=-1)
            begin, end = torch.tensor(offsets[row]).T
            found[row] = [
                unit[(end > begin) & (begin < last) & (end > first)] for first, last in spans[row]
            ]
        return [found[row] for row in range(len(tokens))]

    def _hidden(self, tokens: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        """Row and hidden states float32[tokens, dim], in any order."""
        for rows in batches(tokens, self._batch_size):
            ids, mask = padded([tokens[row] for row in rows])
            with torch.inference_mode():
                hidden = self.model(
                    input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
                ).last_hidden_state.float()
            for row, states in zip(rows, hidden, strict=True):
                yield row, states[: len(tokens[row])].cpu()


def states_of(hidden: torch.Tensor) -> States:
    """The states of one text from its hidden states float32[tokens, dim], special ones included."""
    own = hidden[1:-1] if len(hidden) > 2 else hidden
    normalize = torch.nn.functional.normalize
    return States(normalize(own, dim=-1), normalize(hidden.mean(0), dim=0), own)


def batches(tokens: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Row numbers of texts that are padded to one length, longest first."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    for length, group in groupby(order, key=lambda row: _padded_length(len(tokens[row]))):
        rows = list(group)
        most = max(1, min(size, _BATCH_TOKENS // length))
        for start in range(0, len(rows), most):
            yield rows[start : start + most]


def padded(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """int64[rows, length] ids and mask; the length is that of the longest, rounded up."""
    length = _padded_length(max(map(len, tokens)))
    ids = torch.zeros((len(tokens), length), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    return ids, mask


def _padded_length(own: int) -> int:
    return -(-own // _STEP) * _STEP


def logit(head: Head, question: States, passage: States) -> torch.Tensor:
    """Log-odds of one pair, a scalar."""
    matches = (question.tokens @ passage.tokens.T).max(dim=1).values
    return head(matches, _weights(head, question), question.mean @ passage.mean)


def matched(head: Head, question: States, part: torch.Tensor) -> torch.Tensor:
    """Weighted MaxSim of a question and the states of a part, a scalar in [-1, 1]; -1 for none."""
    if not len(part):
        return torch.tensor(-1.0)
    return (question.tokens @ part.T).max(dim=1).values @ _weights(head, question)


def _weights(head: Head, question: States) -> torch.Tensor:
    return head.weights(question.raw, torch.ones(len(question.raw), dtype=torch.bool))
