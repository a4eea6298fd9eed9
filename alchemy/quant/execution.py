"""Runs a query plan on the records, with Polars' streaming engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import polars as pl

from alchemy.quant.plan import Condition, Period, Plan
from alchemy.quant.records import DATES, TEXT_OF, Records
from alchemy.quant.table import collect

Find = Callable[[str, str], Collection[str]]
"""(Phrase, `title`, `description` or `text` for both) → ids of the documents that mention it."""
MOST_GROUPS = 20
"""Groups listed in an answer."""
_CUT: dict[Period, int] = {"year": 4, "month": 7, "day": 10}
_ANY_VALUE = ("missing", "empty", "mentions", "starts", "ends")
"""Operations that say something about a record without a value, too."""
_AGGREGATES = ("mean", "median", "min", "max", "std", "var")


@dataclass(frozen=True)
class Row:
    """One group.

    Attributes:
        name: of the group; a document id where the groups are records, with its `title`.
        value: the measure, or where it is a date `date`.
        rows: how many records it has.
        condition: what makes the group, where it is no value; `name` may then be empty.
    """

    name: str
    value: float
    rows: int
    title: str = ""
    date: str = ""
    condition: Condition | None = None


@dataclass(frozen=True)
class Result:
    """What a plan gives.

    Attributes:
        value: the measure over all rows; None where there is nothing to measure.
        matched: rows that `where` leaves.
        used: of these, rows that have a value in `column` (or that `part` counts).
        groups: in the plan's order, `limit` of them, ties with the last one included.
        total_groups: how many there are.
        tied: groups, or of a least or greatest value records, that share it.
        unknown: column of a condition → rows of the kind asked about that have no value in it, so
            that nothing can be said of them.
        base: rows of that kind.
        unreadable: records of their sources that could not be read, and so are in no number.
    """

    value: float | None
    matched: int
    used: int
    groups: tuple[Row, ...] = ()
    total_groups: int = 0
    tied: int = 0
    unknown: dict[str, int] = field(default_factory=dict[str, int])
    base: int = 0
    unreadable: int = 0


def execute(plan: Plan, records: Records, find: Find) -> Result:
    """Compute a plan.

    Args:
        find: finds the documents that mention a phrase.
    """
    frame = records.scan()
    of_kind, limits = (
        [c for c in plan.where if c.says_kind],
        [c for c in plan.where if not c.says_kind],
    )
    for condition in of_kind:
        frame = frame.filter(_expression(condition, records, find))
    unknown, base = _unknown(frame, [*limits, *plan.part, *plan.alternatives])
    if base in unknown.values():  # no record has what is asked about
        return Result(None, base, 0, unknown=unknown, base=base)
    for condition in limits:
        frame = frame.filter(_expression(condition, records, find))
    result = _run(plan, records, frame, find)
    return replace(result, unknown=unknown, base=base, unreadable=_unread(records, of_kind))


def _unread(records: Records, of_kind: Sequence[Condition]) -> int:
    if not records.unreadable:
        return 0
    rows = records.scan()
    for condition in of_kind:
        rows = rows.filter(_expression(condition, records, lambda *_: ()))
    sources = collect(rows.select(pl.col("source").unique()))["source"].to_list()
    return sum(count for source, count in records.unreadable.items() if source in sources)


def _unknown(frame: pl.LazyFrame, conditions: Sequence[Condition]) -> tuple[dict[str, int], int]:
    names = {c.column for c in conditions if c.op not in _ANY_VALUE and not c.counted}
    texts = {c.column for c in conditions if c.op == "empty"}
    names |= texts
    absent = names - set(frame.collect_schema())
    frame = frame.with_columns(pl.lit(None, pl.String).alias(n) for n in absent)
    # that one record has no text is an answer; where none has a length, the source says nothing
    counts = frame.select(pl.len().alias("_rows"), *(pl.col(n).null_count() for n in sorted(names)))
    row = collect(counts).row(0, named=True)
    rows = int(row["_rows"])
    schema = frame.collect_schema()
    # a record without labels has not the label asked about: only where none has any, it is unknown
    told = {
        n for n in names if row[n] == rows or not (isinstance(schema[n], pl.List) or n in texts)
    }
    return {n: int(row[n]) for n in told if row[n]}, rows


def _run(plan: Plan, records: Records, frame: pl.LazyFrame, find: Find) -> Result:
    if plan.alternatives:
        return _compared(plan, records, frame, find)
    if plan.group == "document_id":
        return _records(plan, frame)
    part = pl.lit(value=True)
    for condition in plan.part:
        part &= _expression(condition, records, find)
    measure, used = _measured(plan, records, part)
    overall = collect(frame.select(pl.len().alias("n"), used.alias("u"), measure.alias("v")))
    matched, have, value = overall.row(0)
    if plan.measure == "rate":
        return _rate(plan, frame, int(matched))
    if not plan.group:
        counted = plan.measure in ("count", "share")
        found = None if value is None or (have == 0 and not counted) else float(value)
        found = 0.0 if plan.measure == "distinct" and matched and not have else found
        tied = 0
        if plan.measure in ("min", "max") and found is not None:
            tied = int(collect(frame.select((pl.col(plan.column) == found).sum())).item())
        return Result(found, int(matched), int(have), tied=tied)
    key, grouped = _grouped(plan, records, frame)
    table = collect(
        grouped.filter(key.is_not_null())
        .group_by(key.alias("name"))
        .agg(pl.len().alias("n"), used.alias("u"), measure.alias("v"))
        .filter(pl.col("v").is_not_null(), (pl.col("u") > 0) | (plan.measure == "share"))
    )
    return _ranked(plan, int(matched), int(have), table)


def _rate(plan: Plan, frame: pl.LazyFrame, matched: int) -> Result:
    """Records per year, month, week or day of the span asked about, or of that of the records."""
    first, last = collect(
        frame.select(pl.col("created_at").min().alias("a"), pl.col("created_at").max().alias("b"))
    ).row(0)
    if first is None:
        return Result(None, matched, 0)
    given = {c.op: str(c.values[0]) for c in plan.where if c.column == "created_at"}
    start = date.fromisoformat(given.get("from", str(first))[:10])
    # the last day of all counts whole, the day that `until` names not at all
    if "until" in given:
        end = date.fromisoformat(given["until"][:10])
    else:
        end = date.fromisoformat(str(last)[:10]) + timedelta(days=1)
    spans = _spans(plan.period or "month", start, end)
    return Result(matched / spans, matched, round(spans)) if spans else Result(None, matched, 0)


def _spans(period: Period, start: date, end: date) -> float:
    """How many of the calendar's years, quarters or months a span touches; how many weeks or days."""
    last = end - timedelta(days=1)
    months = 12 * (last.year - start.year) + last.month - start.month
    match period:
        case "year":
            return last.year - start.year + 1
        case "quarter":
            return 4 * (last.year - start.year) + (last.month - 1) // 3 - (start.month - 1) // 3 + 1
        case "month":
            return months + 1
        case "week":
            return (end - start).days / 7
        case _:
            return (end - start).days


