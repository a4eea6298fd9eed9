"""Training a reranker on states of the lower layers that are computed once.

The adapter changes only the upper layers, so what the lower ones make of a text never changes. It
is kept in float16; each step runs the upper layers alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from alchemy.models.interaction import (
    PASSAGE_TOKENS,
    QUESTION_TOKENS,
    Encoder,
    Head,
    batches,
    padded,
)
from alchemy.models.weights import ADAPTER_CONFIG
from alchemy.training.optimizing import pick_precision

_TARGETS = ("query", "key", "value", "dense")
_OUT_OF_REACH = -1e4


class _Given(torch.nn.Module):
    """Stands for the embeddings and lower layers: their states are given."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> torch.Tensor:
        return inputs_embeds


class Upper:
    """The upper layers of an encoder with a LoRA adapter, and a head.

    Args:
        below: how many layers stay as they are.
    """

    def __init__(self, encoder: Encoder, below: int, r: int, alpha: int, base: str) -> None:
        self._encoder = encoder
        self._precision = pick_precision("auto", encoder.device)
        self._below = below
        layers = len(encoder.model.encoder.layer)
        config = LoraConfig(
            r=r,
            lora_alpha=alpha,
            target_modules=list(_TARGETS),
            layers_to_transform=list(range(below, layers)),
            layers_pattern="layer",
        )
        self._base = base
        self.model: Any = get_peft_model(encoder.model, config)
        self._bert: Any = self.model.get_base_model()
        self.head = Head(encoder.dim)

    def lower(self, texts: Sequence[str], max_tokens: int) -> list[torch.Tensor]:
        """float16[tokens, dim] of each text, special tokens included."""
        tokens = self._encoder.tokenize(texts, max_tokens)
        found: dict[int, torch.Tensor] = {}
        with self._layers(0, self._below), torch.inference_mode(), self._precision.autocast():
            for rows in batches(tokens, 64):
                ids, mask = padded([tokens[row] for row in rows])
                hidden = self._bert(input_ids=ids, attention_mask=mask).last_hidden_state
                for row, states in zip(rows, hidden, strict=True):
                    found[row] = states[: len(tokens[row])].half().clone()
        return [found[row] for row in range(len(tokens))]

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within it, `hidden` runs the upper layers alone."""
        embeddings = self._bert.embeddings
        self._bert.embeddings = _Given()
        try:
            with self._layers(self._below, None):
                yield
        finally:
            self._bert.embeddings = embeddings

    def hidden(self, states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """float32[n, tokens, dim] and the mask of tokens, bool; inside `training`."""
        longest = max(len(own) for own in states)
        given = torch.zeros((len(states), longest, self._encoder.dim))
        mask = torch.zeros((len(states), longest), dtype=torch.long)
        for row, own in enumerate(states):
            given[row, : len(own)] = own
            mask[row, : len(own)] = 1
        with self._precision.autocast():
            found = self._bert(inputs_embeds=given, attention_mask=mask).last_hidden_state
        return found.float(), mask.bool()

    def logits(
        self, questions: Sequence[torch.Tensor], passages: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """float32[questions, passages] from states of the lower layers."""
        asked, asked_mask = self.hidden(questions)
        given, given_mask = self.hidden(passages)
        unit = torch.nn.functional.normalize
        cosines = _mean(asked, asked_mask) @ _mean(given, given_mask).T
        own, other = _inside(asked_mask), _inside(given_mask)
        similar = torch.einsum("qtd,psd->qpts", unit(asked, dim=-1), unit(given, dim=-1))
        similar = similar.masked_fill(~other[None, :, None, :], _OUT_OF_REACH)
        matches = similar.amax(-1).masked_fill(~own[:, None, :], 0.0)
        weights = self.head.weights(asked, own)[:, None, :].expand_as(matches)
        return self.head(matches, weights, cosines)

    def save(self, directory: Path) -> None:
        """The adapter, outside `training`."""
        self.model.save_pretrained(directory, safe_serialization=True)
        (directory / "README.md").unlink(missing_ok=True)
        path = directory / ADAPTER_CONFIG  # peft writes the directory on this machine into it
        written = json.loads(path.read_text("utf-8"))
        written["base_model_name_or_path"] = self._base
        path.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n", "utf-8")

    @contextmanager
    def _layers(self, first: int, last: int | None) -> Iterator[None]:
        every = self._bert.encoder.layer
        self._bert.encoder.layer = torch.nn.ModuleList(list(every)[first:last])
        try:
            yield
        finally:
            self._bert.encoder.layer = every


def question_states(upper: Upper, texts: Sequence[str]) -> list[torch.Tensor]:
    """Lower states of questions."""
    return upper.lower(texts, QUESTION_TOKENS)


def passage_states(upper: Upper, texts: Sequence[str]) -> list[torch.Tensor]:
    """Lower states of passages."""
    return upper.lower(texts, PASSAGE_TOKENS)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask.unsqueeze(-1).float()
    return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)


def _inside(mask: torch.Tensor) -> torch.Tensor:
    """The mask without the first and the last token of each row, the special ones."""
    inside = mask.clone()
    inside[:, 0] = False
    last = mask.sum(1) - 1
    inside[torch.arange(len(mask)), last] = False
    return inside
