"""SFT pairs → token ids with the prompt masked, in batches of like length."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import instruction_prompt, prompt_ids
from alchemy.stage import read_jsonl
from alchemy.types import SftPair, text_digest

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token that adds nothing to the loss (torch's default `ignore_index`)."""
_POOL_BATCHES = 16


@dataclass(frozen=True)
class Example:
    """One pair as tokens.

    Attributes:
        labels: `ids`, with IGNORED where the prompt is.
        complete: False when the response was cut; then EOS is missing too, since the text does
            not end there.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    complete: bool

    @property
    def targets(self) -> int:
        """Tokens that count in the loss."""
        return sum(label != IGNORED for label in self.labels)


def read_pairs(path: Path, limit: int = 0) -> list[SftPair]:
    """Pairs of an SFT file; the first `limit`, 0 for all.

    Raises:
        AlchemyError: INPUT_INVALID for a file without pairs; CORRUPT names file and line.
    """
    pairs = list(read_jsonl(path, SftPair))
    if not pairs:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{path.name} holds no pairs to train on",
            "Ingest more data, or lower synthesis.eval_share.",
        )
    return pairs[:limit] if limit else pairs


def pairs_digest(pairs: Sequence[SftPair]) -> str:
    """sha256 of what is learned from, independent of where the file lies."""
    return text_digest(*(pair.to_json() for pair in pairs))


def encode_pair(tokenizer: Any, pair: SftPair, max_length: int) -> Example:
    """Tokens of prompt + response + EOS, at most `max_length`.

    The response has precedence up to half the length; a longer prompt keeps its end, as in drafting.
    """
    prompt = prompt_ids(tokenizer, instruction_prompt(pair.instruction))
    encoded = tokenizer(pair.response.strip(), add_special_tokens=False, verbose=False)
    response = [*encoded["input_ids"], tokenizer.eos_token_id]
    prompt = prompt[-max(max_length // 2, max_length - len(response)) :]
    kept = response[: max_length - len(prompt)]
    return Example(
        ids=(*prompt, *kept),
        labels=(*[IGNORED] * len(prompt), *kept),
        complete=len(kept) == len(response),
    )


def batch_order(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of row numbers; every row once per epoch, rows of like length together.

    A function of its arguments alone, so a resumed run continues the same sequence. An incomplete
    last batch of an epoch is left out, unless it is the only one.
    """
    epoch = 0
    while True:
        chance = random.Random(f"{seed}/{epoch}")
        rows = list(range(len(lengths)))
        chance.shuffle(rows)
        pool = batch_size * _POOL_BATCHES
        batches: list[list[int]] = []
        for start in range(0, len(rows), pool):
            part = sorted(rows[start : start + pool], key=lambda row: lengths[row])
            batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size] or batches
        chance.shuffle(full)
        yield from full
        epoch += 1


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `labels`, int64[rows, longest]."""
    import torch

    width = max(len(example.ids) for example in examples)

    def padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])

    return {
        "input_ids": padded([e.ids for e in examples], pad_id),
        "attention_mask": padded([[1] * len(e.ids) for e in examples], 0),
        "labels": padded([e.labels for e in examples], IGNORED),
    }
