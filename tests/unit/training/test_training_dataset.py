"""Pairs become tokens: what counts in the loss, what is cut, which batch comes when."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_world import pair
from transformers import AutoTokenizer

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import instruction_prompt, prompt_ids
from alchemy.training.dataset import (
    IGNORED,
    batch_order,
    collate,
    encode_pair,
    pairs_digest,
    read_pairs,
)


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path):
    return AutoTokenizer.from_pretrained(base_dir)


def test_only_response_and_end_count_in_the_loss(tokenizer) -> None:
    one = pair(3)
    example = encode_pair(tokenizer, one, 100)
    counted = [token for token in example.labels if token != IGNORED]
    assert tokenizer.decode(counted[:-1]) == one.response
    assert counted[-1] == tokenizer.eos_token_id
    assert example.targets == len(counted)


def test_the_prompt_is_what_drafting_sends(tokenizer) -> None:
    example = encode_pair(tokenizer, pair(3), 100)
    prompt = [i for i, label in zip(example.ids, example.labels, strict=True) if label == IGNORED]
    assert prompt == prompt_ids(tokenizer, instruction_prompt(pair(3).instruction))


@pytest.mark.parametrize("length", [8, 20, 33])
def test_a_cut_response_does_not_teach_an_end(tokenizer, length: int) -> None:
    long = replace(pair(3), response="it stops and then it starts " * 50)
    example = encode_pair(tokenizer, long, length)
    assert len(example.ids) == length
    assert not example.complete
    assert example.labels[-1] not in (IGNORED, tokenizer.eos_token_id)


def test_a_long_prompt_leaves_room_for_the_response_and_keeps_its_end(tokenizer) -> None:
    long = replace(pair(3), instruction="why does it fail " * 50)
    example = encode_pair(tokenizer, long, 40)
    assert example.complete
    assert tokenizer.decode(example.ids).endswith(f"### Response:\n{long.response}</s>")


def test_padding_never_counts(tokenizer) -> None:
    examples = [encode_pair(tokenizer, pair(3), 100), encode_pair(tokenizer, pair(3), 20)]
    batch = collate(examples, tokenizer.pad_token_id)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"].sum(1).tolist() == [len(e.ids) for e in examples]
    assert (batch["labels"] != IGNORED).sum(1).tolist() == [e.targets for e in examples]


@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=200),
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_an_epoch_takes_every_row_once_up_to_the_last_incomplete_batch(
    lengths: list[int], size: int, seed: int
) -> None:
    per_epoch = max(1, len(lengths) // size)
    epoch = [row for batch in islice(batch_order(lengths, size, seed), per_epoch) for row in batch]
    assert len(set(epoch)) == len(epoch)
    assert len(epoch) >= len(lengths) - size + 1


@given(steps=st.integers(0, 60), seed=st.integers(0, 5))
def test_a_resumed_order_continues_the_interrupted_one(steps: int, seed: int) -> None:
    lengths = [n % 7 + 1 for n in range(30)]
    whole = list(islice(batch_order(lengths, 4, seed), steps + 5))
    assert list(islice(batch_order(lengths, 4, seed), steps, steps + 5)) == whole[steps:]


def test_batches_hold_texts_of_like_length() -> None:
    lengths = [n * 37 % 100 for n in range(64)]
    spreads = [
        max(lengths[r] for r in batch) - min(lengths[r] for r in batch)
        for batch in islice(batch_order(lengths, 4, 1), 16)
    ]
    assert sum(spreads) / len(spreads) < 15


def test_the_dataset_digest_follows_its_content() -> None:
    assert pairs_digest([pair(1), pair(2)]) == pairs_digest([pair(1), pair(2)])
    assert pairs_digest([pair(1), pair(2)]) != pairs_digest([pair(2), pair(1)])
    assert pairs_digest([pair(1)]) != pairs_digest([replace(pair(1), response="else")])


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "sft_train.jsonl"
    empty.write_text("")
    with pytest.raises(AlchemyError, match="holds no pairs") as caught:
        read_pairs(empty)
    assert caught.value.code is ErrorCode.INPUT_INVALID
