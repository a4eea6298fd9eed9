"""Selection: what was planted is removed and nothing else; ranking."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ks_2samp

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant import columns

FIRST_DEGREE = {"max_base_columns": 1}


def _independent(rng: np.random.Generator, rows: int, columns: int) -> dict[str, np.ndarray]:
    # negative values: no log1p, which may rightly be collinear with its column
    return {f"x{i}": rng.normal(size=rows) for i in range(columns)}


@pytest.mark.parametrize("block_columns", [2, 5, 128])
@pytest.mark.parametrize("seed", [1, 2])
def test_all_planted_columns_are_removed_and_no_other(quant, seed, block_columns):
    rng = np.random.default_rng(seed)
    rows = 600
    good = _independent(rng, rows, 8)
    good["half"] = np.where(rng.random(rows) < 0.5, rng.normal(size=rows), np.nan)
    near = np.full(rows, -3.0)
    near[:2] = [1.0, 2.0]
    planted = {
        "constant": np.full(rows, 5.0),
        "empty": np.full(rows, np.nan),
        "near": near,
        "z_copy": good["x3"].copy(),
        "z_linear": -2.5 * good["x5"] + 7,
        "z_noisy": good["x0"] + rng.normal(size=rows) * 0.02,
        "z_copy_half": good["half"].copy(),
    }
    table = {**good, **planted}
    shuffled = {name: table[name] for name in rng.permutation(list(table))}
    result = quant(shuffled, {**FIRST_DEGREE, "block_columns": block_columns})
    reasons = result.removed()
    assert set(reasons) == set(planted)
    assert reasons["constant"].startswith("constant")
    assert reasons["empty"] == "all values are null"
    assert reasons["near"].startswith("near-constant: 99.67%")
    assert reasons["z_copy"] == "duplicate: the same values as 'x3'"
    assert reasons["z_linear"].startswith("collinear with 'x5' (r = -1.0000)")
    assert reasons["z_noisy"].startswith("collinear with 'x0'")
    assert reasons["z_copy_half"].startswith("duplicate")
    decisions = result.report["curation"]["decisions"]
    survivors = {d["feature"]: d["survivor"] for d in decisions if d["survivor"]}
    assert survivors["z_noisy"] == "x0"


def test_the_survivor_does_not_depend_on_the_order_of_columns(quant, rng):
    a = rng.normal(size=300)
    columns = {"b": a * 3 + 1, "a": a, "c": a + rng.normal(size=300) * 1e-3}
    forward = quant(columns, FIRST_DEGREE)
    backward = quant(dict(reversed(columns.items())), FIRST_DEGREE)
    assert set(forward.removed()) == set(backward.removed()) == {"b", "c"}


def test_the_fuller_of_two_collinear_columns_survives(quant, rng):
    full = rng.normal(size=300)
    gaps = full * 2
    gaps[:30] = np.nan
    assert set(quant({"a_gaps": gaps, "full": full}, FIRST_DEGREE).removed()) == {"a_gaps"}


def test_columns_that_agree_only_where_few_rows_have_both_are_kept(quant, rng):
    a, b = rng.normal(size=300), rng.normal(size=300)
    b[:100] = a[:100]
    a[100:200] = np.nan
    b[200:] = np.nan  # they share 100 rows and agree there; each has 100 rows of its own
    assert quant({"a": a, "b": b}, FIRST_DEGREE).removed() == {}


def test_a_zero_inflated_but_informative_column_is_kept(quant, rng):
    values = np.where(rng.random(1000) < 0.98, 0.0, rng.normal(size=1000))
    assert quant({"a": values}, FIRST_DEGREE).removed().keys().isdisjoint({"a"})


def test_every_feature_has_exactly_one_decision(quant, rng):
    columns = _independent(rng, 200, 4) | {"copy": np.arange(200.0) ** 2, "empty": [None] * 200}
    result = quant({k: np.array(v, dtype=float) for k, v in columns.items()})
    decided = [d["feature"] for d in result.report["curation"]["decisions"]]
    assert len(decided) == len(set(decided)) == result.receipt.counts["features_generated"] + 1
    assert result.features.columns[1:] == result.report["curation"]["kept"]
    assert result.receipt.counts["features_kept"] == len(result.features.columns) - 1


def test_without_target_a_full_even_and_steady_column_ranks_first(quant, rng):
    rows = 1000
    created = [f"2024-{1 + i // 100:02d}-01" for i in range(rows)]
    gaps = rng.normal(size=rows)
    gaps[rng.random(rows) < 0.7] = np.nan
    columns = {
        "created_at": created,
        "a_trend": np.arange(rows) / 200 - 3 + rng.normal(size=rows) * 0.2,
        "b_gaps": gaps,
        "c_binary": rng.integers(0, 2, rows) - 1,
        "steady": rng.normal(size=rows),
    }
    result = quant(columns, FIRST_DEGREE)
    assert next(f for f in result.report["curation"]["kept"] if f in columns) == "steady"
    decisions = {d["feature"]: d for d in result.report["curation"]["decisions"]}
    assert decisions["a_trend"]["parts"]["stability"] < 0.1
    assert decisions["b_gaps"]["parts"]["coverage"] == pytest.approx(0.3, abs=0.05)
    assert decisions["c_binary"]["parts"]["spread"] < 0.4
    assert decisions["steady"]["score"] > 0.9


@pytest.mark.parametrize("kind", ["number", "text"])
def test_with_a_target_features_rank_by_mutual_information(quant, rng, kind):
    a, b, noise = rng.normal(size=(3, 2000))
    outcome = a * b  # only the product tells it
    target = outcome if kind == "number" else np.where(outcome > 0, "good", "bad")
    result = quant({"a": a, "b": b, "noise": noise, "y": target}, target="y")
    kept = result.report["curation"]["kept"]
    assert kept[0] == "a*b"
    assert not [c for c in result.features.columns if c.startswith("y") or "*y" in c]
    assert result.removed()["y"] == "it is the target"
    scores = {d["feature"]: d["score"] for d in result.report["curation"]["decisions"]}
    assert scores["noise"] < 0.02 < scores["a*b"]


def test_an_unusable_target_is_refused(quant, rng):
    columns = {"a": rng.normal(size=50), "y": np.ones(50)}
    for target in ("none", "y"):
        with pytest.raises(AlchemyError, match=target) as caught:
            quant(columns, target=target)
        assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_table_without_usable_columns_gives_ids_only(quant):
    result = quant({"a": [None, None], "t": ["x", "y"]})
    assert result.features.columns == ["document_id"]
    assert result.features["document_id"].dtype == pl.String
    assert result.insights == {}


def test_usefulness_by_a_sample_is_close_to_that_by_all_rows(quant, rng, monkeypatch):
    rows = 12_000
    day = rng.permutation(rows)
    rare = np.where(rng.random(rows) < 0.02, rng.normal(size=rows) + 2 * (day < rows / 2), np.nan)
    table = {
        "created_at": [f"{2000 + n // 28:04d}-01-{1 + n % 28:02d}" for n in day],
        "source": np.where(rng.random(rows) < 0.8, "jira", "git_pr"),
        "drifting": rng.normal(size=rows) + (day > rows / 2) * 0.5,
        "mostly_zero": np.where(rng.random(rows) < 0.9, 0.0, rng.normal(size=rows)),
        "rare": rare,
        "steady": rng.lognormal(size=rows),
    }
    every = quant(table, FIRST_DEGREE)
    monkeypatch.setattr(columns, "SAMPLED_ROWS", 2000)
    sampled = quant(table, FIRST_DEGREE)
    assert sampled.removed() == every.removed(), "what is removed is decided by all rows"
    exact, near = (
        {d["feature"]: d["parts"] for d in result.report["curation"]["decisions"] if d["parts"]}
        for result in (every, sampled)
    )
    for name, parts in exact.items():
        assert near[name]["coverage"] == parts["coverage"]
        assert near[name]["spread"] == pytest.approx(parts["spread"], abs=0.02)
        assert near[name]["stability"] == pytest.approx(parts["stability"], abs=0.06)
    assert near["rare"] == exact["rare"], "a rare feature is judged by all its rows"
    old = day < rows / 2
    distance = ks_2samp(table["drifting"][old], table["drifting"][~old]).statistic
    assert exact["drifting"]["stability"] == pytest.approx(1 - distance, abs=0.02)
