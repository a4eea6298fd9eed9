"""What a table must look like: stored by the operator, or derived from the last good profile."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.profile import ColumnProfile, Profile

CONTRACT_KEY = "quant/contract.json"
"""Where the operator stores a contract in the lake; without one it is derived."""
NULL_SHARE_SLACK = 0.2


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnRule(_Body):
    """One numeric column.

    Attributes:
        sources: the column is required as long as one of them is in the table; empty: always.
        minimum, maximum: inclusive range of the values.
        max_null_share: source → largest share of rows without a value.
    """

    sources: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_null_share: dict[str, float] = Field(default_factory=dict)


class Contract(_Body):
    """Rules of a table; the id column is always required to be complete and unique.

    Attributes:
        origin: where the rules come from, for the report.
        derived: True when nobody wrote it: then only a missing or no longer numeric column breaks
            it; an unusual range or null share of data nobody has described is a warning.
    """

    columns: dict[str, ColumnRule]
    origin: str = "stored contract"
    derived: bool = False


class Finding(_Body):
    """One rule that does not hold. `severity`: `break` stops the run, `warn` is reported."""

    severity: str
    rule: str
    column: str
    source: str | None
    message: str


def parse_contract(raw: bytes, where: str) -> Contract:
    """The stored contract; INPUT_INVALID names the key that is wrong."""
    try:
        return Contract.model_validate(json.loads(raw))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = f"{key}: {first['msg']}"
    except ValueError as error:
        reason = f"not JSON: {error}"
    raise AlchemyError(
        ErrorCode.INPUT_INVALID,
        f"{where} is not a contract: {reason}",
        'Mend it; the form is {"columns": {"name": {"minimum": 0}}}.',
    )


def derive_contract(profile: Profile, origin: str) -> Contract:
    """The rules a profile implies for the next table."""
    columns = {name: _rule(c) for name, c in profile.numbers().items() if c.by_source}
    return Contract(columns=columns, origin=origin, derived=True)


def _rule(column: ColumnProfile) -> ColumnRule:
    lowest = column.overall.min if column.overall else None
    return ColumnRule(
        sources=tuple(column.by_source),
        minimum=0.0 if lowest is not None and lowest >= 0 else None,
        max_null_share={
            source: round(min(1.0, n.null_share + NULL_SHARE_SLACK), 4)
            for source, n in column.by_source.items()
        },
    )


def check_contract(profile: Profile, contract: Contract) -> list[Finding]:
    """Every rule that does not hold, breaks first."""
    findings = _identity(profile)
    soft = "warn" if contract.derived else "break"
    for name, rule in contract.columns.items():
        column = profile.columns.get(name)
        expected = [s for s in rule.sources if s in profile.sources]
        if column is None:
            missing = f"column {name!r} is missing"
            if rule.sources and not expected:
                text = f"{missing}, as are all its sources ({', '.join(rule.sources)})"
                findings.append(_finding("warn", "columns", name, text))
            else:
                findings.append(_finding("break", "columns", name, missing))
        elif column.kind != "number":
            text = f"column {name!r} must be a number but is {column.dtype}"
            findings.append(_finding("break", "types", name, text))
        else:
            findings += _values(column, rule, profile.sources, soft)
    for name in profile.numbers():
        if name not in contract.columns:
            findings.append(_finding("warn", "columns", name, f"column {name!r} is new"))
    return sorted(findings, key=lambda f: f.severity != "break")


def _identity(profile: Profile) -> list[Finding]:
    findings: list[Finding] = []
    if profile.null_ids:
        text = f"{profile.null_ids} of {profile.rows} rows have no document_id"
        findings.append(_finding("break", "identity", "document_id", text))
    if profile.duplicate_ids:
        more = f" (and {profile.duplicate_ids - 1} more ids)" if profile.duplicate_ids > 1 else ""
        text = f"document_id {profile.duplicate_example!r} occurs more than once{more}"
        findings.append(_finding("break", "identity", "document_id", text))
    return findings


def _values(
    column: ColumnProfile, rule: ColumnRule, sources: dict[str, int], severity: str
) -> list[Finding]:
    findings: list[Finding] = []
    name, figures = column.name, column.overall
    low = figures.min if figures else None
    high = figures.max if figures else None
    if low is not None and rule.minimum is not None and low < rule.minimum:
        text = f"column {name!r} goes down to {low:g}, below {rule.minimum:g}"
        findings.append(_finding(severity, "range", name, text))
    if high is not None and rule.maximum is not None and high > rule.maximum:
        text = f"column {name!r} goes up to {high:g}, above {rule.maximum:g}"
        findings.append(_finding(severity, "range", name, text))
    for source, limit in rule.max_null_share.items():
        if source not in sources:
            continue
        group = column.by_source.get(source)
        share = group.null_share if group else 1.0
        if share > limit:
            text = f"column {name!r} is empty in {share:.0%} of {source!r}, at most {limit:.0%} allowed"
            findings.append(_finding(severity, "null_share", name, text, source))
    return findings


def _finding(
    severity: str, rule: str, column: str, message: str, source: str | None = None
) -> Finding:
    return Finding(severity=severity, rule=rule, column=column, source=source, message=message)