def _expression(condition: Condition, records: Records, find: Find) -> pl.Expr:
    column, values = pl.col(condition.column), list(condition.values)
    listed = condition.column in records.labels
    match condition.op:
        case "missing":
            made = column.list.len().fill_null(0) == 0 if listed else column.is_null()
        case "empty":
            made = column.fill_null(0) == 0
        case "is" if listed:
            made = column.list.set_intersection(pl.lit(values, dtype=pl.List(pl.String))).list.len()
            made = made.fill_null(0) > 0
        case "is":
            made = column.is_in(values)
        case "mentions":
            found: set[str] = set()
            for value in values:
                found |= set(find(str(value), condition.column))
            made = TEXT_OF.is_in(pl.Series(sorted(found), dtype=pl.String).implode())
        case "starts" | "ends":
            title = column.str.to_lowercase()
            ask = title.str.starts_with if condition.op == "starts" else title.str.ends_with
            made = pl.any_horizontal(ask(str(value).lower()) for value in values)
        case "within":
            made = (column >= str(values[0])) & (column < str(values[1]))
        case "between":
            made = (column >= float(values[0])) & (column <= float(values[1]))
        case "from":
            made = column >= str(values[0])
        case "until":
            made = column < str(values[0])
        case _:
            number = float(values[0])
            column = (
                column.list.len().fill_null(0).cast(pl.Float64) if condition.counted else column
            )
            made = {
                "=": column.is_in([float(value) for value in values]),
                ">": column > number,
                ">=": column >= number,
                "<": column < number,
                "<=": column <= number,
            }[condition.op]
    # a record without a value is neither above nor not above a limit
    return ~made if condition.negated else made


