"""The spaCy engine on pipelines that the tests build themselves: no model can be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alchemy.cleaning import ner
from alchemy.config import NerSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document

spacy: Any = pytest.importorskip("spacy", reason="spaCy is not installed: pip install spacy")


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows two people and a company by rules."""
    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Ada Lovelace"},
            {"label": "PERSON", "pattern": "Charles Babbage"},
            {"label": "ORG", "pattern": "Acme"},
        ]
    )
    directory = tmp_path_factory.mktemp("ruled")
    pipeline.to_disk(directory)
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A statistical recogniser, overfitted on its two sentences."""
    from spacy.training import Example  # pyright: ignore[reportMissingImports]

    spacy.util.fix_random_seed(0)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("ner").add_label("PERSON")
    sentences = [
        ("Ada Lovelace wrote to Charles Babbage.", [(0, 12, "PERSON"), (22, 37, "PERSON")]),
        ("The engine does not work.", []),
    ]
    examples = [
        Example.from_dict(pipeline.make_doc(text), {"entities": spans}) for text, spans in sentences
    ]
    pipeline.initialize(lambda: examples)
    for _ in range(40):
        pipeline.update(examples)
    directory = tmp_path_factory.mktemp("trained")
    pipeline.to_disk(directory)
    return directory


def document(text: str, title: str = "x", **extra: object) -> Document:
    return Document("jira:X-1", "jira", title, text, "u", "t", ("everyone",), extra=dict(extra))


@pytest.mark.parametrize("kind", ["ruled", "trained"])
def test_people_get_placeholders_and_nothing_else_does(
    kind: str, request: pytest.FixtureRequest
) -> None:
    settings = NerSettings(provider="spacy", model=str(request.getfixturevalue(kind)))
    ner.check(settings)
    before = document(
        "Ada Lovelace wrote to Charles Babbage. [EMAIL_1] ada  lovelace", to=["Charles Babbage"]
    )
    other = document("The engine does not work.")
    (after, counts), (same, none) = ner.redact_people([before, other], settings)
    assert after.text == "[PERSON_1] wrote to [PERSON_2]. [EMAIL_1] [PERSON_1]"
    assert after.extra == {"to": ["[PERSON_2]"]}
    assert counts == {"PERSON": 4}
    assert (same, none) == (other, {})


def test_a_text_of_many_windows_is_read_to_its_end(ruled: Path) -> None:
    settings = NerSettings(provider="spacy", model=str(ruled))
    [(after, _)] = ner.redact_people([document("the engine, " * 4000 + "Ada Lovelace")], settings)
    assert after.text.endswith("the engine, [PERSON_1]")


def test_a_model_in_the_home_directory_is_found(
    ruled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(ruled.parent))
    ner.check(NerSettings(provider="spacy", model=f"~/{ruled.name}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("PER",)}, "knows none of the labels PER; it knows ORG, PERSON"),
        ({"model": "xx_no_such_model"}, "cannot be loaded"),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_run_before_it_starts(
    ruled: Path, changes: dict[str, Any], message: str
) -> None:
    fields = {"provider": "spacy", "model": str(ruled), **changes}
    with pytest.raises(AlchemyError, match=message) as caught:
        ner.check(NerSettings.model_validate(fields))
    assert caught.value.code is ErrorCode.REDACTION_FAILED


def test_an_engine_that_fails_on_a_text_stops_the_run(
    ruled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = NerSettings(provider="spacy", model=str(ruled))

    def broken(*_: object, **__: object) -> None:
        raise ValueError("Ada Lovelace")

    ner.check(settings)
    monkeypatch.setattr(spacy.language.Language, "pipe", broken)
    with pytest.raises(AlchemyError, match="failed: ValueError") as caught:
        ner.redact_people([document("Ada Lovelace")], settings)
    assert "Lovelace" not in str(caught.value)
