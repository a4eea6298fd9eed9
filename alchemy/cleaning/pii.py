"""Redaction: personal data and credentials become numbered placeholders, fail-closed.

Kinds: EMAIL, IP, PHONE, SECRET, CARD (Luhn), NATIONAL_ID (US SSN; Chinese resident id with its
checksum). Versions, ports, hashes, dates, UUIDs, ordinary URLs, loopback addresses and netmasks
stay. The same value is the same placeholder (`[EMAIL_1]`) everywhere inside one document. When it
is not clear whether something is a secret, it is one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from alchemy.cleaning.pii_judges import KINDS, is_stand_in, judge, looks_secret
from alchemy.cleaning.pii_patterns import CANDIDATE, STRONG_KEYWORD
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, Quarantined, text_digest

__all__ = ["KINDS", "Numbering", "check", "redact", "redact_document", "redact_quarantined"]

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SWEEP_CHARS = range(6, 201)
_SWEPT = 256


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


def redact(text: str, numbering: Numbering, kinds: tuple[str, ...] = KINDS) -> str:
    """The text with every finding of `kinds` replaced. Applying it twice changes nothing."""
    folded = text if text.isascii() else text.translate(_FULL_WIDTH)
    pieces: list[str] = []
    done = position = 0
    while match := CANDIDATE.search(folded, position):
        span, resume = judge(match)
        if span is None or span[0] not in kinds:
            position = max(resume, match.start() + 1)
            continue
        kind, start, end = span
        pieces += (text[done:start], numbering.placeholder(kind, folded[start:end]))
        pieces.append("\n\f\n" * folded.count("\f", start, end))  # later pages keep their number
        done = position = end
    if not done:
        return text
    pieces.append(text[done:])
    return "".join(pieces)


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
        title = redact(document.title, numbering)
        text = redact(document.text, numbering)
        uri = redact(document.uri, numbering)
        extra = _redact_json(document.extra, numbering)
        if numbering.secrets:  # a password found once by its key is also wherever it stands alone

            def sweep(value: str) -> str:
                return _sweep(value, numbering)

            title, text, uri, extra = sweep(title), sweep(text), sweep(uri), _walk(extra, sweep)
        return (
            replace(
                document, id=_redact_id(document.id), title=title, text=text, uri=uri, extra=extra
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


def _redact_json(value: Any, numbering: Numbering) -> Any:
    """A JSON value with every string redacted; a string under a secret's key is a secret."""
    if isinstance(value, str):
        return redact(value, numbering)
    if isinstance(value, dict):
        return {
            redact(key, numbering): numbering.placeholder("SECRET", item)
            if isinstance(item, str) and STRONG_KEYWORD.search(key) and not is_stand_in(item)
            else _redact_json(item, numbering)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_json(item, numbering) for item in value]
    return value


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string value changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    return [_walk(item, change) for item in value] if isinstance(value, list) else value


def _redact_id(identifier: str) -> str:
    numbering = Numbering()
    redact(identifier, numbering, kinds=("EMAIL", "SECRET"))
    for (kind, value), _ in numbering.names.items():
        pattern = re.compile(re.escape(value), re.IGNORECASE)
        identifier = pattern.sub(f"{kind.lower()}-{text_digest(value)[:16]}", identifier)
    return identifier
