"""Redaction: personal data and credentials become numbered placeholders, fail-closed.

Kinds: EMAIL, IP, PHONE, SECRET, CARD (Luhn), NATIONAL_ID (US SSN; Chinese resident id with its
checksum). Versions, ports, hashes, dates, UUIDs, ordinary URLs, loopback addresses and netmasks
stay. The same value is the same placeholder (`[EMAIL_1]`) everywhere inside one document. When it
is not clear whether something is a secret, it is one.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alchemy.cleaning.pii_finders import Finder, Search, finders
from alchemy.cleaning.pii_judges import judge
from alchemy.cleaning.pii_looks import HARMLESS_KEYS, KINDS, NAMES_SECRET, is_stand_in, looks_secret
from alchemy.cleaning.pii_numbers import Span
from alchemy.cleaning.pii_patterns import STRONG_KEYWORD
from alchemy.cleaning.pii_tables import named_secrets
from alchemy.cleaning.pii_views import Joint, joint_rules, views
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, Quarantined, text_digest

__all__ = [
    "KINDS",
    "Numbering",
    "check",
    "redact",
    "redact_document",
    "redact_quarantined",
    "redact_together",
    "rewritten",
    "strings",
]

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SWEEP_CHARS = range(6, 201)
_SWEPT = 256
_LEAST_NUMBER = 10**9  # a card, a telephone


@dataclass
class Numbering:
    """The placeholders of one document: the same value gets the same number."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    secrets: dict[str, str] = field(default_factory=dict)

    def placeholder(self, kind: str, value: str) -> str:
        """The name of this value, and one more occurrence of its kind."""
        self.counts[kind] += 1
        if kind in ("PHONE", "CARD"):
            canonical = re.sub(r"\D", "", value)
        else:
            canonical = value if kind == "SECRET" else value.casefold()
        name = self.names.get((kind, canonical))
        if name is None:
            self.numbers[kind] += 1
            name = self.names[kind, canonical] = f"[{kind}_{self.numbers[kind]}]"
            if (
                kind == "SECRET"
                and len(self.secrets) < _SWEPT
                and len(value) in _SWEEP_CHARS
                and looks_secret(value)
            ):
                self.secrets[value] = name
        return name


@dataclass(frozen=True)
class _Plan:
    """What is worth trying on a text and on every part of it."""

    finders: list[Finder]
    joints: list[Joint]

    @classmethod
    def of(cls, text: str) -> _Plan:
        folded = _fold(text)
        return cls(finders(folded), joint_rules(folded))

    def __bool__(self) -> bool:
        return bool(self.finders or self.joints)


def redact(text: str, numbering: Numbering, kinds: tuple[str, ...] = KINDS) -> str:
    """The text with every finding of `kinds` replaced. Applying it twice changes nothing."""
    return _redact(text, numbering, _Plan.of(text), kinds)


def redact_together(texts: Sequence[str]) -> list[str]:
    """The texts of one record or conversation, redacted with one numbering for all of them."""
    numbering = Numbering()
    return [redact(text, numbering) for text in texts]


def _redact(text: str, numbering: Numbering, plan: _Plan, kinds: tuple[str, ...] = KINDS) -> str:
    if not plan:
        return text
    folded = _fold(text)
    pieces: list[str] = []
    done = 0
    for kind, start, end in _findings(folded, plan, kinds):
        pieces += (text[done:start], numbering.placeholder(kind, folded[start:end]))
        pieces.append("\n\f\n" * folded.count("\f", start, end))  # later pages keep their number
        done = end
    if not done:
        return text
    pieces.append(text[done:])
    return "".join(pieces)


def _fold(text: str) -> str:
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def _findings(text: str, plan: _Plan, kinds: tuple[str, ...]) -> list[Span]:
    """What must go, in order and apart from each other."""
    found = [span for span, _ in _search(text, plan.finders)]
    for view in views(text, plan.joints):
        for (kind, start, end), begin in _search(view.text, finders(view.text)):
            if view.crosses(begin, end):
                found.append((kind, *view.original(start, end)))
    if any(finder.name == "assign" for finder in plan.finders):
        found += named_secrets(text)
    found = sorted((span for span in found if span[0] in kinds), key=lambda span: span[1:])
    apart: list[Span] = []
    for kind, start, end in found:
        if apart and start < apart[-1][2]:  # what overlaps goes as one
            first, begin, stop = apart[-1]
            apart[-1] = (first, begin, max(stop, end))
        else:
            apart.append((kind, start, end))
    return apart


def _search(text: str, tried: list[Finder]) -> Iterator[tuple[Span, int]]:
    """Findings in order, apart from each other, with the place where each one's candidate begins.

    Of findings that overlap the one that starts first wins, of those that start together the one
    whose finder stands first; the others search on behind it.
    """
    searches = [finder.search(text) for finder in tried]
    heap: list[tuple[int, int, Span, int]] = []
    for rank, finder in enumerate(tried):
        if entry := _next(finder.name, searches[rank], rank, 0):
            heap.append(entry)
    heapq.heapify(heap)
    done = 0
    while heap:
        start, rank, span, begin = heap[0]
        if start >= done:
            yield span, begin
            done = span[2]
        entry = _next(tried[rank].name, searches[rank], rank, done)
        if entry:
            heapq.heapreplace(heap, entry)
        else:
            heapq.heappop(heap)


