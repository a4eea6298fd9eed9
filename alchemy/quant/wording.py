"""A plan and its result → sentences that say what was counted, over what, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from alchemy.quant.execution import MOST_GROUPS, Result, Row
from alchemy.quant.plan import Condition, Plan
from alchemy.quant.records import LINKED
from alchemy.quant.vocabulary import COUNTED, MEASURES

_PLURALS = {"commit": "commits", "row": "database rows"}
_COLUMNS = {
    "story_points": "story points",
    "comment_count": "comments",
    "hours_to_merge": "hours to merge",
    "description_chars": "characters of description",
    "chars": "characters of text",
    "title_chars": "characters of title",
    "issuetype": "type",
    "components": "component",
    "labels": "label",
    "fix_versions": "fix version",
    "versions": "version",
    "created_at": "creation date",
    "updated_at": "date of the last change",
    "closed_at": "closing date",
    "jira_keys": "Jira key",
}
_LENGTHS = ("chars", "title_chars", "description_chars")
_DATED = {"created_at": "created", "updated_at": "last changed", "closed_at": "closed"}
_OPS = {"=": "", ">": "more than ", ">=": "at least ", "<": "fewer than ", "<=": "at most "}


def answer_text(plan: Plan, result: Result, numbers: Mapping[str, int] | None = None) -> str:
    """The answer in words.

    Args:
        numbers: document id → number of its citation, for records that are listed.
    """
    nothing = [name for name, rows in result.unknown.items() if rows == result.base]
    if nothing and result.base:
        columns = " and no ".join(column_text(name) for name in nothing)
        kind = rows_text(replace(plan, where=tuple(c for c in plan.where if c.says_kind)))
        return f"The {kind} here have no {columns}, so this cannot be computed."
    if plan.alternatives:
        text = _compared(plan, result)
    elif plan.group == "document_id":
        text = _records(plan, result, numbers or {})
    elif plan.group:
        text = _grouped(plan, result)
    else:
        text = _single(plan, result)
    notes = [
        _rest(plan, result),
        "Lengths are of the cleaned text." if plan.column in _LENGTHS else "",
        f"A {plan.period} without any is not among them."
        if plan.period and plan.order == "lowest"
        else "",
        f"A {LINKED[plan.column]} that names several issues counts for each of them."
        if plan.column in LINKED and plan.measure in ("sum", "mean")
        else "",
        *(
            f"{number_text(rows)} of {number_text(result.base)} have no {column_text(name)} and are "
            "not counted."
            for name, rows in sorted(result.unknown.items())
        ),
        f"{number_text(result.unreadable)} more could not be read and are in quarantine."
        if result.unreadable
        else "",
    ]
    told = " ".join(note for note in notes if note)
    # below a list a note is a paragraph of its own
    return text + ("\n\n" if "\n- " in text else " ") * bool(told) + told


def computable(result: Result) -> bool:
    """Whether the records have what the conditions ask about."""
    return not result.base or result.base not in result.unknown.values()


def figures(plan: Plan, result: Result) -> str:
    """The bare figures of a result without groups or with alternatives."""
    if plan.alternatives:
        return ", ".join(f"{row.name} {_row_value(plan, row)}" for row in result.groups)
    if result.value is None:
        return "nothing"
    value = f"{result.value:.1%}" if plan.measure == "share" else number_text(result.value)
    rows = result.matched if plan.measure in ("share", "rate") else result.used
    return value if plan.measure == "count" else f"{value} of {number_text(rows)}"


def rows_text(plan: Plan, count: int | None = None) -> str:
    """The rows a plan is about: `issues with at least 8 story points`."""
    kinds = [c for c in plan.where if c.says_kind and c.values]
    names = [str(v).replace("_", " ") for v in kinds[0].values] if kinds else ["record"]
    plurals = [_PLURALS.get(n, n if n.endswith("s") else f"{n}s") for n in names]
    phrase = " and ".join(plurals)
    if count == 1 and not names[0].endswith("s") and not names[1:]:
        phrase = names[0]
    rest = [c for c in plan.where if not c.says_kind]
    told = _conditions(rest)
    return f"{phrase} {told}" if told else phrase


def column_text(name: str) -> str:
    """A column's name as people say it."""
    return _COLUMNS.get(name, name.rpartition(".")[2].replace("_", " "))