def _measured(plan: Plan, records: Records, part: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The measure, and how many rows it rests on."""
    if plan.measure in ("count", "rate"):
        return pl.len().cast(pl.Float64), pl.len()
    if plan.measure == "share":
        return part.fill_null(value=False).mean(), part.fill_null(value=False).sum()
    column = pl.col(plan.column)
    if plan.measure == "distinct":
        values = column.explode() if plan.column in records.labels else column
        return values.drop_nulls().n_unique().cast(pl.Float64), column.count()
    if plan.measure == "sum":
        return column.sum(), column.count()
    if plan.measure == "quantile":
        return column.quantile(plan.quantile, interpolation="linear"), column.count()
    assert plan.measure in _AGGREGATES
    return getattr(column, plan.measure)(), column.count()


def _grouped(plan: Plan, records: Records, frame: pl.LazyFrame) -> tuple[pl.Expr, pl.LazyFrame]:
    column = pl.col(plan.group)
    if plan.group in records.labels:
        # a record with two components counts in both
        frame = frame.with_columns(column.alias("_group")).explode("_group")
        return pl.col("_group"), frame
    if plan.period in _CUT:
        return column.str.slice(0, _CUT[plan.period]), frame
    if plan.period:
        day = column.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
        if plan.period == "weekday":
            return day.dt.strftime("%A"), frame
        if plan.period == "quarter":
            return pl.format("{}-Q{}", day.dt.year(), day.dt.quarter()), frame
        return pl.format(
            "{}-W{}", day.dt.iso_year(), day.dt.week().cast(pl.String).str.zfill(2)
        ), frame
    return column, frame


def _ranked(plan: Plan, matched: int, used: int, table: pl.DataFrame) -> Result:
    if plan.order:
        table = table.sort(["v", "name"], descending=[plan.order == "highest", False])
    else:
        table = table.sort("name")
    rows = [
        Row(_label(name), float(v), int(n))
        for name, n, v in table.select("name", "n", "v").iter_rows()
    ]
    shown = _limited(rows, plan.limit)
    tied = sum(1 for row in rows if row.value == rows[0].value) if rows else 0
    return Result(None, matched, used, tuple(shown), len(rows), tied)


def _limited(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    """The first `limit` rows and those that equal the last of them, within reason."""
    if not limit or limit >= len(rows):
        return rows
    last = rows[limit - 1].value
    end = limit
    while end < len(rows) and rows[end].value == last and end < limit + MOST_GROUPS:
        end += 1
    return rows[:end]


def _compared(plan: Plan, records: Records, frame: pl.LazyFrame, find: Find) -> Result:
    measure, used = _measured(plan, records, pl.lit(value=True))
    rows: list[Row] = []
    matched = int(collect(frame.select(pl.len())).item())
    for one in plan.alternatives:
        own = frame.filter(_expression(one, records, find))
        count, _, value = collect(
            own.select(pl.len().alias("n"), used.alias("u"), measure.alias("v"))
        ).row(0)
        rows.append(Row(_named(one), float(value or 0.0), int(count), condition=one))
    if plan.order:
        rows.sort(key=lambda row: row.value, reverse=plan.order == "highest")
    tied = sum(1 for row in rows if row.value == rows[0].value)
    return Result(None, matched, matched, tuple(rows), len(rows), tied)


def _records(plan: Plan, frame: pl.LazyFrame) -> Result:
    matched = int(collect(frame.select(pl.len())).item())
    if not plan.column:
        head = collect(frame.select("document_id", "title").head(plan.limit or MOST_GROUPS))
        rows = [Row(name, 0.0, 1, title) for name, title in head.iter_rows()]
        return Result(None, matched, matched, tuple(rows), matched)
    known = frame.filter(pl.col(plan.column).is_not_null())
    used = int(collect(known.select(pl.len())).item())
    limit = plan.limit or 1
    table = collect(
        known.select("document_id", "title", plan.column)
        .sort([plan.column, "document_id"], descending=[plan.order == "highest", False])
        .head(limit + MOST_GROUPS)
    )
    if plan.column in DATES:
        rows = [Row(name, 0.0, 1, title, date) for name, title, date in table.iter_rows()]
        return Result(None, matched, used, tuple(rows[:limit]), used, min(1, used))
    rows = [Row(name, float(value), 1, title) for name, title, value in table.iter_rows()]
    tied = 0
    if rows:
        equal = pl.col(plan.column) == rows[0].value
        tied = int(collect(known.filter(equal).select(pl.len())).item())
    return Result(None, matched, used, tuple(_limited(rows, limit)), used, tied)


def _named(condition: Condition) -> str:
    """What an alternative is called: a year, a span of time, a value; empty for another limit."""
    if condition.negated or condition.op not in ("within", "is", "mentions", "starts", "ends", "="):
        return ""
    if condition.values == (0.0,):
        return ""
    if condition.op != "within":
        return _label(condition.values[0])
    first, after = (str(value) for value in condition.values)
    years = first.endswith("-01-01") and after == f"{int(first[:4]) + 1}-01-01"
    return first[:4] if years else f"{first} to before {after}"


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
