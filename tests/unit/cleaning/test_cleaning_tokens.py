from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.text import normalise
from alchemy.cleaning.tokens import (
    MIN_BUDGET,
    chunk_budget,
    model_limit,
    ruler,
    upper_bound,
    wordpiece,
)
from alchemy.config import ModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document

patient = settings(deadline=None, max_examples=60)  # a busy machine is no failure

CORPUS = [
    "The stream module deploys and reads from the server, then writes 1.2.3.RELEASE to https://x.io/a.",
    "Why does it fail? Because the key=value pair of foo::bar is wrong. naïve 模块 部署。配置文件！数据流，",
    "def main(arg): return [x ** 2 for x in range(10)]  # 한국어 カタカナ 👩‍💻 [EMAIL_1]",
] * 4


def directory(path: Path, kind: str, limit: int = 128) -> Path:
    """A tokenizer of its own vocabulary, trained here, with the files a model directory has."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.implementations import BertWordPieceTokenizer, SentencePieceUnigramTokenizer

    made = {
        "bpe": ByteLevelBPETokenizer,
        "wordpiece": BertWordPieceTokenizer,
        "unigram": SentencePieceUnigramTokenizer,
    }[kind]()
    extra: dict[str, Any] = {"unk_token": "<unk>"} if kind == "unigram" else {}
    special = ["<unk>"] if extra else []
    made.train_from_iterator(
        CORPUS, vocab_size=400, show_progress=False, special_tokens=special, **extra
    ) if extra else made.train_from_iterator(CORPUS, vocab_size=400, show_progress=False)
    made.enable_truncation(8)
    path.mkdir(exist_ok=True)
    made.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": limit}))
    return path


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "unigram"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ModelSettings:
    path = directory(tmp_path_factory.mktemp(request.param), request.param)
    return ModelSettings(provider="huggingface", model_path=str(path))


WORDS = st.sampled_from([word for line in CORPUS for word in line.split()])
TEXTS = st.lists(
    st.one_of(
        st.lists(WORDS, min_size=1, max_size=30).map(" ".join),
        st.lists(WORDS, min_size=1, max_size=9).map(lambda w: "```\n" + "\n".join(w) + "\n```"),
        st.text(max_size=40),
    ),
    max_size=6,
).map(lambda blocks: normalise("\n\n".join(blocks)))


def document(text: str) -> Document:
    return Document("documents:g", "documents", "Guide", text, "u", "t", ("everyone",))


def own_count(model: ModelSettings, text: str) -> int:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model.model_path) / "tokenizer.json"))
    tokenizer.no_truncation()
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


@patient
@given(text=TEXTS, budget=st.integers(24, 64))
@example(
    text="The The The The The The The key=value range(10)] fail? The\n\n0000\n\n"
    "The The The The The stream",
    budget=24,
)
def test_no_chunk_is_over_budget_under_the_models_own_tokenizer(
    model: ModelSettings, text: str, budget: int
) -> None:
    for chunk in chunk_document(document(text), ruler(model), budget):
        # alone, a chunk may get one token more: the mark of a beginning word
        if own_count(model, chunk.text) > budget + 1:
            assert len(chunk.text.split()) == 1, chunk.text


@patient
@given(text=TEXTS)
def test_token_starts_ascend_inside_the_text(model: ModelSettings, text: str) -> None:
    starts = ruler(model)(text)
    assert starts == sorted(starts)
    assert all(0 <= start < len(text) for start in starts)


@patient
@given(text=st.lists(WORDS, max_size=60).map(" ".join))
def test_the_bound_for_remote_models_is_not_below_a_real_vocabulary(text: str) -> None:
    latin = "".join(char for char in text if char < "\u0250")
    assert len(upper_bound(latin)) >= len(wordpiece()(latin))


def test_the_embedded_model_is_measured_by_its_own_vocabulary() -> None:
    assert ruler(ModelSettings()) is wordpiece()


def test_a_tokenizer_is_loaded_once(model: ModelSettings) -> None:
    assert ruler(model) is ruler(model.model_copy())


@patient
@given(text=TEXTS, title=st.lists(WORDS, max_size=8).map(" ".join), heading=WORDS)
def test_a_chunk_with_its_head_is_never_longer_than_the_model_reads(
    model: ModelSettings, text: str, title: str, heading: str
) -> None:
    text = normalise(f"# {heading} one\n\n{text}\n\n## {heading}\n\n{text}")
    one = replace(document(text), title=title)
    budget = chunk_budget(one, model, 180)
    for chunk in chunk_document(one, ruler(model), budget):
        if len(chunk.text.split()) > 1 and budget > MIN_BUDGET:
            assert own_count(model, chunk.embedding_text()) + 2 <= model_limit(model)


def test_a_budget_is_what_the_settings_say_where_the_model_reads_enough(tmp_path: Path) -> None:
    small = ModelSettings(
        provider="huggingface", model_path=str(directory(tmp_path / "s", "bpe", 128))
    )
    one = document("text")
    assert 100 < chunk_budget(one, small, 180) < 128
    assert chunk_budget(one, small, 50) == 50
    assert chunk_budget(one, small.model_copy(update={"max_length": 52}), 50) < 50
    assert chunk_budget(one, ModelSettings(), 180) == 180
    assert 200 < chunk_budget(one, ModelSettings(), 400) < 256
    assert chunk_budget(replace(one, title="word " * 300), ModelSettings(), 180) == MIN_BUDGET
    remote = ModelSettings(provider="openai", base_url="http://x", model_id="m")
    assert chunk_budget(one, remote, 900) == 900


def test_the_smallest_limit_a_model_names_counts(tmp_path: Path) -> None:
    path = directory(tmp_path / "m", "bpe", 512)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 100}')
    (path / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert model_limit(ModelSettings(provider="huggingface", model_path=str(path))) == 100


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlchemyError) as caught:
        ruler(ModelSettings(provider="huggingface", model_path=str(tmp_path)))
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("", 0),
        ("internationalisation", 7),
        ("Server", 2),
        ("数据流", 9),
        ("1234", 4),
        ("a, b!", 4),
        ("👩", 3),
        ("JIRA", 4),
        ("da39a3ee", 8),
    ],
)
def test_the_bound_for_remote_models(text: str, least: int) -> None:
    assert len(upper_bound(text)) == least
