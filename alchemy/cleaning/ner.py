"""Names of people: a named-entity engine finds them where `cleaning.ner` configures one.

It reads text that the rules of `pii` have already redacted, a batch of documents at a time. It is
fail-closed like the rules: an engine that is configured but cannot be loaded stops the run before it
starts (`check`), one that fails on a text stops it then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alchemy.cleaning.pii import Numbering, rewritten, strings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, text_digest

if TYPE_CHECKING:
    from alchemy.config import NerSettings

PERSON = "PERSON"

_WINDOW_CHARS = 20_000
"""What an engine reads at once; windows end at line ends where they can."""
_PLACEHOLDER = re.compile(r"\[[A-Z_]+_\d+\]")
_EDGES = " \t\n.,;:!?()[]{}\"'`*_<>|"


class Engine(Protocol):
    """What finds people in texts."""

    def people(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Spans of names of people in each text, in any order."""
        ...


def engine(settings: NerSettings) -> Engine | None:
    """The configured engine, loaded once per process; None when none is configured.

    Raises:
        AlchemyError: DEPENDENCY_MISSING without the library, REDACTION_FAILED when the model cannot
            be loaded or knows none of the labels.
    """
    return None if settings.provider == "none" else _load(settings.model_dump_json())


@lru_cache(maxsize=2)
def _load(settings_json: str) -> Engine:
    from alchemy.config import NerSettings

    settings = NerSettings.model_validate_json(settings_json)
    return _Spacy(settings) if settings.provider == "spacy" else _HuggingFace(settings)


def check(settings: NerSettings) -> None:
    """Prove before a run that the configured engine loads and reads a text.

    Raises:
        AlchemyError: as `engine`, or REDACTION_FAILED.
    """
    if found := engine(settings):
        _people(found, ["Ada Lovelace wrote to Charles Babbage."])


def redact_people(
    documents: Sequence[Document], settings: NerSettings
) -> list[tuple[Document, Counter[str]]]:
    """The documents with `[PERSON_1]` for each name, the same for all of its occurrences.

    Title, text and the strings of `extra` share their numbering. A document in a language the engine
    is not for passes unchanged; one whose language is unknown does not.

    Raises:
        AlchemyError: as `engine`, or REDACTION_FAILED; none of the documents must then be used.
    """
    found = engine(settings)
    read = [found is not None and _is_for(document, settings) for document in documents]
    parts = [
        (document.title, document.text, *strings(document.extra)) if wanted else ()
        for document, wanted in zip(documents, read, strict=True)
    ]
    windows = [list(_windows(part)) for texts in parts for part in texts]
    spans = iter(_people(found, [text for part in windows for text in part]) if found else [])
    names = iter([_names(part, islice(spans, len(part))) for part in windows])
    return [
        _replaced(document, [name for part in islice(names, len(texts)) for name in part])
        for document, texts in zip(documents, parts, strict=True)
    ]


def _is_for(document: Document, settings: NerSettings) -> bool:
    language = document.extra.get("language", "und")
    return not settings.languages or language in (*settings.languages, "und")


