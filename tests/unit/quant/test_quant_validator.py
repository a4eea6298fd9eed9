"""Contract and drift: planted changes stop the run, resamples pass, the report comes first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.contract import Contract, parse_contract
from alchemy.quant.stage import Baseline


def _company(rng: np.random.Generator, rows: int = 1500) -> dict[str, Any]:
    sources = rng.choice(["jira", "git_pr"], rows)
    jira = sources == "jira"
    return {
        "source": sources,
        "points": np.where(jira, rng.choice([1.0, 2, 3, 5, 8], rows), np.nan),
        "comments": np.where(jira, rng.poisson(2.0, rows), np.nan),
        "length": rng.lognormal(5, 1, rows) * np.where(jira, 1, 4),
        "score": rng.normal(size=rows),
        "flag": (rng.random(rows) < 0.03).astype(float),
    }


@pytest.fixture
def baseline(quant, rng) -> Baseline:
    return Baseline(quant(_company(rng)).profile, "live release r1")


def _stopped(quant, columns, **options) -> AlchemyError:
    with pytest.raises(AlchemyError) as caught:
        quant(columns, **options)
    return caught.value


def test_clean_resamples_pass(quant, baseline):
    for seed in range(12):
        rows = 400 + 300 * (seed % 4)
        result = quant(_company(np.random.default_rng(100 + seed), rows), baseline=baseline)
        assert result.report["validation"]["verdict"] == "pass"
        assert result.receipt.counts["drift_warnings"] == 0
        assert len(result.report["validation"]["drift"]) == 8


def test_the_same_table_has_no_drift_at_all(quant, baseline):
    result = quant(_company(np.random.default_rng(7)), baseline=baseline)
    drift = result.report["validation"]["drift"]
    assert all(d["psi"] == 0 and d["ks"] == pytest.approx(0, abs=1e-6) for d in drift)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("score", lambda v: v + 3),
        ("score", lambda v: v * 8),
        ("points", lambda v: np.where(np.isnan(v), v, 13.0)),
        ("length", lambda v: v / 20),
        ("comments", lambda v: np.full_like(v, np.nan)),
    ],
)
def test_planted_drift_stops_naming_column_and_numbers(quant, baseline, tmp_path, column, change):
    columns = _company(np.random.default_rng(3))
    columns[column] = change(columns[column])
    error = _stopped(quant, columns, baseline=baseline)
    assert error.code is ErrorCode.DRIFT_STOP
    assert f"column {column!r}" in error.message and "live release r1" in error.message
    assert "PSI" in error.message and "KS" in error.message
    assert "quant.psi_stop" in error.remedy
    report = json.loads((tmp_path / "out1" / "report.json").read_text())
    assert report["validation"]["verdict"] == "stop"
    worst = report["validation"]["drift"][0]
    assert worst["column"] == column and worst["p_adjusted"] < 0.001
    touched = {d["column"] for d in report["validation"]["drift"] if d["verdict"] != "pass"}
    assert touched == {column}


def test_ks_is_a_close_lower_bound_and_p_values_are_holm_adjusted(quant, baseline):
    before, after = (_company(np.random.default_rng(seed)) for seed in (7, 12))
    after["score"] = after["score"] + 0.25
    drift = quant(after, baseline=baseline).report["validation"]["drift"]
    for d in drift:
        old, new = (c[d["column"]][c["source"] == d["source"]] for c in (before, after))
        exact = stats.ks_2samp(old, new).statistic
        assert exact - 0.03 <= d["ks"] <= exact + 1e-6
    ordered = sorted(d["p_value"] for d in drift)
    adjusted = np.minimum(
        1, np.maximum.accumulate(np.array(ordered) * np.arange(len(drift), 0, -1))
    )
    assert sorted(d["p_adjusted"] for d in drift) == pytest.approx(adjusted.tolist())


def test_a_column_that_was_half_empty_and_still_is_has_not_drifted(quant):
    def table(seed: int, share: float) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        return {"a": np.where(rng.random(900) < share, np.nan, rng.normal(size=900))}

    before = Baseline(quant(table(1, 0.5)).profile, "r1")
    assert quant(table(2, 0.5), baseline=before).report["validation"]["verdict"] == "pass"
    fuller = quant(table(3, 0.1), baseline=before).report["validation"]
    assert [d["verdict"] for d in fuller["drift"]] == ["warn"]


def test_a_moderate_shift_warns_and_the_run_goes_on(quant, baseline):
    columns = _company(np.random.default_rng(4))
    columns["score"] = columns["score"] + 0.7
    result = quant(columns, baseline=baseline)
    assert result.report["validation"]["verdict"] == "warn"
    assert result.receipt.counts["drift_warnings"] == 2  # in both sources


def test_another_mix_of_sources_is_no_drift(quant, baseline):
    columns = _company(np.random.default_rng(5), 4000)
    jira = np.flatnonzero(columns["source"] == "jira")
    keep = np.sort(np.concatenate([jira[:150], np.flatnonzero(columns["source"] == "git_pr")]))
    result = quant({k: np.asarray(v)[keep] for k, v in columns.items()}, baseline=baseline)
    assert result.report["validation"]["verdict"] == "pass"


def test_a_raised_threshold_accepts_the_drift(quant, baseline):
    columns = _company(np.random.default_rng(3))
    columns["score"] = columns["score"] + 3
    result = quant(columns, {"psi_stop": 1000.0}, baseline=baseline)
    assert result.receipt.counts["drift_warnings"] == 2


def test_a_few_rows_are_not_tested_and_the_report_says_so(quant, baseline):
    columns = _company(np.random.default_rng(6), 20)
    columns["score"] = columns["score"] + 50
    validation = quant(columns, baseline=baseline).report["validation"]
    assert (
        validation["drift"] == [] and "jira/score: fewer than 30 rows" in validation["not_tested"]
    )


def test_a_vanished_column_breaks_the_contract(quant, baseline):
    columns = _company(np.random.default_rng(8))
    del columns["points"]
    error = _stopped(quant, columns, baseline=baseline)
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "column 'points' is missing" in error.message


def test_a_column_that_vanishes_with_its_only_source_is_a_warning(quant, baseline):
    columns = _company(np.random.default_rng(9))
    git = columns["source"] == "git_pr"
    columns = {k: v[git] for k, v in columns.items() if k not in ("points", "comments")}
    validation = quant(columns, baseline=baseline).report["validation"]
    assert validation["verdict"] == "warn"
    assert "source 'jira' has vanished" in validation["warnings"]


def test_a_column_that_became_text_breaks_the_contract(quant, baseline):
    columns = _company(np.random.default_rng(10))
    columns["score"] = [f"high {i}" for i in range(len(columns["score"]))]
    error = _stopped(quant, columns, baseline=baseline)
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "'score' must be a number but is String" in error.message


def test_a_new_column_is_a_warning(quant, baseline):
    columns = _company(np.random.default_rng(11)) | {"extra": np.arange(1500.0) ** 0.5}
    validation = quant(columns, baseline=baseline).report["validation"]
    assert validation["verdict"] == "warn"
    assert [f["message"] for f in validation["findings"]] == ["column 'extra' is new"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"minimum": 0.5}, "below 0.5"),
        ({"maximum": 2.0}, "above 2"),
        ({"max_null_share": {"jira": 0.1}}, "empty in 50% of 'jira', at most 10% allowed"),
    ],
)
def test_a_stored_rule_that_does_not_hold_breaks_the_contract(quant, rule, message):
    raw = json.dumps({"columns": {"a": rule}}).encode()
    contract = parse_contract(raw, "quant/contract.json")
    columns = {"source": ["jira"] * 4, "a": [0.0, 3.0, None, None]}
    error = _stopped(quant, columns, contract=contract)
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert message in error.message and "stored contract" in error.message


def test_a_stored_contract_that_holds_passes(quant):
    contract = Contract.model_validate({"columns": {"a": {"minimum": 0, "maximum": 3}}})
    result = quant({"a": [0.0, 3.0, 1.0]}, contract=contract)
    assert result.report["validation"]["verdict"] == "pass"


@pytest.mark.parametrize("raw", [b"{", b'{"columns": {"a": {"minimun": 0}}}', b"[]"])
def test_a_malformed_contract_is_refused_by_name(raw):
    with pytest.raises(AlchemyError, match=r"quant/contract\.json") as caught:
        parse_contract(raw, "quant/contract.json")
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_damaged_baseline_is_refused(quant, rng):
    with pytest.raises(AlchemyError) as caught:
        quant(_company(rng), baseline=Baseline({"version": 1, "columns": 3}, "r1"))
    assert caught.value.code is ErrorCode.CORRUPT
