"""Scout's figures against numpy and scipy on random data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alchemy.quant.profile import Profile, describe

values = st.lists(
    st.one_of(st.integers(-5, 5), st.floats(-1e6, 1e6, allow_subnormal=False)),
    min_size=1,
    max_size=200,
)


@given(values)
def test_figures_equal_numpy(numbers):
    data = np.sort(np.array(numbers, dtype=np.float64))
    figures = describe(data, rows=len(data) + 3)
    assert figures.count == len(data) and figures.n_unique == len(np.unique(data))
    assert (figures.min, figures.max) == (data.min(), data.max())
    assert figures.mean == pytest.approx(data.mean())
    assert figures.std == pytest.approx(data.std())
    for name, share in (("p05", 0.05), ("p50", 0.5), ("p99", 0.99)):
        assert figures.quantiles[name] == pytest.approx(np.quantile(data, share))
    assert figures.null_share == pytest.approx(3 / (len(data) + 3))


@given(values)
def test_the_sketch_holds_the_exact_distribution_function_at_its_cuts(numbers):
    data = np.sort(np.array(numbers, dtype=np.float64))
    figures = describe(data, rows=len(data))
    assert figures.cuts[0] == data[0] and figures.cuts[-1] == data[-1]
    for cut, share in zip(figures.cuts, figures.cumulative, strict=True):
        assert share == pytest.approx(np.mean(data <= cut))


def test_moments_equal_scipy_and_are_undefined_without_spread(rng):
    data = np.sort(rng.lognormal(size=5000))
    figures = describe(data, rows=5000)
    assert figures.skew == pytest.approx(stats.skew(data))
    assert figures.kurtosis == pytest.approx(stats.kurtosis(data))
    assert describe(np.full(10, 0.1), rows=10).skew is None


def test_values_near_the_limit_of_float64_leave_no_infinity(quant):
    result = quant({"a": [1e308, -1e308, 1.0, 2.0]})
    assert result.profile["columns"]["a"]["overall"]["std"] is None
    assert result.features["a"].is_infinite().sum() == 0


def test_each_source_has_its_own_figures(quant):
    sources = ["jira"] * 3 + ["git_pr"] * 2
    profile = quant(
        {"source": sources, "a": [1.0, 2.0, 3.0, 10.0, None], "b": [1.0, 2, 4, 5, 6]}
    ).profile
    assert profile["sources"] == {"git_pr": 2, "jira": 3}
    by_source = profile["columns"]["a"]["by_source"]
    assert by_source["jira"]["mean"] == 2.0 and by_source["jira"]["rows"] == 3
    assert by_source["git_pr"]["count"] == 1 and by_source["git_pr"]["rows"] == 2


def test_counters_and_constants_are_flagged_and_measurements_are_not(quant, rng):
    n = 200
    columns = {
        "number": rng.permutation(n) + 1000,
        "repo_id": rng.choice(10**9, n, replace=False),
        "size": rng.choice(10**9, n, replace=False),
        "same": np.full(n, 4.0),
        "text": [f"t{i}" for i in range(n)],
    }
    result = quant(columns)
    profiled = result.profile["columns"]
    assert [c for c in profiled if profiled[c]["id_like"]] == ["number", "repo_id", "text"]
    assert [c for c in profiled if profiled[c]["constant"]] == ["same"]
    assert set(result.removed()) >= {"number", "repo_id", "same", "text"}
    assert "size" in result.features.columns


def test_many_sources_are_pooled_and_the_report_says_so(quant, rng):
    sources = [f"s{i % 100:03d}" for i in range(1000)]
    result = quant({"source": sources, "a": rng.normal(size=1000)})
    assert len(result.profile["sources"]) == 32
    assert result.profile["sources"]["other sources"] == 1000 - 31 * 10
    assert "100 sources" in result.report["notes"][0]


def test_a_profile_survives_json(quant, rng):
    profile = quant({"a": rng.normal(size=50), "t": ["x"] * 50}).profile
    assert Profile.from_dict(profile).to_dict()["columns"]["a"]["name"] == "a"
    assert Profile.from_dict(Profile.from_dict(profile).to_dict()) == Profile.from_dict(profile)
