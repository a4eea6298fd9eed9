"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.dates import with_quarters
from alchemy.quant.rewrites import REWRITES, TOLD
from alchemy.quant.vocabulary import COURTESY, HIGHEST, LOWEST

_MEASURED = re.compile(
    rf"\b(?:{HIGHEST}|{LOWEST}|average|mean|median|total|sum|percent(?:age)?|share|common|busiest|quietest)\b"
)
_COUNTED = re.compile(r"\bhow many\b|\bnumber of\b")
_FIGURES = r"(?:counts?|numbers?|figures?|values?|keys?|ids?|titles?|names?|dates?)"
_ASIDE = re.compile(
    r"(?:both |that |the )?(?:ends?|bounds?|days?|months?|years?)? ?(?:is |are )?(?:included|inclusive)"
    rf"|(?:one |a |the )?{_FIGURES}(?: (?:for |in |per )?(?:each|every)(?: (?:month|year|week|day|quarter))?)?"
    r"|(?:the )?(?:most|least) (?:frequent|common|used|often) first|(?:highest|lowest|newest|oldest) first"
    rf"|(?:please )?(?:give|show|list|tell|name)(?: me)?(?: the| both| all| their| two)* {_FIGURES}"
    rf"|i'd (?:like|love) (?:the |both |all )*{_FIGURES}|what (?:day|date|year|month) (?:was|is) (?:that|it)"
    r"|(?:and )?if so ,? ?how many(?: of them)?|i was (?:just )?wondering|(?:just )?curious|out of curiosity|counting each (?:\w+ )?once"
    r"|(?:that )?(?:mention|mentions|mentioning) (?:it|them|(?:both|either|all)(?: of (?:the |them)?)?(?:words|terms)?)"
    r"|title or (?:body|text|description)|in percent|the (?:exact )?words?|one or both(?: of them)?|either(?: one| of them)?|just an? title|please"
)


def normalised(question: str) -> tuple[str, list[str]]:
    """Lower case, punctuation apart, and what stood in quotation marks."""
    quoted: list[str] = []

    def quote(match: re.Match[str]) -> str:
        quoted.append(next(g for g in match.groups() if g))
        return f" q#{len(quoted) - 1} "

    text = question.replace("’", "'").replace("“", '"').replace("”", '"')
    text = re.sub(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|`([^`]+)`", quote, text)
    text = re.sub(r"\(([^()]*)\)", r" ; \1 ; ", text)
    # a sentence's end is a gap that no phrase goes across
    text = re.sub(r"[?!;]+|(?<=\w)\.(?=\s|$)| [-–—] |: ", " | ", text).lower()
    text = " ".join(text.replace(",", " , ").split())
    text = re.sub(r"(\d) , (\d{3})\b", r"\1,\2", text)
    for pattern, plain in REWRITES:
        text = " ".join(re.sub(pattern, plain, text).split())
    text = _without_told(text)
    sentences = (_without_asides(part.strip()) for part in text.split("|"))
    return with_quarters(" | ".join(part for part in sentences if part)), quoted


def _without_told(text: str) -> str:
    """Without a second question that the first one's answer tells: `which year …, and how many`."""
    for pattern in TOLD:
        match = re.search(rf"(?: ,)? {pattern}(?= \||$)", text)
        if match is None:
            continue
        head, noun = text[: match.start()], (match.groupdict().get("noun") or "").rstrip("s")
        # not where it asks for the number of something else
        if _MEASURED.search(head) and not _COUNTED.search(head) and (not noun or noun in head):
            text = f"{head}{text[match.end() :]}"
    return text


def _without_asides(sentence: str) -> str:
    """Without what asks for nothing that the answer does not say anyway, at either end."""
    if _is_aside(sentence) or _ASIDE.fullmatch(sentence):
        return ""
    clauses = sentence.split(" , ")
    while len(clauses) > 1 and _ASIDE.fullmatch(clauses[-1]):
        clauses.pop()
    while len(clauses) > 1 and (not clauses[0] or _ASIDE.fullmatch(clauses[0])):
        clauses.pop(0)
    left = " , ".join(clauses)
    return "" if _ASIDE.fullmatch(left) else left


def _is_aside(sentence: str) -> bool:
    """Whether a sentence has only words that ask for nothing."""
    asks = re.search(r"(?<!by )\bhow (?:many|much|often)\b", sentence)
    return asks is None and COURTESY.issuperset(word.strip("(),") for word in sentence.split())
