"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.dates import with_quarters

LONGEST = 400
"""Characters."""
CUE = re.compile(
    r"\b(?:how (?:many|much|often|long)|number of|count|counts|average|avg|mean|median|total|sum"
    r"|percent(?:age)?|share|proportion|fraction|ratio|distribution|breakdown|most|fewest|least|highest"
    r"|lowest|largest|smallest|biggest|longest|shortest|slowest|fastest|quickest|oldest|newest|latest"
    r"|earliest|youngest|first|last|maximum|minimum|max|min|standard deviation|variance|percentile|top|per"
    r"|more|fewer|list|(?:are|is) there|busiest|quietest"
    r"|(?:which|what|all) [a-z ]{2,20}s (?:have|has|are|were|mention|with|contain))\b"
)
_NORMAL: tuple[tuple[str, str], ...] = (
    (r"\b(?:compared (?:to|with)|versus|vs\.?)(?= )", "than"),
    (r"\bhow (?:long|big|large|high|low|old) (?:is|are|was|were) the\b", "what is the"),
    (r"\b(?:do not|don't|does not|doesn't|did not|didn't) have\b", "have not"),
    (r"\bneither mentions?\b", "mention neither"),
    (r"\bmost active\b", "busiest"),
    (r"\bleast active\b", "quietest"),
)


def may_compute(question: str) -> bool:
    """Whether a question has any word that asks for a computation; cheap, and often wrong."""
    return len(question) <= LONGEST and CUE.search(question.lower()) is not None


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