def _next(name: str, search: Search, rank: int, position: int) -> tuple[int, int, Span, int] | None:
    while match := search(position):
        span, resume = judge(name, match)
        if span is not None:
            return span[1], rank, span, match.start()
        position = max(resume, match.start() + 1)
    return None


def redact_document(document: Document) -> tuple[Document, Counter[str]]:
    """The document without personal data and credentials, and how many were found by kind.

    Title, text, uri and the strings of `extra` share their numbering. In the id, which other
    records refer to, only e-mail addresses and credentials are replaced, by a digest that is
    the same in every run.

    Raises:
        AlchemyError: REDACTION_FAILED; the document must then not be used at all.
    """
    try:
        numbering = Numbering()
        whole = (document.title, document.text, document.uri, document.id, *strings(document.extra))
        plan = _Plan.of("\n".join(whole))
        if not plan:
            return document, numbering.counts
        title = _redact(document.title, numbering, plan)
        text = _redact(document.text, numbering, plan)
        uri = _redact(document.uri, numbering, plan)
        extra = _redact_json(document.extra, numbering, plan)
        if numbering.secrets:  # a password found once by its key is also wherever it stands alone

            def sweep(value: str) -> str:
                return _sweep(value, numbering)

            title, text, uri, extra = sweep(title), sweep(text), sweep(uri), rewritten(extra, sweep)
        return (
            replace(
                document,
                id=_redact_id(document.id, plan),
                title=title,
                text=text,
                uri=uri,
                extra=extra,
            ),
            numbering.counts,
        )
    except Exception as error:  # noqa: BLE001 (nothing may pass, and nothing may be shown)
        # neither the document's id nor the cause's text: both could hold what was to be hidden
        raise AlchemyError(
            ErrorCode.REDACTION_FAILED,
            f"redaction of a {document.source} document failed: {type(error).__name__}",
            "Nothing of this run is used; report the document's source to the maintainers.",
        ) from None


def redact_quarantined(record: Quarantined) -> Quarantined:
    """A quarantine line whose place and reason hold no personal data or credentials."""
    try:
        numbering = Numbering()
        return Quarantined(
            record.source,
            *(redact(value, numbering) for value in (record.uri, record.position, record.reason)),
        )
    except Exception as error:  # noqa: BLE001 (nothing may pass, and nothing may be shown)
        raise AlchemyError(
            ErrorCode.REDACTION_FAILED,
            f"redaction of a {record.source} quarantine line failed: {type(error).__name__}",
        ) from None


def check() -> None:
    """Prove before a run that redaction works here; REDACTION_FAILED when it does not."""
    probe = "mail ada@example.org from 10.1.2.3, password=hunter22, card 4111 1111 1111 1111"
    expected = "mail [EMAIL_1] from [IP_1], password=[SECRET_1], card [CARD_1]"
    if redact(probe, Numbering()) != expected:
        raise AlchemyError(
            ErrorCode.REDACTION_FAILED,
            "the redactor does not find planted data",
            "Reinstall data-alchemy.",
        )


def _sweep(text: str, numbering: Numbering) -> str:
    for value, name in numbering.secrets.items():
        found = text.count(value)
        if found:
            numbering.counts["SECRET"] += found
            text = text.replace(value, name)
    return text


def strings(value: Any) -> Iterator[str]:
    """Every key, string and long number inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and abs(value) >= _LEAST_NUMBER:
        yield str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def _redact_json(value: Any, numbering: Numbering, plan: _Plan, secret: bool = False) -> Any:
    """A JSON value with every string redacted; what is under a secret's key is a secret.

    Args:
        secret: the key above says so.
    """
    if isinstance(value, str):
        hidden = secret and bool(value) and not is_stand_in(value)
        return numbering.placeholder("SECRET", value) if hidden else _redact(value, numbering, plan)
    if secret and isinstance(value, int | float) and not isinstance(value, bool):
        return numbering.placeholder("SECRET", str(value))
    if isinstance(value, int) and abs(value) >= _LEAST_NUMBER:
        shown = _redact(str(value), numbering, plan)
        return value if shown == str(value) else shown
    if isinstance(value, dict):
        named = str(value.get("name", value.get("key", "")))  # {"name": "DB_PASSWORD", "value": …}
        return {
            _redact(key, numbering, plan): _redact_json(
                item,
                numbering,
                plan,
                _names_secret(key, item)
                or (key == "value" and _names_secret(named, item))
                or (secret and key.casefold() not in HARMLESS_KEYS),
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_json(item, numbering, plan, secret) for item in value]
    return value


def _names_secret(key: str, item: Any) -> bool:
    """Whether a key's value is a secret; a weak keyword needs a value that looks like one."""
    if STRONG_KEYWORD.search(key):
        return True
    if not NAMES_SECRET.search(key) or isinstance(item, int | float):
        return False
    return not isinstance(item, str) or looks_secret(item)


def rewritten(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string value changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: rewritten(item, change) for key, item in value.items()}
    return [rewritten(item, change) for item in value] if isinstance(value, list) else value


def _redact_id(identifier: str, plan: _Plan) -> str:
    numbering = Numbering()
    _redact(identifier, numbering, plan, kinds=("EMAIL", "SECRET"))
    for (kind, value), _ in numbering.names.items():
        pattern = re.compile(re.escape(value), re.IGNORECASE)
        identifier = pattern.sub(f"{kind.lower()}-{text_digest(value)[:16]}", identifier)
    return identifier