def _conditions(conditions: Sequence[Condition]) -> str:
    told: list[str] = []
    dates = {c.column: [o for o in conditions if o.column == c.column] for c in conditions}
    ranges = {
        c.column: [o for o in conditions if o.column == c.column and o.op in (">=", "<=")]
        for c in conditions
    }
    for condition in conditions:
        if condition.op in ("from", "until"):
            if dates[condition.column][0] is condition:
                told.append(_span(dates[condition.column]))
        elif condition.op in (">=", "<=") and len(ranges[condition.column]) == 2:
            if ranges[condition.column][0] is condition:
                low, high = sorted(float(c.values[0]) for c in ranges[condition.column])
                told.append(
                    f"with {number_text(low)} to {number_text(high)} {column_text(condition.column)}"
                )
        else:
            told.append(_condition(condition))
    return ", ".join(told[:-1]) + (" and " if told[:-1] else "") + told[-1] if told else ""


def _condition(condition: Condition) -> str:
    values = " or ".join(
        f"“{v}”" if isinstance(v, str) else number_text(v) for v in condition.values
    )
    name = column_text(condition.column)
    match condition.op:
        case "mentions" if condition.column == "title":
            return f"{'without' if condition.negated else 'with'} {values} in the title"
        case "mentions" if condition.column == "description":
            return f"{'without' if condition.negated else 'with'} {values} in the description"
        case "mentions":
            return f"{'not ' if condition.negated else ''}mentioning {values}"
        case "starts" | "ends":
            verb = f"{condition.op[:-1] if condition.negated else condition.op} with"
            return f"whose title {'does not ' if condition.negated else ''}{verb} {values}"
        case "missing":
            return f"{'with' if condition.negated else 'without'} {name}"
        case "empty":
            text = "a description" if condition.column == "description_chars" else name
            return f"{'with' if condition.negated else 'without'} {text}"
        case "between":
            low, high = (number_text(float(v)) for v in condition.values)
            return f"with {'not ' if condition.negated else ''}between {low} and {high} {name}"
        case "is":
            return f"with {name} {'other than ' if condition.negated else ''}{values}"
        case _:
            if (
                condition.values[0] == 0
                and condition.op in ("=", ">")
                and condition.column in COUNTED
            ):
                return (
                    f"{'with' if (condition.op == '>') != condition.negated else 'without'} {name}"
                )
            if condition.negated and condition.op == "=":
                return f"with {name} other than {values}"
            turned = "not " if condition.negated else ""
            one = condition.op == "=" and condition.values == (1.0,)
            return f"with {turned}{_OPS.get(condition.op, '')}{values} {name.removesuffix('s') if one else name}"


def _predicate(told: str) -> str:
    """`with 1 story point and mentioning “x”` → `have 1 story point and mention “x”`."""
    for old, new in (
        ("not mentioning ", "do not mention "),
        ("mentioning ", "mention "),
        ("without ", "have no "),
        ("with ", "have "),
        ("whose ", "have a "),
        ("created ", "were created "),
        ("last changed ", "were last changed "),
        ("closed ", "were closed "),
    ):
        if told.startswith(old):
            return (
                (new + told.removeprefix(old))
                .replace(" and mentioning ", " and mention ")
                .replace("have no a ", "have no ")
            )
    return f"are {told}"


def _span(limits: Sequence[Condition]) -> str:
    verb = _DATED[limits[0].column]
    start = next((str(c.values[0]) for c in limits if c.op == "from"), None)
    end = next((str(c.values[0]) for c in limits if c.op == "until"), None)
    parts = [f"from {start}"] if start else []
    parts += [f"before {end}"] if end else []
    return f"{verb} {' and '.join(parts)} (UTC)"


