"""Validator: the contract and the drift against an earlier run's profile → one verdict.

Drift is measured per source and column, so a changed mix of sources is no drift. A column drifts when
both hold: the change is significant (Holm over all tests at `ks_alpha`) and large (PSI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc, kolmogorov

from alchemy.config import QuantSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.contract import Contract, Finding, check_contract, derive_contract
from alchemy.quant.profile import Numbers, Profile
from alchemy.quant.scout import source_codes
from alchemy.quant.table import Table, collect, column_blocks
from alchemy.types import JsonRecord

MIN_ROWS = 30
"""Smaller groups are not tested for drift: nothing they could show would be significant."""
PSI_BINS = 10


@dataclass(frozen=True)
class Drift(JsonRecord):
    """The change of one column of one source since the baseline.

    Attributes:
        psi: population stability index over the baseline's decile bins, the two bins outside its
            range, and one bin for nulls.
        ks: largest distance of the two distribution functions at the baseline's cuts; a lower
            bound of the Kolmogorov-Smirnov statistic, so its p value is conservative.
        p_value: of the stronger of both tests, doubled (Bonferroni); `p_adjusted` after Holm.
    """

    source: str
    column: str
    baseline_rows: int
    rows: int
    psi: float
    ks: float
    p_value: float
    p_adjusted: float = 1.0
    verdict: str = "pass"


@dataclass(frozen=True)
class Validation(JsonRecord):
    """The verdict: `stop` when the contract is broken or a column drifted too far."""

    verdict: str
    contract: str
    findings: tuple[Finding, ...] = ()
    baseline: str | None = None
    drift: tuple[Drift, ...] = ()
    warnings: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()

    @property
    def drift_warnings(self) -> int:
        """Columns that drifted, but not far enough to stop."""
        return sum(d.verdict == "warn" for d in self.drift)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        return {**super().to_dict(), "findings": [f.model_dump() for f in self.findings]}


def validate(
    table: Table,
    profile: Profile,
    settings: QuantSettings,
    *,
    baseline: Mapping[str, Any] | None = None,
    baseline_name: str = "the live release",
    contract: Contract | None = None,
) -> Validation:
    """Check the table; never raises for what it finds (see `enforce`).

    Args:
        baseline: `Profile.to_dict()` of the run to compare with; None: nothing to compare with.
        contract: the stored contract; None derives it from the baseline, else from the profile.
    """
    before = Profile.from_dict(baseline) if baseline is not None else None
    if contract is None:
        origin = f"derived from {baseline_name}" if before else "derived from this table"
        contract = derive_contract(before or profile, origin)
    findings = check_contract(profile, contract)
    broken = any(f.severity == "break" for f in findings)
    drift: list[Drift] = []
    warnings: list[str] = []
    skipped: list[str] = []
    if before is not None and not broken:
        warnings = _sources_changed(before, profile)
        tests, skipped = _comparable(before, profile)
        drift = _judge(_measure(table, profile, tests, settings.block_columns), settings)
    worst = {d.verdict for d in drift}
    if broken or "stop" in worst:
        verdict = "stop"
    else:
        verdict = "warn" if findings or warnings or "warn" in worst else "pass"
    return Validation(
        verdict=verdict,
        contract=contract.origin,
        findings=tuple(findings),
        baseline=baseline_name if before else None,
        drift=tuple(drift),
        warnings=tuple(warnings),
        not_tested=tuple(skipped),
    )


def enforce(validation: Validation, settings: QuantSettings, where: str) -> None:
    """Raise for a `stop` verdict.

    Raises:
        AlchemyError: SCHEMA_BROKEN for a broken contract; DRIFT_STOP with column and numbers.
    """
    breaks = [f for f in validation.findings if f.severity == "break"]
    if breaks:
        more = f" (and {len(breaks) - 1} more)" if len(breaks) > 1 else ""
        remedy = "Mend the source of that column."
        if breaks[0].rule != "identity":
            remedy += " If the change is meant, store the new rules as quant/contract.json."
        raise AlchemyError(
            ErrorCode.SCHEMA_BROKEN,
            f"{where} breaks its contract ({validation.contract}): {breaks[0].message}{more}",
            remedy,
        )
    stops = [d for d in validation.drift if d.verdict == "stop"]
    if stops:
        worst = max(stops, key=lambda d: d.psi)
        more = f" (and {len(stops) - 1} more columns)" if len(stops) > 1 else ""
        raise AlchemyError(
            ErrorCode.DRIFT_STOP,
            f"{where}: column {worst.column!r} of {worst.source!r} drifted from {validation.baseline}: "
            f"PSI {worst.psi:.2f} (stop at {settings.psi_stop:g}), KS {worst.ks:.2f}, "
            f"adjusted p {worst.p_adjusted:.1g}{more}",
            "Check the source; to accept the new data, raise quant.psi_stop in models.yaml and run again.",
        )


def _sources_changed(before: Profile, now: Profile) -> list[str]:
    gone = [f"source {s!r} has vanished" for s in before.sources if s not in now.sources]
    return gone + [f"source {s!r} is new" for s in now.sources if s not in before.sources]


def _comparable(before: Profile, now: Profile) -> tuple[dict[str, dict[str, Numbers]], list[str]]:
    """Column → source → baseline figures, and the pairs with too few rows."""
    tests: dict[str, dict[str, Numbers]] = {}
    skipped: list[str] = []
    for name, column in before.numbers().items():
        if name not in now.numbers():
            continue
        for source, figures in column.by_source.items():
            if min(figures.count, now.sources.get(source, 0)) >= MIN_ROWS:
                tests.setdefault(name, {})[source] = figures
            elif source in now.sources:
                skipped.append(f"{source}/{name}: fewer than {MIN_ROWS} rows")
    return tests, skipped


def _measure(
    table: Table, profile: Profile, tests: dict[str, dict[str, Numbers]], block_columns: int
) -> list[Drift]:
    drifts: list[Drift] = []
    names = list(profile.sources)
    for block in column_blocks(list(tests), table.rows, block_columns):
        data = collect(table.scan().select("source", *block))
        codes = source_codes(data["source"], names)
        for column in block:
            values = data[column].to_numpy()
            for source, figures in tests[column].items():
                drifts.append(_drift(source, column, figures, values[codes == names.index(source)]))
    return drifts


def _drift(source: str, column: str, before: Numbers, values: np.ndarray) -> Drift:
    rows = len(values)
    present = values[~np.isnan(values)]
    cuts, cumulative = np.array(before.cuts), np.array(before.cumulative)
    # share of values ≤ each cut, exactly as the baseline counted its own
    place = np.searchsorted(cuts, present, side="left")
    at_most = np.cumsum(np.bincount(place, minlength=len(cuts) + 1))[:-1]
    below_all = int(np.count_nonzero(present < cuts[0]))

    edges = _decile_edges(cumulative)
    old = np.diff(np.concatenate(([0.0], cumulative[edges] * before.count)))
    new = np.diff(np.concatenate(([below_all], at_most[edges])))
    above_all = len(present) - at_most[-1]
    old = np.concatenate(([0.0], old, [0.0, before.rows - before.count]))
    new = np.concatenate(([below_all], new, [above_all, rows - len(present)]))
    psi = _psi(old, new)
    p_psi = float(chdtrc(len(old) - 1, psi * before.rows * rows / (before.rows + rows)))

    ks, p_ks = 0.0, 1.0
    if len(present) >= MIN_ROWS:
        gaps = np.abs(cumulative - at_most / len(present))
        ks = max(float(gaps.max()), below_all / len(present))
        n = np.sqrt(before.count * len(present) / (before.count + len(present)))
        p_ks = float(kolmogorov((n + 0.12 + 0.11 / n) * ks))
    p_value = min(1.0, 2 * min(p_psi, p_ks))
    return Drift(source, column, before.rows, rows, round(psi, 6), round(ks, 6), p_value)


def _decile_edges(cumulative: np.ndarray) -> np.ndarray:
    """Positions of the cuts that bound about `PSI_BINS` equally filled bins; the last included."""
    targets = np.arange(1, PSI_BINS + 1) / PSI_BINS
    places = np.searchsorted(cumulative, targets - 1e-12)
    return np.unique(np.minimum(places, len(cumulative) - 1))


def _psi(old: np.ndarray, new: np.ndarray) -> float:
    """PSI of two count vectors; half a count is added everywhere so that empty bins stay finite."""
    p = (old + 0.5) / (old + 0.5).sum()
    q = (new + 0.5) / (new + 0.5).sum()
    return float(np.sum((q - p) * np.log(q / p)))


def _judge(drifts: list[Drift], settings: QuantSettings) -> list[Drift]:
    """Adjusted p values and verdicts, worst first."""
    order = sorted(drifts, key=lambda d: (d.p_value, d.source, d.column))
    judged: list[Drift] = []
    adjusted = 0.0
    for place, drift in enumerate(order):
        adjusted = min(1.0, max(adjusted, drift.p_value * (len(order) - place)))
        verdict = "pass"
        if adjusted < settings.ks_alpha and drift.psi >= settings.psi_warn:
            verdict = "stop" if drift.psi >= settings.psi_stop else "warn"
        judged.append(Drift(**{**drift.to_dict(), "p_adjusted": adjusted, "verdict": verdict}))
    return sorted(judged, key=lambda d: (-d.psi, d.source, d.column))
