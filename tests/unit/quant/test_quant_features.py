"""Feature values against numpy, and which features are made."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import rankdata

NO_SELECTION = {"max_correlation": 1.0, "near_constant_share": 1.0}


@pytest.mark.parametrize("seed", range(5))
def test_scaling_is_robust_and_per_source(quant, seed):
    rng = np.random.default_rng(seed)
    sources = rng.choice(["jira", "git_pr", "documents"], 400)
    a = rng.lognormal(size=400) * np.where(sources == "jira", 100, 1)
    a[rng.random(400) < 0.3] = np.nan
    b = rng.normal(size=400)
    result = quant({"source": sources, "a": a, "b": b}, NO_SELECTION)
    features = result.features
    expected = {}
    for name, values in (("a", a), ("b", b)):
        scaled = np.full(400, np.nan)
        for source in np.unique(sources):
            own = sources == source
            q25, q50, q75 = np.nanquantile(values[own], [0.25, 0.5, 0.75])
            scaled[own] = (values[own] - q50) / (q75 - q25)
        expected[name] = scaled
    assert_allclose(features["a"].to_numpy(), expected["a"])
    assert_allclose(features["log1p(a)"].to_numpy(), np.log1p(a))
    assert_allclose(features["b^2"].to_numpy(), expected["b"] ** 2)
    assert_allclose(features["a*b"].to_numpy(), expected["a"] * expected["b"])
    assert "log1p(b)" not in features.columns  # b has negative values


def test_a_column_that_is_mostly_one_value_is_scaled_by_its_tails(quant, rng):
    values = np.where(rng.random(500) < 0.85, 0.0, rng.integers(1, 40, 500))
    scaled = quant({"a": values}).features["a"].to_numpy()
    p05, p50, p95 = np.quantile(values, [0.05, 0.5, 0.95])
    assert_allclose(scaled, (values - p50) / (p95 - p05))


def test_columns_of_different_sources_make_no_product(quant, rng):
    sources = ["jira"] * 50 + ["git_pr"] * 50
    points, lines = rng.normal(size=100), rng.normal(size=100)
    points[50:], lines[:50] = np.nan, np.nan
    result = quant({"source": sources, "points": points, "lines": lines})
    assert not [c for c in result.features.columns if "*" in c]
    assert result.report["features"]["products_skipped"] == 1
    assert result.receipt.counts["features_generated"] == 4


def test_only_the_best_filled_columns_enter_the_second_degree(quant, rng):
    columns = {f"c{i}": rng.normal(size=80) for i in range(4)}
    columns["c1"][:40] = np.nan
    result = quant(columns, {"max_base_columns": 3})
    assert result.report["features"]["first_degree_only"] == ["c1"]
    assert {"c0^2", "c2^2", "c3^2", "c1"} <= set(result.features.columns)
    assert "c1^2" not in result.features.columns


def test_a_column_named_like_a_product_does_not_clash(quant, rng):
    a, b, c = rng.normal(size=(3, 60))
    features = quant({"a": a, "b": b, "a*b": c}).features
    assert {"a", "b", "a*b", "a*b'"} <= set(features.columns)


def test_products_beyond_float64_become_null_and_are_counted(quant, rng):
    values = rng.normal(size=100)
    values[3] = 1e200
    result = quant({"a": values})
    assert result.features["a^2"].null_count() == 1
    assert result.report["curation"]["overflowed"] == {"a^2": 1}


def test_the_width_of_blocks_does_not_change_the_result(quant, rng):
    columns = {f"c{i}": rng.normal(size=300) for i in range(9)}
    columns["d"] = columns["c0"] + rng.normal(size=300) * 0.001
    wide, narrow = quant(columns), quant(columns, {"block_columns": 2})
    assert wide.features.equals(narrow.features)
    assert wide.removed() == narrow.removed()
    assert wide.report["curation"]["kept"] == narrow.report["curation"]["kept"]


def test_a_table_longer_than_one_slice_keeps_its_order(quant, rng):
    values = rng.normal(size=110_000)
    result = quant({"a": values})
    assert result.features["document_id"].to_list() == [f"d{i:05d}" for i in range(110_000)]
    q25, q50, q75 = np.quantile(values, [0.25, 0.5, 0.75])
    assert_allclose(result.features["a"].to_numpy(), (values - q50) / (q75 - q25))


def test_a_heavy_tailed_column_has_ranks_within_its_source(quant, rng):
    source = np.repeat(["a", "b"], 400)
    values = rng.lognormal(0, 1.5, 800) * np.where(source == "b", 1000, 1)
    values[::50] = np.nan
    result = quant({"source": source, "tail": values, "even": rng.uniform(size=800)})
    assert "rank(even)" not in {d["feature"] for d in result.report["curation"]["decisions"]}
    found = result.features["rank(tail)"].to_numpy()
    assert np.isnan(found[::50]).all()
    for name in ("a", "b"):
        own = (source == name) & ~np.isnan(values)
        exact = rankdata(values[own], method="max") / own.sum()
        # a sketch cuts at every 2 %, and its first cut is the lowest value
        assert np.abs(found[own] - exact).max() <= 0.021