def number_text(value: float) -> str:
    """A number with at most two decimals, thousands apart."""
    if abs(value - round(value)) < 1e-9:
        return f"{round(value):,}"
    if abs(value) < 0.01:
        return f"{value:.3g}"
    # as people round, not as binary fractions fall
    return f"{Decimal(repr(value)).quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def _rest(plan: Plan, result: Result) -> str:
    """What the measure left out."""
    if (
        plan.measure in ("count", "rate", "share")
        or not plan.column
        or result.used == result.matched
    ):
        return ""
    without = result.matched - result.used
    return f"{number_text(without)} of {number_text(result.matched)} have no {column_text(plan.column)} and are left out."


def _single(plan: Plan, result: Result) -> str:
    subject = rows_text(plan)
    value, column = result.value, column_text(plan.column)
    if plan.measure == "count":
        count = int(value or 0)
        if count == 0:
            of = f" (0 of {number_text(result.base)})" if result.base else ""
            return f"There are no {subject}{of}."
        return (
            f"There {'is' if count == 1 else 'are'} {number_text(count)} {rows_text(plan, count)}."
        )
    if value is None and plan.measure == "share":
        return f"There are no {subject}, so there is no share of them."
    if value is None:
        return f"There are no {subject} with a value of {column}, so there is nothing to compute."
    if plan.measure == "rate":
        counted = f"{number_text(result.matched)} in {number_text(result.used)} {plan.period}s"
        return f"On average there are {number_text(value)} {subject} per {plan.period}: {counted}."
    if plan.measure == "share":
        part = _predicate(_conditions(plan.part))
        counts = f"{number_text(result.used)} of {number_text(result.matched)}"
        return f"{value:.1%} of the {subject} {part}: {counts}."
    if plan.measure == "sum":
        of = f"{number_text(result.matched)} {rows_text(plan, result.matched)}"
        return f"The {of} have {number_text(value)} {column} in total."
    if plan.measure == "distinct":
        return f"The {subject} have {number_text(value)} different values of {column}."
    name = (
        f"{plan.quantile * 100:g}th percentile"
        if plan.measure == "quantile"
        else MEASURES[plan.measure]
    )
    of = (
        ""
        if plan.measure in ("mean", "median")
        else "of the number of "
        if name in ("highest", "lowest")
        else "of "
    )
    if plan.measure in ("max", "min"):
        of = "number of "
    tied = f" ({number_text(result.tied)} of them)" if result.tied else ""
    return f"The {name} {of}{column} of the {number_text(result.used)} {subject} is {number_text(value)}{tied}."


def _measure_text(plan: Plan) -> str:
    if plan.measure == "count":
        return f"number of {rows_text(plan)}"
    if plan.measure == "share":
        return f"share of {rows_text(plan)} that {_predicate(_conditions(plan.part))}"
    name = MEASURES.get(plan.measure, plan.measure)
    return f"{name} {column_text(plan.column)} of {rows_text(plan)}"


def _row_value(plan: Plan, row: Row) -> str:
    value = f"{row.value:.1%}" if plan.measure == "share" else number_text(row.value)
    return value if plan.measure == "count" else f"{value} over {number_text(row.rows)}"


