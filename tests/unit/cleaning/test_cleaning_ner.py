from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from alchemy.cleaning import ner
from alchemy.config import NerSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, text_digest

NAMES = ("ada", "lovelace", "babbage", "charles")
OTHERS = ("wrote", "to", "and", "the", "engine", "met", "[", "]", "_", "1", "email", ".", ",", "x")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token classifier without layers: a word's embedding alone decides, so it knows `NAMES`."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *NAMES, *OTHERS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=32,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=2, num_hidden_layers=0, num_attention_heads=1,
        intermediate_size=4, max_position_embeddings=32, num_labels=3,
        id2label={0: "O", 1: "B-PER", 2: "I-PER"}, label2id={"O": 0, "B-PER": 1, "I-PER": 2},
    )  # fmt: skip
    network = BertForTokenClassification(config)
    with torch.no_grad():
        embeddings = network.bert.embeddings
        for table in (embeddings.position_embeddings, embeddings.token_type_embeddings):
            table.weight.zero_()
        embeddings.word_embeddings.weight[:] = torch.tensor([-1.0, 1.0])
        for name in NAMES:
            embeddings.word_embeddings.weight[vocabulary[name]] = torch.tensor([1.0, -1.0])
        network.classifier.weight[:] = torch.tensor([[-5.0, 5.0], [-9.0, -9.0], [5.0, -5.0]])
        network.classifier.bias.zero_()
    directory = tmp_path_factory.mktemp("ner")
    network.save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


def settings(directory: Path, **changes: object) -> NerSettings:
    fields = {
        "provider": "huggingface",
        "model": str(directory),
        "labels": ("PER",),
        "device": "cpu",
    }
    return NerSettings.model_validate({**fields, **changes})


def document(text: str, title: str = "x", **extra: object) -> Document:
    return Document(
        "jira:X-1", "jira", title, text, "u", "t", ("everyone",), extra=dict(extra),
        content_hash=text_digest(title, text),
    )  # fmt: skip


def test_a_name_has_one_placeholder_in_title_text_and_extra(model: Path) -> None:
    before = document(
        "Ada Lovelace wrote to Babbage. ada  lovelace met Babbage.", "the engine and Babbage", to=["Babbage"]
    )  # fmt: skip
    [(after, counts)] = ner.redact_people([before], settings(model))
    assert after.title == "the engine and [PERSON_1]"
    assert after.text == "[PERSON_2] wrote to [PERSON_1]. [PERSON_2] met [PERSON_1]."
    assert after.extra == {"to": ["[PERSON_1]"]}
    assert after.content_hash == text_digest(after.title, after.text)
    assert counts == {"PERSON": 6}


def test_names_are_numbered_anew_in_each_document(model: Path) -> None:
    batch = [document("Ada wrote"), document("the engine"), document("Babbage wrote")]
    texts = [after.text for after, _ in ner.redact_people(batch, settings(model))]
    assert texts == ["[PERSON_1] wrote", "the engine", "[PERSON_1] wrote"]


def test_a_name_beyond_the_models_length_is_found(model: Path) -> None:
    [(after, _)] = ner.redact_people([document("the engine, " * 200 + "Ada met")], settings(model))
    assert after.text.endswith("[PERSON_1] met")


def test_placeholders_of_the_rules_stay_whole(model: Path) -> None:
    [(after, _)] = ner.redact_people([document("Ada [EMAIL_1] Lovelace")], settings(model))
    assert "[EMAIL_1]" in after.text
    assert "Ada" not in after.text and "Lovelace" not in after.text


def test_only_documents_in_its_languages_are_read(model: Path) -> None:
    batch = [document("Ada", language="de"), document("Ada", language="und")]
    texts = [a.text for a, _ in ner.redact_people(batch, settings(model, languages=("en",)))]
    assert texts == ["Ada", "[PERSON_1]"]


def test_a_score_below_the_limit_does_not_count(model: Path) -> None:
    [(after, counts)] = ner.redact_people([document("Ada")], settings(model, min_score=1.0))
    assert after.text == "Ada" and not counts


def test_without_an_engine_nothing_changes() -> None:
    before = document("Ada Lovelace")
    ner.check(NerSettings())
    assert ner.redact_people([before], NerSettings()) == [(before, {})]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "/nowhere/model"}, ErrorCode.REDACTION_FAILED),
        ({"labels": ("PERSON",)}, ErrorCode.REDACTION_FAILED),
        ({"provider": "spacy", "model": "en_core_web_sm"}, ErrorCode.DEPENDENCY_MISSING),
    ],
)
def test_an_engine_that_cannot_be_used_stops_the_run_before_it_starts(
    model: Path, changes: dict[str, object], code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(AlchemyError) as caught:
        ner.check(settings(model, **changes))
    assert caught.value.code is code


def test_an_engine_with_broken_weights_stops_the_run(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(AlchemyError) as caught:
        ner.check(settings(tmp_path))
    assert caught.value.code is ErrorCode.REDACTION_FAILED


def test_random_weights_never_lose_text_around_names(tmp_path: Path, model: Path) -> None:
    import torch
    from transformers import BertForTokenClassification

    torch.manual_seed(3)
    network = BertForTokenClassification.from_pretrained(model)
    network.classifier.weight.data.normal_()
    network.bert.embeddings.word_embeddings.weight.data.normal_()
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    network.save_pretrained(tmp_path)
    before = document("Ada wrote to the engine, 1 x 1 and [EMAIL_1] . the end")
    [(after, _)] = ner.redact_people([before], settings(tmp_path, min_score=0))
    assert after.text.count("[EMAIL_1]") == 1
    json.dumps(after.to_dict())


def test_a_provider_needs_a_model() -> None:
    with pytest.raises(ValueError, match="needs model"):
        NerSettings(provider="spacy")
