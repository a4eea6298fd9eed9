"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.dates import with_quarters

_NORMAL: tuple[tuple[str, str], ...] = (
    (r"\b(?:compared (?:to|with)|versus|vs\.?)(?= )", "than"),
    (r"\bhow (?:long|big|large|high|low|old) (?:is|are|was|were) the\b", "what is the"),
    (r"\b(?:do not|don't|does not|doesn't|did not|didn't) have\b", "have not"),
    (r"\bwhat's\b", "what is"),
    (r"(?<!\S)w/o(?!\S)", "without"),
    (r"\b(?:i'd|i would) (?:like|love) to (?:know|see)\b|\bi (?:want|need) to know\b", "tell"),
    (r"\b(?:can|could|would) you (?:please )?(?:tell|show|give|count)\b", "tell"),
    (r"\bover all\b", "of all"),
    (r"\b(longer|shorter) (descriptions?) than\b", r"\2 \1 than"),
    (r"\bneither mentions?\b", "mention neither"),
    (r"\bmost active\b", "busiest"),
    (r"\bleast active\b", "quietest"),
)


def normalised(question: str) -> tuple[str, list[str]]:
    """Lower case, punctuation apart, and what stood in quotation marks."""
    quoted: list[str] = []

    def quote(match: re.Match[str]) -> str:
        quoted.append(next(g for g in match.groups() if g))
        return f" q#{len(quoted) - 1} "

    text = question.replace("’", "'").replace("“", '"').replace("”", '"')
    text = re.sub(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|`([^`]+)`", quote, text)
    text = re.sub(r"[?!]+|(?<=\w)\.(?=\s|$)", " ", text).lower()
    text = " ".join(text.replace(",", " , ").replace(":", " : ").split())
    text = re.sub(r"(\d) , (\d{3})\b", r"\1,\2", text)
    for pattern, plain in _NORMAL:
        text = re.sub(pattern, plain, text)
    return with_quarters(text), quoted
