"""What a question says about the words of a record: `mention Kafka but not Redis`, `"X" in the title`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from alchemy.quant.plan import Condition

_NOT = r"(?P<not>(?:do|does|did|don't|doesn't|didn't|do not|does not|did not) (?:not )?|not |never |without )?"
_VERB = (
    r"(?:mentions?|mentioning|mentioned|contains?|containing|contained|refers? to|referring to|talks? about|talking about"
    r"|includes? the (?:word|term|phrase)|including the (?:word|term|phrase)|says?|about|regarding|concerning"
    r"|related to|relating to|deals? with|dealing with|the (?:word|term|phrase))"
)
_PLACE = r"in (?:the|their|its) (?:titles?|summar(?:y|ies)|names?|headings?|texts?|descriptions?|body|messages?)"
_END = (
    r"(?=$|\||[;:]|(?: ,)? (?:and )?(?:how|what|which|count)\b| (?:yet|though|still|also)\b| (?:and|but|or|that|which|who|,)? ?(?:have|has|had|having|with|without|were|was|are|is|do|does"
    r"|carry|carries|carried|hold|holds|need|take|cost|get|got|created|opened|made|written|updated|merged|closed|resolved|since|before|after|until|during|between|per|by"
    r"|for each|in each|grouped|on average|than \d|more than \d|at least|at most|as a)\b"
    r"| in (?:(?:the|their|its) (?:titles?|summar|names?|heading|texts?|descriptions?|body|last|past)|(?:19|20)\d\d|q[1-4]\b|total|"
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b))"
)
_MOST_WORDS = 5
_NEVER = frozenset(
    "how what which who many number average mention mentions mentioning more most fewer issues commits not word words term terms both".split()
)
_PREPOSITIONS = frozenset(
    """across all among any anything at by everything few in less many more most multiple no nothing on
    only other over per several some something throughout within""".split()
)
"""No phrase begins with one of these: they say how many, or where."""
_MARKS = {
    "question mark": "?",
    "exclamation mark": "!",
    "exclamation point": "!",
    "full stop": ".",
    "colon": ":",
    "semicolon": ";",
    "comma": ",",
    "slash": "/",
    "hyphen": "-",
    "dash": "-",
}
"""Marks by their names; the name itself is asked for in quotation marks."""
_TEXT = re.compile(r"in (?:the|their|its) (?:texts?|descriptions?|body)$")
_TITLE = re.compile(r"titles?|summar|names?|heading")


@dataclass
class Mentions:
    """What was found.

    Attributes:
        rest: the question without it.
        conditions: all must hold.
        alternatives: what is compared with each other.
        unclear: parts that say something of the words and were not understood.
    """

    rest: str
    conditions: list[Condition] = field(default_factory=list[Condition])
    alternatives: list[Condition] = field(default_factory=list[Condition])
    unclear: list[str] = field(default_factory=list[str])


def read_mentions(text: str, quoted: Sequence[str], kind: str, *, compare: bool) -> Mentions:
    """Take every mention out of a lower-case question.

    Args:
        quoted: phrases that stood in quotation marks, `q#0` and so on in the text.
        kind: regular expression of the names of kinds of records; a phrase ends before one.
        compare: whether the question compares: `or` and `than` then separate alternatives.
    """
    found = Mentions(text)
    end = (
        _END[:-1]
        + r"| and (?=(?:(?:do|does|did) not |not |never )?(?:mentions?|mentioning|contains?|containing|about|talk)\b)"
        + r"| and (?=(?:have|has|had|having|with|without|no|are|is|were|was|got|\d+)\b)"
        + rf"| (?:in|of|among) (?:all |the |how many |which |what )?{kind}\b| {kind}(?:$| \|))"
    )
    alone = end[:-1] + "| and )"  # a beginning is one phrase, or one of several
    starts = rf"(?P<not>(?:do|does) not |don't |doesn't )?(?P<how>starts?|begins?|ends?|starting|beginning|ending) with (?P<terms>.+?){alone}"
    titled = rf"(?P<not>not )?(?:with|whose|where|has|have|having)?(?: an?| the| their)* ?(?:titles?|summar(?:y|ies)|names?) (?:(?:that |which )?(?P<how>starts?|begins?|ends?|contains?|containing|starting|beginning|ending|includes?|including|mentions?|mentioning)(?: with| in)?) (?P<terms>.+?){end}"
    in_title = rf"(?P<not>not )?(?:with |have |has |having |containing |contain |contains )(?:the word |the term |an? )?(?P<terms>(?:(?! with | have | has | having ).)+?) {_PLACE}"
    verb = rf"(?:(?:that|which|who) )?{_NOT}(?:explicitly )?{_VERB} (?:the (?:words?|terms?|phrases?) )?(?P<terms>.+?){end}(?: (?P<place>{_PLACE}))?"
    passive = r"\b(?:is|are|was|were|do|does) (?P<terms>[^|]+?) (?:mentioned|referred to|talked about|named|come up|comes up)(?: in)?"
    often = r"(?:which|what)(?: one)?(?: of)? ?(?P<first>[^|]*?) ?(?:is|are|was|were) mentioned(?P<rest> .*|$)"
    body = rf"(?P<no>(?:without|no|not|never)(?: an?| any| the)? )?(?:with |have |has |having )?(?:an? |the |any )?(?:descriptions?|bod(?:y|ies)) (?:that |which )?(?P<not>(?:do|does) not )?(?:mentions?|mentioning|contains?|containing|includes?|including) (?P<terms>.+?){end}"
    while match := re.search(rf"(?<![\w-]){body}", found.rest):
        made, others = _terms(match["terms"], quoted, "description", "mentions", compare=compare)
        if match["no"] or match["not"] or others or not made:
            found.unclear.append(match[0].strip())
        found.conditions += made
        found.rest = f"{found.rest[: match.start()]} | {found.rest[match.end() :]}"
    if match := re.search(rf"(?<![\w-]){often}", found.rest):
        _often(found, match, quoted, kind)
    for pattern in (titled, starts, in_title, passive, verb):
        while match := re.search(rf"(?<![\w-]){pattern}", found.rest):
            got = match.groupdict()
            place = (got.get("place") or "") if pattern in (verb, passive) else match[0]
            column = "title" if _TITLE.search(place) or pattern is starts else "text"
            column = "description" if _TEXT.search(place) else column
            how = (got.get("how") or "")[:5]
            op = (
                "starts"
                if how in ("start", "begin")
                else "ends"
                if how.startswith("end")
                else "mentions"
            )
            said = (got.get("not") or "").strip()
            negated = said in ("not", "never", "without") or "not" in said or said.endswith("n't")
            made, others = _terms(got["terms"], quoted, column, op, compare=compare)
            if (not made and not others) or any(
                _no_phrase(v) for c in (*made, *others) for v in c.values
            ):
                break
            if negated:  # `not about A and not about B` denies both
                made = [Condition(c.column, c.op, c.values, negated=True) for c in made]
            found.conditions += made
            found.alternatives += others
            found.rest = " ".join(
                f"{found.rest[: match.start()]} | {found.rest[match.end() :]}".split()
            )
    return found


def _often(found: Mentions, match: re.Match[str], quoted: Sequence[str], kind: str) -> None:
    """`which is mentioned more often, Kafka or Redis` and `which of Kafka and Redis is mentioned …`."""
    rest = re.sub(
        r"^(?: (?:more|most|less|least))?(?: (?:often|frequently))?", "", match["rest"] or ""
    )
    inside = re.search(rf"(?:^| )(?:in|by) (?:the |more |most |fewer )*(?P<kind>{kind})", rest)
    after = re.sub(rf"(?:^| )(?:in|by) (?:the |more |most |fewer )*{kind}", " ", rest)
    listed = " ".join(after.replace("|", " ").strip(" ,:").split()) or match["first"].strip(" ,:")
    names = [n for n in re.split(r" , (?:and |or )?| or | and ", listed) if n.strip(" ,")]
    if len(names) < 2:
        return
    named = [phrase for n in names if (phrase := _phrase(n, quoted))]
    found.alternatives = [Condition("text", "mentions", (phrase,)) for phrase in named]
    kept = inside["kind"] if inside else ""
    found.rest = f"{found.rest[: match.start()]} how many {kept} more |"


def _terms(
    text: str, quoted: Sequence[str], column: str, op: str, *, compare: bool
) -> tuple[list[Condition], list[Condition]]:
    """The conditions of `A and B`, `A or B`, `A but not B`, `neither A nor B`; or alternatives."""

    def one(*phrases: str, negated: bool = False) -> Condition:
        values = tuple(v for p in phrases if (v := _phrase(p, quoted)))
        return Condition(column, op, values, negated)  # type: ignore[arg-type]

    text = text.strip(" ,|")
    text = re.sub(r"(?: and| but| ,)+$", "", text)  # what it joined was read before
    if " and " in text and " or " in text and " than " not in text:
        return [], []  # which of them belong together is not said
    text = re.sub(r"^(?:both|either|the words? |the terms? |the phrase )\s*", "", text)
    if match := re.fullmatch(r"neither (.+?) (?:,? ?nor|or) (.+)", text):
        return [one(match[1], negated=True), one(match[2], negated=True)], []
    made: list[Condition] = []
    if match := re.search(
        r" ?,? ?(?:but|and)(?: do| does)? not(?: mention| contain| about)?(?: the word)? (.+)$",
        text,
    ):
        names = re.split(r" or | and | nor ", match[1])
        made += [one(n, negated=True) for n in names]
        text = text[: match.start()]
    if not text:
        return made, []
    if " than " in text:
        return made, [
            one(re.sub(r"^(?:mention|contain)(?:s|ing)? ", "", n)) for n in text.split(" than ")
        ]
    if re.search(r" or ", text):
        names = [
            re.sub(r"^(?:or|mention|contain)s? ", "", n)
            for n in re.split(r" , (?:or )?| or ", text)
        ]
        if compare:
            return made, [one(n) for n in names]
        return [one(*names), *made], []
    names = [
        re.sub(r"^(?:and|mention|contain)s? ", "", n) for n in re.split(r" , (?:and )?| and ", text)
    ]
    return [*(one(n) for n in names if n.strip(" ,")), *made], []


def _no_phrase(value: str | float) -> bool:
    """Whether a phrase looks like a part of the question that was not understood."""
    spoken = str(value).lower().split()
    return (
        not spoken
        or len(spoken) > _MOST_WORDS
        or not _NEVER.isdisjoint(spoken)
        or any(word in ",()" for word in spoken)
        or spoken[0] in _PREPOSITIONS
        or spoken[-1] in ("or", "and")
        or spoken in (["it"], ["them"], ["that"], ["this"], ["one"])
    )


def _phrase(text: str, quoted: Sequence[str]) -> str:
    """A phrase without articles at its beginning; what was quoted as it was."""
    text = re.sub(r"^(?:the |a |an |about |mention(?:s|ing)? |word |term )+", "", text.strip(" ,|"))
    if text.startswith("word~"):  # the space says that it ends there
        return _phrase(text.removeprefix("word~"), quoted) + " "
    return _MARKS.get(text) or re.sub(r"q#(\d+)", lambda m: quoted[int(m[1])], text).strip()
