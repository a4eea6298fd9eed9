"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.dates import with_quarters
from alchemy.quant.vocabulary import COURTESY

_NORMAL: tuple[tuple[str, str], ...] = (
    (r"\b(?:compared (?:to|with)|versus|vs\.?)(?= )", "than"),
    (r"\bhow (?:long|big|large|high|low|old) (?:is|are|was|were) the\b", "what is the"),
    (r"\b(?:do not|don't|does not|doesn't|did not|didn't) have\b", "have not"),
    (r"\bwhat'?s\b", "what is"),
    (r"(?<!\S)(?:please|pls|plz|kindly)(?!\S)", " "),
    (r"\((?:both )?inclusive\)", " "),
    (r"(?<!\S)w/(?!\S)", "with"),
    (r"\bsince the (?:beginning|start) of\b", "since"),
    (r"\bsince the (?:beginning|start) (?=\d)", "since "),
    (
        r"\bthan (?:issues|tickets|commits|those|the ones)(?: that)? (?:mention(?:s|ing)?|about|with) ",
        "than ",
    ),
    (r"\b(start|begin|end)(s|ing)? with the word (q#\d+|\w+)", r"\1\2 with word~\3"),
    (r"\b(?:does|do|did) any (?=\w+ (?:mention|contain|have|refer))", "how many "),
    (r"\b(?:shows?|comes?|turns?) up\b|\bappears?\b|\boccurs?\b(?= in)", "is mentioned"),
    (r"\bin (title|summary|description|text)\b", r"in the \1"),
    (r"\bthe (?:keys?|ids?|titles?|names?) of (?=all|the|every)", ""),
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
    # a sentence's end is a gap that no phrase goes across
    text = re.sub(r"[?!;]+|(?<=\w)\.(?=\s|$)| [-–—] |: ", " | ", text).lower()
    text = " ".join(text.replace(",", " , ").split())
    text = re.sub(r"(\d) , (\d{3})\b", r"\1,\2", text)
    for pattern, plain in _NORMAL:
        text = " ".join(re.sub(pattern, plain, text).split())
    sentences = map(str.strip, text.split("|"))
    return with_quarters(" | ".join(part for part in sentences if not _is_aside(part))), quoted


def _is_aside(sentence: str) -> bool:
    """Whether a sentence has only words that ask for nothing."""
    asks = re.search(r"(?<!by )\bhow (?:many|much|often)\b", sentence)
    return asks is None and COURTESY.issuperset(word.strip("(),") for word in sentence.split())
