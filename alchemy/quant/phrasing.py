"""A question as the rules read it: lower case, punctuation apart, quotations set aside."""

from __future__ import annotations

import re

from alchemy.quant.dates import with_quarters
from alchemy.quant.vocabulary import COURTESY

_END = r"(?= \||$)"
_TOLD = r"(?: ,)? and how (?:many|long|big|large|high)"
"""Begins a second question whose answer is in the first one's."""
_FIGURES = r"(?:counts?|numbers?|figures?|values?|keys?|ids?|titles?|names?|dates?)"
_ASIDE = re.compile(
    r"(?:both |that |the )?(?:ends?|bounds?|days?|months?|years?)? ?(?:is |are )?(?:included|inclusive)"
    rf"|(?:one |a |the )?{_FIGURES}(?: (?:for |in |per )?(?:each|every)(?: (?:month|year|week|day|quarter))?)?"
    r"|(?:the )?(?:most|least) (?:frequent|common|used|often) first|(?:highest|lowest|newest|oldest) first"
    rf"|(?:please )?(?:give|show|list|tell|name)(?: me)?(?: the| both| all| their| two)* {_FIGURES}"
    r"|i was (?:just )?wondering|(?:just )?curious|out of curiosity|counting each (?:\w+ )?once"
    r"|in percent|the (?:exact )?words?|one or both(?: of them)?|please"
)
_LINKED = r"(?:commits?|check-?ins?|pull requests?|merge requests?|prs?|mrs?)"
_ISSUES = r"(?:issues?|tickets?|jiras?)"
_NORMAL: tuple[tuple[str, str], ...] = (
    (
        r"^compare (?:the )?(.+?) (?:with|to|against|and) (?:those|the ones|that)(?: of)? ",
        r"\1 than ",
    ),
    (r"\b(\w[\w.]*)-mentioning (\w+)", r"\2 that mention \1"),
    (
        r"\b((?:19|20)\d\d) (commits?|issues?|tickets?|pull requests?|prs?|check-?ins?|pages?)\b",
        r"\2 in \1",
    ),
    (r"\bdid (?:we|people|they|you) commit (?:the )?(most|least)\b", r"had the \1 commits"),
    (r"\bchanges committed\b|\bcommitted changes\b", "commits"),
    (r"\bover all (?:the |of the )?(?:years?|time)\b|\bof all time\b", ""),
    (r"\bvery (first|last|latest|earliest|newest|oldest)\b", r"\1"),
    (
        r"\b(?:the |on which |what )?dates? (?:of|was|is|did) (?=the (?:first|last|latest|earliest|newest|oldest)\b)",
        "when was ",
    ),
    (r"\bjira issue keys?\b|\bissue keys\b", "issue key"),
    # an issue's commits are what names it
    (
        rf"\b(?:have |has )?never (?:got|had|have|has|get) an? ({_LINKED})(?: (?:linked|attached))?(?: to (?:it|them))?",
        r"with no linked \1",
    ),
    (
        rf"\b({_LINKED}) (?:linked|attached|tied|referring|pointing) to (?:it|them|the {_ISSUES})\b",
        r"linked \1",
    ),
    (r"\blinked linked\b", "linked"),
    (
        rf"\b(?:is |are |was |were |been )?(?:not |never )(?:linked to|tied to|referenced (?:by|in)|mentioned (?:by|in)|named (?:by|in)) (?:an?|any|at least one) ({_LINKED})",
        r"with no linked \1",
    ),
    (
        rf"\b(?:is |are |was |were |been )?(?:linked to|tied to|referenced (?:by|in)|named (?:by|in)) no ({_LINKED})",
        r"with no linked \1",
    ),
    (
        rf"\b(?:is |are |was |were |been )?(?:linked to|tied to|referenced (?:by|in)|named (?:by|in)) (an?|any|at least one|at least \w+|more than \w+) ({_LINKED})",
        r"with \1 linked \2",
    ),
    (
        rf"\b({_ISSUES} (?:that |which )?(?:have|has|had|with|without|lack|lacking)(?: an?| any| no| at least one| at least \w+| more than \w+| some)?) ({_LINKED})(?= |$)",
        r"\1 linked \2",
    ),
    (
        rf"\b((?:which|what) {_ISSUES} (?:has|have|had|got|with) the (?:most|fewest)) ({_LINKED})",
        r"\1 linked \2",
    ),
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
    (
        rf"{_TOLD} (?:\w+ ){{0,2}}(?:were|was|is|are|did|does|do|have|has) (?:that|it|there|they|those|this)(?: (?:in (?:it|there|that \w+)|have|then))?{_END}",
        "",
    ),
    (rf"{_TOLD} (?:such |of (?:those|them) )?(?:\w+ )?(?:are|were) there{_END}", ""),
    (
        rf"{_TOLD} (?:\w+ )?(?:have|has|carry|share) (?:it|that|this)(?: (?:estimate|value|number|many))?{_END}",
        "",
    ),
    (rf"{_TOLD} characters long is it{_END}", ""),
    (r"\bbreak down (?:the |all )*(.+?) by ", r"number of \1 by "),
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
    text = re.sub(r"\(([^()]*)\)", r" ; \1 ; ", text)
    # a sentence's end is a gap that no phrase goes across
    text = re.sub(r"[?!;]+|(?<=\w)\.(?=\s|$)| [-–—] |: ", " | ", text).lower()
    text = " ".join(text.replace(",", " , ").split())
    text = re.sub(r"(\d) , (\d{3})\b", r"\1,\2", text)
    for pattern, plain in _NORMAL:
        text = " ".join(re.sub(pattern, plain, text).split())
    sentences = (_without_asides(part.strip()) for part in text.split("|"))
    return with_quarters(" | ".join(part for part in sentences if part)), quoted


def _without_asides(sentence: str) -> str:
    """Without what asks for nothing that the answer does not say anyway, at either end."""
    if _is_aside(sentence) or _ASIDE.fullmatch(sentence):
        return ""
    clauses = sentence.split(" , ")
    while len(clauses) > 1 and _ASIDE.fullmatch(clauses[-1]):
        clauses.pop()
    while len(clauses) > 1 and _ASIDE.fullmatch(clauses[0]):
        clauses.pop(0)
    left = " , ".join(clauses)
    return "" if _ASIDE.fullmatch(left) else left


def _is_aside(sentence: str) -> bool:
    """Whether a sentence has only words that ask for nothing."""
    asks = re.search(r"(?<!by )\bhow (?:many|much|often)\b", sentence)
    return asks is None and COURTESY.issuperset(word.strip("(),") for word in sentence.split())
