"""Tokens to text piece by piece, and the choice of a token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from alchemy.models.decoding import IncrementalText, TokenSampler
from alchemy.protocols import GenerationRequest


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path):
    return AutoTokenizer.from_pretrained(tiny_base)


def pieces_of(text: IncrementalText, ids: list[int]) -> list[str]:
    pieces = []
    for token in ids:
        pieces.append(text.push(token))
        if text.stopped:
            return pieces
    return [*pieces, text.finish()]


@settings(max_examples=150, deadline=None)
@given(words=st.text(max_size=120))
def test_any_text_arrives_whole_and_no_piece_has_half_a_character(tokenizer, words: str) -> None:
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    pieces = pieces_of(IncrementalText(tokenizer.decode), ids)
    assert "".join(pieces) == words
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in words


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(st.integers(3, 300), max_size=150))
def test_any_token_sequence_arrives_as_its_decoded_text(tokenizer, ids: list[int]) -> None:
    assert "".join(pieces_of(IncrementalText(tokenizer.decode), ids)) == tokenizer.decode(ids)


@settings(max_examples=200, deadline=None)
@given(
    words=st.text(alphabet="abé ", max_size=60),
    stops=st.lists(st.text(alphabet="abé ", min_size=1, max_size=4), max_size=3),
)
def test_text_is_cut_before_the_first_stop_string(tokenizer, words: str, stops: list[str]) -> None:
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    text = IncrementalText(tokenizer.decode, stops)
    told = "".join(pieces_of(text, ids))
    assert words.startswith(told)
    assert not any(stop in told for stop in stops)
    assert text.stopped == any(stop in words for stop in stops)
    if not text.stopped:
        assert told == words


def sampler(**options: float | int) -> TokenSampler:
    return TokenSampler(GenerationRequest("p", **options))  # pyright: ignore[reportArgumentType]


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert sampler(temperature=0.0).choose(torch.tensor([0.1, 2.0, 1.9])) == 1


def test_top_p_leaves_out_the_unlikely_tail() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    chooser = sampler(temperature=1.0, top_p=0.7, seed=1)
    assert {chooser.choose(logits) for _ in range(200)} == {0, 1}


def test_a_tiny_top_p_still_leaves_one_token() -> None:
    chooser = sampler(temperature=5.0, top_p=1e-6, seed=1)
    assert {chooser.choose(torch.tensor([1.0, 1.2, 0.8])) for _ in range(50)} == {1}
