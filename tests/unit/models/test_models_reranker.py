"""The reranker in the package, and cross-encoders of the Hugging Face format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from alchemy.config import ReaderSettings, RerankerSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.model_settings import Dtype
from alchemy.models.registry import load_reranker
from alchemy.models.reranker import HEAD_FILE, SHIPPED, EmbeddedReranker

EXACT = ReaderSettings(dtype="float32")
QUESTION = "How do I change the port of the http source?"
PASSAGES = [
    "The http source listens on port 9000; set --port to change it.",
    "Cats sleep most of the day, and hunt at dawn.",
    "The release of the shell module was moved to the next sprint because of the holidays.",
]


@pytest.fixture(scope="module")
def reranker() -> EmbeddedReranker:
    return EmbeddedReranker(EXACT)


def test_what_answers_scores_above_what_does_not(reranker: EmbeddedReranker) -> None:
    scores = reranker.score([(QUESTION, passage) for passage in PASSAGES])
    assert scores.dtype == np.float32
    assert scores.argmax() == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_score_does_not_depend_on_the_pairs_beside_it(dtype: Dtype) -> None:
    reranker = EmbeddedReranker(ReaderSettings(dtype=dtype))
    words = " ".join(PASSAGES * 9).split()
    pairs = [(QUESTION, " ".join(words[:count])) for count in range(5, len(words), 7)]
    pairs += [("cats", PASSAGES[1]), ("", PASSAGES[0])]
    together = reranker.score(pairs)
    alone = np.concatenate([reranker.score([pair]) for pair in pairs])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


def test_nothing_and_empty_texts_have_scores(reranker: EmbeddedReranker) -> None:
    assert reranker.score([]).shape == (0,)
    assert np.isfinite(reranker.score([("", "a text"), ("a question", "")])).all()


TEXT = " ".join(PASSAGES)
SPANS = [(TEXT.index(passage), TEXT.index(passage) + len(passage)) for passage in PASSAGES]


def test_the_sentence_that_answers_is_read_as_the_best(reranker: EmbeddedReranker) -> None:
    [scores] = reranker.read(QUESTION, [TEXT], [SPANS])
    assert scores.argmax() == 0
    assert (np.abs(scores) <= 1 + 1e-6).all()


def test_a_sentence_means_what_it_means_in_its_passage(reranker: EmbeddedReranker) -> None:
    sentence = "It listens on port 9000."
    texts = [f"The http source receives requests. {sentence}", f"The cat sleeps. {sentence}"]
    spans = [[(text.index(sentence), len(text))] for text in texts]
    about, beside = reranker.read("On which port is the http source?", texts, spans)
    assert about[0] > beside[0]


def test_readings_do_not_depend_on_the_texts_beside_them(reranker: EmbeddedReranker) -> None:
    texts, spans = [TEXT, PASSAGES[0], " ".join(PASSAGES * 5)], [SPANS, [(0, 20)], SPANS]
    together = reranker.read(QUESTION, texts, spans)
    for text, own, scores in zip(texts, spans, together, strict=True):
        [alone] = reranker.read(QUESTION, [text], [own])
        np.testing.assert_allclose(scores, alone, atol=1e-4)


def test_a_part_behind_the_last_position_scores_lowest(reranker: EmbeddedReranker) -> None:
    text = "word " * 2000
    [scores] = reranker.read("word", [text], [[(0, 4), (len(text) - 10, len(text))]])
    assert scores[0] > scores[1] == -1.0


def test_the_digest_changes_with_the_weights(reranker: EmbeddedReranker, tmp_path: Path) -> None:
    other = tmp_path / "weights"
    shutil.copytree(SHIPPED, other)
    assert EmbeddedReranker(EXACT, other).digest == reranker.digest
    from alchemy.models.reranker import read_head, write_head

    head = read_head(other / HEAD_FILE, 384)
    head.combine.bias.data += 1.0
    write_head(head, other / HEAD_FILE)
    assert EmbeddedReranker(EXACT, other).digest != reranker.digest


def test_a_damaged_head_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "weights"
    shutil.copytree(SHIPPED, other)
    (other / HEAD_FILE).write_bytes(b"nothing of the kind")
    with pytest.raises(AlchemyError, match=HEAD_FILE) as refused:
        EmbeddedReranker(EXACT, other)
    assert refused.value.code is ErrorCode.CORRUPT


def test_none_is_configured_and_a_cross_encoder_needs_a_place() -> None:
    assert load_reranker(RerankerSettings(provider="none")) is None
    with pytest.raises(ValidationError, match="model_path"):
        RerankerSettings(provider="huggingface")


def _cross_encoder(directory: Path, outputs: int) -> RerankerSettings:
    """A tiny BERT classifier with the embedded model's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from alchemy.models.embedded import minilm_directory

    tokenizer = AutoTokenizer.from_pretrained(minilm_directory(), local_files_only=True)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=outputs,
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return RerankerSettings(provider="huggingface", model_path=str(directory))


def test_a_local_cross_encoder_scores_pairs(tmp_path: Path) -> None:
    loaded = load_reranker(_cross_encoder(tmp_path / "model", 1))
    assert loaded is not None
    scores = loaded.score([(QUESTION, passage) for passage in PASSAGES])
    assert scores.shape == (3,) and len(set(scores.tolist())) == 3
    assert loaded.score([]).shape == (0,)


def test_a_classifier_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(AlchemyError, match="3 outputs") as refused:
        load_reranker(_cross_encoder(tmp_path / "model", 3))
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    settings = RerankerSettings(provider="huggingface", model_path=str(tmp_path / "absent"))
    with pytest.raises(AlchemyError, match=r"reranker\.model_path") as refused:
        load_reranker(settings)
    assert refused.value.code is ErrorCode.MODEL_UNAVAILABLE
