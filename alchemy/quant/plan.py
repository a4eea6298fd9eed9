"""A question about many records as a typed, read-only query plan.

The plan says everything: what is counted, over which rows, in which groups. It is shown as SQL, so
that a person can check it; `execution` runs it as Polars expressions, and nothing of a question is
ever evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from alchemy.quant.records import IDENTITY

Measure = Literal[
    "count",
    "rate",
    "sum",
    "mean",
    "median",
    "min",
    "max",
    "std",
    "var",
    "quantile",
    "distinct",
    "share",
]
Op = Literal[
    "is",
    "=",
    ">",
    ">=",
    "<",
    "<=",
    "from",
    "until",
    "within",
    "between",
    "missing",
    "empty",
    "mentions",
    "starts",
    "ends",
]
Period = Literal["year", "quarter", "month", "week", "weekday", "day"]


@dataclass(frozen=True)
class Condition:
    """One limit on the rows; `negated` turns it round.

    Attributes:
        column: a column of the records; `title`, `description` or `text` (both) for the operations
            on words.
        values: any of them suffices for `is`, `=`, `mentions`, `starts` and `ends`; one date (ISO 8601)
            for `from` (inclusive) and `until` (exclusive), both for `within`; two numbers, both
            inclusive, for `between`; one number to compare with.
        counted: the number is compared with how many values a label has.
    """

    column: str
    op: Op
    values: tuple[str | float, ...] = ()
    negated: bool = False
    counted: bool = False

    @property
    def says_kind(self) -> bool:
        """Whether it says which kind of record is asked about."""
        return self.column == "document_id" or (
            self.column in ("kind", "table") and not self.negated
        )

    def sql(self) -> str:
        """The condition as SQL."""
        column = name_sql(self.column)
        if self.op == "missing":
            return f"{column} IS {'NOT ' if self.negated else ''}NULL"
        if self.op == "empty":
            return f"coalesce({column}, 0) {'>' if self.negated else '='} 0"
        if self.op == "is":
            told = [_value_sql(v) for v in self.values]
            if self.column in IDENTITY:
                text = f"{column} IN ({', '.join(told)})" if told[1:] else f"{column} = {told[0]}"
            else:  # a label is a list: a record may have several components
                text = " OR ".join(f"{value} = ANY({column})" for value in told)
                text = f"({text})" if told[1:] else text
        elif self.op == "within":
            first, after = self.values
            text = f"{column} >= {_value_sql(first)} AND {column} < {_value_sql(after)}"
        elif self.op == "between":
            first, last = (_value_sql(v) for v in self.values)
            return f"{column} {'NOT ' if self.negated else ''}BETWEEN {first} AND {last}"
        elif self.op in ("mentions", "starts", "ends"):
            told = [f"{self.op}({column}, {_value_sql(v)})" for v in self.values]
            text = told[0] if len(told) == 1 else f"({' OR '.join(told)})"
        else:
            column = f"cardinality({column})" if self.counted else column
            sign = {"from": ">=", "until": "<"}.get(self.op, self.op)
            told = [_value_sql(v) for v in self.values]
            text = f"{column} IN ({', '.join(told)})" if told[1:] else f"{column} {sign} {told[0]}"
        return f"NOT {text}" if self.negated else text


@dataclass(frozen=True)
class Plan:
    """What to compute.

    Attributes:
        column: what the measure is of; empty for `count` and `share`.
        where: all must hold.
        part: of the rows `where` leaves, which ones a `share` counts.
        group: column whose values make the groups, `document_id` for single records, or empty.
        period: length of the groups where `group` is a date; of a `rate`, what records are counted by.
        alternatives: groups given by conditions instead, compared with each other.
        order: groups by value; None by name.
        limit: groups wanted; 0 for all.
        quantile: in [0, 1], for that measure.
    """

    measure: Measure = "count"
    column: str = ""
    where: tuple[Condition, ...] = ()
    part: tuple[Condition, ...] = ()
    group: str = ""
    period: Period | None = None
    alternatives: tuple[Condition, ...] = ()
    order: Literal["highest", "lowest"] | None = None
    limit: int = 0
    quantile: float = 0.5

    def sql(self) -> str:
        """The plan as one SELECT over the table `records`."""
        if self.alternatives:
            plain = replace(self, alternatives=())
            return "\nUNION ALL\n".join(
                replace(plain, where=(*self.where, one)).sql() for one in self.alternatives
            )
        group = self._group_sql()
        if self.group == "document_id":
            listed = ["document_id", name_sql(self.column)] if self.column else ["document_id"]
            text = f"SELECT {', '.join(listed)} FROM records"
        else:
            text = f"SELECT {f'{group}, ' if group else ''}{self._measure_sql()} FROM records"
        where = list(self.where)
        if self.group == "document_id" and self.column:
            where.append(Condition(self.column, "missing", negated=True))
        if where:
            text += f"\nWHERE {' AND '.join(c.sql() for c in where)}"
        if group and self.group != "document_id":
            text += f"\nGROUP BY {group}"
        ordered = "document_id" if self.group == "document_id" else group
        if self.order:
            by = name_sql(self.column) if self.group == "document_id" else self._measure_sql()
            text += f"\nORDER BY {by}{' DESC' if self.order == 'highest' else ''}"
        elif ordered:
            text += f"\nORDER BY {ordered}"
        return f"{text}\nLIMIT {self.limit}" if self.limit else text

    def _span(self) -> tuple[str, str]:
        """First day and the first after the last, as SQL."""
        given = {c.op: _value_sql(c.values[0]) for c in self.where if c.column == "created_at"}
        first, last = given.get("from", "min(created_at)"), given.get("until", "max(created_at)")
        return first, last

    def _group_sql(self) -> str:
        if not self.group:
            return ""
        name = name_sql(self.group)
        return f"{self.period}({name})" if self.period else name

    def _measure_sql(self) -> str:
        column = name_sql(self.column)
        if self.measure == "count":
            return "count(*)"
        if self.measure == "rate":
            return f"count(*) / {self.period}s({', '.join(self._span())})"
        if self.measure == "share":
            return f"avg(CASE WHEN {' AND '.join(c.sql() for c in self.part)} THEN 1 ELSE 0 END)"
        if self.measure == "distinct":
            return f"count(DISTINCT {column})"
        if self.measure == "quantile":
            return f"quantile({column}, {self.quantile:g})"
        names = {"mean": "avg", "std": "stddev", "var": "variance"}
        return f"{names.get(self.measure, self.measure)}({column})"


def name_sql(name: str) -> str:
    """A column's name, quoted where SQL needs it."""
    return name if name.replace("_", "").isalnum() else '"' + name.replace('"', '""') + '"'


def _value_sql(value: str | float) -> str:
    return (
        f"{value:.15g}" if isinstance(value, float | int) else "'" + value.replace("'", "''") + "'"
    )
