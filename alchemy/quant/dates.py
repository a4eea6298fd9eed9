"""Spans of time in a question: `in March 2014`, `since 2013`, `last month`, `first quarter of 2014`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from alchemy.quant.plan import Condition
from alchemy.quant.vocabulary import NUMBER, number_of

_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_MONTH = "|".join(f"{m[:3]}(?:{m[3:]})?\\.?" for m in _MONTHS)
_POINT = rf"(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{4}}-\d{{2}}|q[1-4] \d{{4}}|(?:{_MONTH}) \d{{4}}|(?:{_MONTH}) \d{{1,2}},? \d{{4}}|\d{{1,2}} (?:{_MONTH}) \d{{4}}|(?:the year )?(?:19|20)\d{{2}})"
_DATED: Mapping[str, Sequence[str]] = {
    "updated_at": ("updated", "changed", "modified", "edited"),
    "closed_at": ("merged", "closed", "resolved", "fixed", "completed", "finished"),
}
"""Verbs before a date that are not about the creation."""
_ORDINAL = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": 4}


def with_quarters(text: str) -> str:
    """`the first quarter of 2014` → `q1 2014`."""
    return re.sub(
        rf"\b(?:the )?({'|'.join(_ORDINAL)}) quarter (?:of )?((?:19|20)\d\d)\b",
        lambda m: f"q{_ORDINAL[m[1]]} {m[2]}",
        text,
    )


def date_list(text: str) -> tuple[str, list[tuple[date, date]]] | None:
    """`in 2013, 2014 and 2015`: the words, and first day and first after the last of each."""
    item = rf"(?:{_POINT}|{_MONTH})"
    match = re.search(
        rf"\b(?:in|for|of|during|from) (?P<list>{item}(?: , {item})*(?: ,)? (?:and|or) {_POINT})(?![\w-])",
        text,
    )
    if match is None:
        return None
    points = re.split(r"(?: ,)? (?:and|or) | , ", match["list"])
    # `June, July and August 2014`
    year = points[-1].split()[-1]
    points = [p if any(c.isdigit() for c in p) else f"{p} {year}" for p in points]
    try:
        return match[0], sorted(_point(point) for point in points)
    except ValueError:  # no such day: its words stay, and are named as not understood
        return None


def date_conditions(text: str, today: date) -> tuple[str, list[Condition]] | None:
    """The first span of time in a lower-case text: the words, and its conditions on a date.

    Understood: years, months, quarters and days with `in`, `since`, `after`, `before`, `until`,
    `between … and …`, `from … to …`, and `last`, `past` or `this` with a period.
    """
    point = _POINT
    verb = r"(?:(?P<verb>created|opened|made|written|submitted|raised|filed|reported|committed|added|updated|changed|modified|edited|merged|closed|resolved|fixed|completed|finished) )?"
    months = rf"(?:{_MONTH})"
    forms = (
        rf"{verb}(?:between|from) (?P<a>{months}) (?:and|to|until|through|till) (?P<b>{months} (?P<year>\d{{4}}))",
        rf"{verb}(?:between|from) (?P<a>{point}) (?:and|to|until|through|till) (?P<b>{point})",
        rf"{verb}(?:in|during|for|over)? ?(?P<a>{point}) (?:to|until|through|till|up to) (?P<b>{point})",
        rf"{verb}(?P<how>in|during|on|of|for|than|since|after|before|until|till|up to|through|from|prior to) (?P<a>{point})(?P<on> (?:on|onwards?|until now|until today|to date))?",
        rf"{verb}(?:in|during|over|within)? ?(?:the )?(?P<ago>last|past|previous) (?:(?P<n>{NUMBER}) )?(?P<unit>day|week|month|year)s?",
        rf"{verb}(?P<this>this|today|yesterday) ?(?P<unit>week|month|year|quarter)?",
    )
    for form in forms:
        match = re.search(rf"\b{form}(?![\w-])", text)
        if match is None:
            continue
        got = match.groupdict()
        column = next((c for c, verbs in _DATED.items() if got.get("verb") in verbs), "created_at")
        try:
            start, end = _bounds(got, today)
        except ValueError:  # no such day: its words stay, and are named as not understood
            continue
        found = [Condition(column, "from", (start.isoformat(),))] if start else []
        found += [Condition(column, "until", (end.isoformat(),))] if end else []
        if found:
            return match[0], found
    return None


def _bounds(got: Mapping[str, str | None], today: date) -> tuple[date | None, date | None]:
    if got.get("b"):
        first = f"{got['a']} {got['year']}" if got.get("year") else got["a"] or ""
        return _point(first)[0], _point(got["b"] or "")[1]
    if got.get("a"):
        first, after = _point(got["a"] or "")
        match got.get("how"):
            case "since":
                return first, None
            case "from" if got.get("on"):
                return first, None
            case "after":
                return after, None
            case "before" | "prior to":
                return None, first
            case "until" | "till" | "up to" | "through":
                return None, after
            case _:
                return first, after
    unit = got.get("unit")
    tomorrow = today + timedelta(days=1)
    if got.get("this"):
        if got["this"] == "today":
            return today, tomorrow
        if got["this"] == "yesterday":
            return today - timedelta(days=1), today
        if unit is None:
            return None, None
        return _began(unit, today), tomorrow
    days = {"day": 1, "week": 7, "month": 30, "year": 365}[unit or "day"]
    if got.get("n") or got.get("ago") == "past" or unit == "day":
        count = number_of(got["n"] or "1")
        return tomorrow - timedelta(days=round(days * count)), tomorrow
    end = _began(unit or "year", today)  # last month: the calendar's
    return _began(unit or "year", end - timedelta(days=1)), end


def _began(unit: str, today: date) -> date:
    """The first day of the week, month, quarter or year of a day."""
    return {
        "week": today - timedelta(days=today.weekday()),
        "month": today.replace(day=1),
        "quarter": today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1),
        "year": today.replace(month=1, day=1),
    }[unit]


def _point(text: str) -> tuple[date, date]:
    """The first day of a year, month, quarter or day, and the first after it."""
    text = text.removeprefix("the year ").replace(",", "").replace(".", "")
    parts = text.split()
    if quarter := re.fullmatch(r"q([1-4]) (\d{4})", text):
        month, year = 3 * int(quarter[1]) - 2, int(quarter[2])
        return date(year, month, 1), _next_month(date(year, month + 2, 1))
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        day = date.fromisoformat(text)
        return day, day + timedelta(days=1)
    if re.fullmatch(r"\d{4}-\d{2}", text):
        first = date.fromisoformat(f"{text}-01")
        return first, _next_month(first)
    if len(parts) == 1:
        return date(int(text), 1, 1), date(int(text) + 1, 1, 1)
    month = next(i for i, m in enumerate(_MONTHS, 1) if any(p.startswith(m[:3]) for p in parts))
    numbers = [int(p) for p in parts if p.isdigit()]
    if len(numbers) == 1:
        first = date(numbers[0], month, 1)
        return first, _next_month(first)
    day = date(max(numbers), month, min(numbers))
    return day, day + timedelta(days=1)


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