def _windows(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = min(start + _WINDOW_CHARS, len(text))
        if end < len(text):
            cut = text.rfind("\n", start + 1, end) + 1 or text.rfind(" ", start + 1, end) + 1
            end = cut or end
        yield text[start:end]
        start = end


def _people(found: Engine, texts: list[str]) -> list[list[tuple[int, int]]]:
    try:
        return found.people(texts)
    except AlchemyError:
        raise
    except Exception as error:  # noqa: BLE001 (its text could hold what was to be hidden)
        raise AlchemyError(
            ErrorCode.REDACTION_FAILED,
            f"the named-entity engine failed: {type(error).__name__}",
            "Nothing of this run is used; correct cleaning.ner in models.yaml or set provider: none.",
        ) from None


def _names(windows: list[str], spans: Iterator[list[tuple[int, int]]]) -> list[str]:
    """Names in order of their occurrence, without placeholders and punctuation at their edges."""
    names: list[str] = []
    for text, found in zip(windows, spans, strict=True):
        for start, end in sorted(found):
            for piece in _PLACEHOLDER.split(text[start:end]):
                name = piece.strip(_EDGES)
                if len(name) > 1 and any(map(str.isalpha, name)):
                    names.append(name)
    return names


def _replaced(document: Document, names: list[str]) -> tuple[Document, Counter[str]]:
    numbering = Numbering()
    if not names:
        return document, numbering.counts
    placeholders: dict[str, str] = {}
    for name in names:
        placeholders.setdefault(_canonical(name), numbering.placeholder(PERSON, _canonical(name)))
    numbering.counts.clear()
    # the longest first, so that a first name does not split a full one; placeholders stay whole
    spellings = sorted({*names}, key=lambda name: (-len(name), name))
    alternatives = "|".join(r"\s+".join(map(re.escape, name.split())) for name in spellings)
    pattern = re.compile(rf"{_PLACEHOLDER.pattern}|(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)

    def put(match: re.Match[str]) -> str:
        name = placeholders.get(_canonical(match.group()))
        if name is None:
            return match.group()
        numbering.counts[PERSON] += 1
        return name

    def change(text: str) -> str:
        return pattern.sub(put, text)

    title, text = change(document.title), change(document.text)
    return (
        replace(
            document,
            title=title,
            text=text,
            extra=rewritten(document.extra, change),
            content_hash=text_digest(title, text) if document.content_hash else "",
        ),
        numbering.counts,
    )


def _canonical(name: str) -> str:
    return " ".join(name.casefold().split())


class _Spacy:
    def __init__(self, settings: NerSettings) -> None:
        try:
            import spacy  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise AlchemyError(
                ErrorCode.DEPENDENCY_MISSING,
                "cleaning.ner.provider is spacy, and spacy is not installed",
                "pip install spacy and the model, or set provider: none.",
            ) from error
        self._labels = frozenset(settings.labels)
        try:
            directory = Path(settings.model).expanduser()
            self._model: Any = spacy.load(
                directory if directory.is_dir() else settings.model,
                exclude=["parser", "lemmatizer", "textcat"],
            )
            known = {label for _, labels in self._model.pipe_labels.items() for label in labels}
        except Exception as error:
            raise _unloadable(settings, error) from error
        _require_labels(settings, known)

    def people(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [
            [(e.start_char, e.end_char) for e in doc.ents if e.label_ in self._labels]
            for doc in self._model.pipe(texts)
        ]


class _HuggingFace:
    def __init__(self, settings: NerSettings) -> None:
        try:
            from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

            from alchemy.models.devices import pick_device
            from alchemy.models.weights import model_directory
        except ImportError as error:
            raise AlchemyError(
                ErrorCode.DEPENDENCY_MISSING,
                "cleaning.ner.provider is huggingface, and transformers is not installed",
                "pip install 'data-alchemy[server]', or set provider: none.",
            ) from error
        self._labels = frozenset(settings.labels)
        self._least = settings.min_score
        try:
            directory = model_directory(_as_model(settings), "cleaning.ner")
            tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model: Any = AutoModelForTokenClassification.from_pretrained(
                directory, local_files_only=True, use_safetensors=True
            )
            limit = min(
                tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512)
            )
            tokenizer.model_max_length = limit
            # windows overlap, so that a name on an edge is whole in one of them
            self._stride = max(1, limit // 4)
            device = pick_device(settings.device)
            self._pipeline: Any = pipeline(
                "token-classification", model=model, tokenizer=tokenizer, device=device
            )
            known = {label.removeprefix("B-").removeprefix("I-") for label in model.config.label2id}
        except Exception as error:
            raise _unloadable(settings, error) from error
        _require_labels(settings, known)

    def people(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        found = (
            self._pipeline(text, aggregation_strategy="simple", stride=self._stride)
            if text.strip()
            else []
            for text in texts
        )
        return [
            [
                (entity["start"], entity["end"])
                for entity in entities
                if entity["entity_group"] in self._labels and entity["score"] >= self._least
            ]
            for entities in found
        ]


def _as_model(settings: NerSettings) -> Any:
    from alchemy.config import ModelSettings

    place = "model_path" if Path(settings.model).expanduser().is_dir() else "model_id"
    return ModelSettings.model_validate({"provider": "huggingface", place: settings.model})


def _unloadable(settings: NerSettings, error: Exception) -> AlchemyError:
    return AlchemyError(
        ErrorCode.REDACTION_FAILED,
        f"the named-entity model {settings.model!r} cannot be loaded ({type(error).__name__})",
        "Correct cleaning.ner.model in models.yaml, or set provider: none.",
    )


def _require_labels(settings: NerSettings, known: set[str]) -> None:
    if not known & set(settings.labels):
        raise AlchemyError(
            ErrorCode.REDACTION_FAILED,
            f"the named-entity model {settings.model!r} knows none of the labels "
            f"{', '.join(settings.labels)}; it knows {', '.join(sorted(known))}",
            "Correct cleaning.ner.labels in models.yaml.",
        )
