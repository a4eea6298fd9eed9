"""Limits on numbers in a question: `more than 8 story points`, `8-point`, `titles of 20 to 40 characters`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from alchemy.quant.plan import Condition, Op
from alchemy.quant.vocabulary import NUMBER, TEXTS, Vocabulary, number_of

_COMPARISONS: tuple[tuple[str, Op], ...] = (
    (r"at least|no (?:less|fewer) than|a minimum of|>=|≥", ">="),
    (r"at most|no more than|not more than|up to|a maximum of|<=|≤", "<="),
    (
        r"(?:more|greater|higher|larger|bigger|longer) than|over|above|exceed(?:s|ing)?|beyond|>",
        ">",
    ),
    (r"(?:less|fewer|lower|smaller|shorter) than|under|below|<", "<"),
    (r"exactly|precisely|equal to|equals|just|only|=", "="),
)
_COMPARE = "|".join(pattern for pattern, _ in _COMPARISONS)
_HAVING = (
    r"(?:(?:that |which |who )?(?:have|has|had|having|with|of|worth|are|is|were|was|got|carry|carrying"
    r"|estimated at|sized(?: at)?) (?:a |an |the |their )?)?"
)
_OR_MORE = (
    r"(?: (?:or|and) (?P<tail>more|above|higher|over|greater|longer|fewer|less|below|under|lower))?"
)
_LOWER = ("fewer", "less", "below", "under", "lower")
_NAMING = r"(?:that |which )?(?:references?|referencing|names?|naming|cites?|citing|mentions?|mentioning) "


def text_phrases(vocabulary: Vocabulary) -> str:
    """What a text whose length is limited may be called."""
    return vocabulary.phrases_of((*TEXTS, "title_chars"))


def number_forms(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Patterns of limits on a number; the first ones go before the others.

    Their groups: `column`; `a`, with `b` for a range or `list` and `also` for several; `cmp` and
    `tail` for the comparison; `not`.
    """
    column, number = rf"(?P<column>{vocabulary.number})", rf"(?P<a>{NUMBER})"
    texts = text_phrases(vocabulary)
    joined = r"(?: (?:is|are|was|were|of|set to|equal to|equals|at|estimated at|value|values|=))*"
    said = rf"(?P<not>not )?(?:(?P<cmp>{_COMPARE}) ?)?{number}"
    return (
        rf"{_HAVING}(?P<column>{texts}){joined} (?P<not>not )?(?:between |from |of )?{number} (?:and|to|through) (?P<b>{NUMBER})(?: (?:characters|chars|letters))?",
        rf"{_HAVING}(?P<not>not )?(?:estimated |sized |rated )?between {number} and (?P<b>{NUMBER}) {column}",
        rf"{_HAVING}{column}{joined} (?P<not>not )?between {number} and (?P<b>{NUMBER})",
        rf"{_HAVING}(?:either )?(?P<list>{NUMBER}(?: , {NUMBER})*) or (?P<also>{NUMBER}) {column}",
        rf"{_HAVING}(?P<column>{texts}){joined} {said}{_OR_MORE}(?: (?:characters|chars|letters))?",
        rf"{_HAVING}{said}\+?{_OR_MORE} {column}{_OR_MORE.replace('<tail>', '<tail2>')}",
        rf"{number}-{column}",
        rf"{number} (?P<column>pointers?)",
        rf"{_HAVING}{column}{joined} {said}{_OR_MORE}",
        rf"{_HAVING}(?P<cmp>longer than|shorter than) {number} (?:characters|chars|letters)",
        rf"(?:were |was |been |are )?(?P<reopened>reopened)(?: (?P<cmp>{_COMPARE}))?(?: {number} times?| once| twice)?",
    )


def label_forms(vocabulary: Vocabulary) -> tuple[str, ...]:
    """As `number_forms`, of how many values a label has: `two or more issue keys`."""
    number = rf"(?P<a>{NUMBER})"
    having = rf"(?:{_HAVING}|{_NAMING})(?P<cmp>{_COMPARE}) {number}"
    more = rf"(?:{_HAVING}|{_NAMING}){number} or (?P<tail>more|fewer|less)(?: different| distinct)?"
    label = rf"(?P<label>{vocabulary.label})"
    return rf"{having} {label}", rf"{more} {label}"


def conditions_of(name: str, got: Mapping[str, str | None], text: str) -> list[Condition]:
    """The conditions that a match of one of the forms says."""
    first = number_of(got.get("a") or "0")
    if got.get("also"):
        told = [*(got.get("list") or "").split(" , "), got["also"] or ""]
        return [Condition(name, "=", tuple(number_of(n) for n in told))]
    if got.get("b"):
        second = number_of(got["b"] or "0")
        if got.get("not"):
            return [Condition(name, "between", (first, second), negated=True)]
        return [Condition(name, ">=", (first,)), Condition(name, "<=", (second,))]
    said = got.get("cmp") or ""
    found: list[Op] = [sign for pattern, sign in _COMPARISONS if re.fullmatch(pattern, said)]
    op: Op = found[0] if found else "="
    tail = got.get("tail") or got.get("tail2") or ""
    if tail:
        op = "<=" if tail in _LOWER else ">="
    elif got.get("a") and f"{got['a']}+" in text:
        op = ">="
    if got.get("reopened"):
        if text.endswith((" once", " twice")):
            first = 1.0 if text.endswith(" once") else 2.0
        elif not got.get("a"):
            op = ">"
    return [Condition(name, op, (first,), negated=bool(got.get("not")))]