def _grouped(plan: Plan, result: Result) -> str:
    group = plan.period or column_text(plan.group)
    if not result.groups:
        return f"There are no {rows_text(plan)} with a {group}, so there is nothing to compare."
    if plan.order and plan.limit == 1:
        best = [row.name for row in result.groups[: max(result.tied, 1)]]
        names = ", ".join(best[:-1]) + (" and " if best[:-1] else "") + best[-1]
        more = (
            f" and {number_text(result.tied - len(best))} more" if result.tied > len(best) else ""
        )
        verb = "have" if len(best) > 1 else "has"
        return (
            f"{names}{more} {verb} the {plan.order} {_measure_text(plan)} of {number_text(result.total_groups)} "
            f"by {group}{_clock(plan)}: {_row_value(plan, result.groups[0])}."
        )
    shown = result.groups[:MOST_GROUPS]
    lines = "\n".join(f"- {row.name}: {_row_value(plan, row)}" for row in shown)
    cut = (
        f"\n\n{number_text(result.total_groups - len(shown))} more are not listed."
        if result.total_groups > len(shown)
        else ""
    )
    return f"The {_measure_text(plan)} by {group}{_clock(plan)}:\n\n{lines}{cut}"


def _clock(plan: Plan) -> str:
    return " (UTC)" if plan.period else ""


def _compared(plan: Plan, result: Result) -> str:
    of = " of" if result.groups[-1].name else ""  # a value's name, not a condition in words
    named = [
        row if row.name or row.condition is None else replace(row, name=_condition(row.condition))
        for row in result.groups
    ]
    result = replace(result, groups=tuple(named))
    first, *rest = result.groups
    listed = ", ".join(f"{row.name} {_row_value(plan, row)}" for row in result.groups)
    if result.tied == len(result.groups):
        return f"As many of each: {listed} ({_measure_text(replace(plan, alternatives=()))})."
    second = rest[0]
    lead = f"{first.name}: {_row_value(plan, first)} against {_row_value(plan, second)}{of} {second.name}, "
    lead += f"{number_text(abs(first.value - second.value))} {'more' if plan.order == 'highest' else 'fewer'}"
    others = f"; all: {listed}" if len(result.groups) > 2 else ""
    return f"{lead}{others} ({_measure_text(replace(plan, alternatives=()))})."


def _records(plan: Plan, result: Result, numbers: Mapping[str, int]) -> str:
    if not result.groups:
        told = f" with a value of {column_text(plan.column)}" if plan.column else ""
        return f"There are no {rows_text(plan)}{told}."
    shown = result.groups[:MOST_GROUPS]
    if not plan.column:
        lines = "\n".join(f"- {_named(row, numbers)}" for row in shown)
        cut = (
            f"\n\n{number_text(result.matched - len(shown))} more are not listed."
            if result.matched > len(shown)
            else ""
        )
        verb = "is" if result.matched == 1 else "are"
        subject = rows_text(plan, result.matched)
        return f"There {verb} {number_text(result.matched)} {subject}:\n\n{lines}{cut}"
    column = column_text(plan.column)
    told = [
        f"{_named(row, numbers)} ({row.date[:10]})"
        if row.date
        else f"{_named(row, numbers)}: {number_text(row.value)} {column}"
        for row in shown
    ]
    if plan.limit == 1 and result.tied <= 1:
        word = {
            "highest": "most"
            if plan.column in ("story_points", "comment_count", "comments")
            else "highest",
            "lowest": "lowest",
        }
        of = f"Of {number_text(result.used)} {rows_text(plan)}"
        if shown[0].date:
            return f"{of}, the {'latest' if plan.order == 'highest' else 'earliest'} is {told[0]}."
        return f"{of}, {_named(shown[0], numbers)} has the {word[plan.order or 'highest']} {column}: {number_text(shown[0].value)}."
    lines = "\n".join(f"- {line}" for line in told)
    tie = f"\n\n{number_text(result.tied)} share the first place." if result.tied > 1 else ""
    return f"Of {number_text(result.used)} {rows_text(plan)}, by {plan.order} {column}:\n\n{lines}{tie}"


def _named(row: Row, numbers: Mapping[str, int]) -> str:
    key = row.name.partition(":")[2]
    marker = f" [{numbers[row.name]}]" if row.name in numbers else ""
    title = row.title.replace("[", "(").replace("]", ")")
    return f"{key} {title}{marker}" if title else f"{key}{marker}"
