"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.cues import CUE
from alchemy.quant.dates import with_quarters

_ASIDE = re.compile(
    r"(?:hi|hello|hey|thanks?(?: you)?|please|pls|(?:give|tell|show) me (?:both|all|the) (?:numbers|values|figures)"
    r"|in (?:percent|%)|(?:and )?by how (?:much|many)|(?:what are|give me) the two (?:averages|numbers|values)|i'?m new(?: here)?"
    r"|(?:just )?curious|quick question|both included|inclusive)[ ,a-z]{0,12}"
)
_OPENING = re.compile(
    r"(?:hi|hello|hey|i am|i'm|we are|we're|for (?:my|our|a|the) (?:slides?|reports?|meeting))\b(?!.*\bhow many\b)"
)
_NORMAL: tuple[tuple[str, str], ...] = (
    (r"\b(?:compared (?:to|with)|versus|vs\.?)(?= )", "than"),
    (r"\bhow (?:long|big|large|high|low|old) (?:is|are|was|were) the\b", "what is the"),
    (r"\b(?:do not|don't|does not|doesn't|did not|didn't) have\b", "have not"),
    (r"\bwhat'?s\b", "what is"),
    (r"(?<!\S)(?:please|pls|plz|kindly)(?!\S)", " "),
    (r"(?<!\S)w/(?!\S)", "with"),
    (r"(?:,? |^)and how (?:many|often) [a-z ]+ (?:it|them|those|that)\b", " "),
    (r"\b(?:that|the) (?:maximum|minimum|total) of (?=\d)", ""),
    (r"\bsince the (?:beginning|start) of\b", "since"),
    (r"\bsince the (?:beginning|start) (?=\d)", "since "),
    (r"\bin percent\b", " "),
    (
        r"\bthan (?:issues|tickets|commits|those|the ones)(?: that)? (?:mention(?:s|ing)?|about|with) ",
        "than ",
    ),
    (r"\b(start|begin|end)(s|ing)? with the word (q#\d+|\w+)", r"\1\2 with word~\3"),
    (r"\bif so\b", " "),
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

    text = re.sub(r"\ba question mark\b", '"?"', question, flags=re.IGNORECASE)
    text = text.replace("’", "'").replace("“", '"').replace("”", '"')
    text = re.sub(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|`([^`]+)`", quote, text)
    # a sentence's end is a gap that no phrase goes across
    text = re.sub(r"[?!;]+|(?<=\w)\.(?=\s|$)| [-–—] |: ", " | ", text).lower()
    text = re.sub(r"\((?:both )?inclu[a-z]*\)|, both included", " ", text)
    text = " ".join(text.replace(",", " , ").split())
    text = re.sub(r"(\d) , (\d{3})\b", r"\1,\2", text)
    for pattern, plain in _NORMAL:
        text = " ".join(re.sub(pattern, plain, text).split())
    return with_quarters(_without_asides(text)), quoted


def _without_asides(text: str) -> str:
    """The sentences that ask for something; greetings and the like say nothing about what to count."""
    parts = [part.strip(" ,") for part in text.split("|")]
    asking = [part for part in parts if part and not _ASIDE.fullmatch(part)]
    if len(asking) > 1 and any(CUE.search(part) for part in asking):
        asking = [part for part in asking if not _OPENING.match(part)]
    return " | ".join(asking)
