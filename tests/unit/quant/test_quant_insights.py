"""Insights: percentiles against a direct count, wording, and what a change touches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alchemy.quant.insights import ranks


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(-4, 4))),
        min_size=1,
        max_size=80,
    )
)
def test_percentiles_equal_a_direct_count(rows):
    codes = np.array([code for code, _ in rows])
    values = np.array([np.nan if v is None else v for _, v in rows], dtype=float)
    percentile = ranks(values, codes).percentile()
    for i, value in enumerate(values):
        own = values[(codes == codes[i]) & ~np.isnan(values)]
        if np.isnan(value):
            assert np.isnan(percentile[i])
        else:
            expected = stats.percentileofscore(own, value, kind="mean")
            assert percentile[i] == pytest.approx(expected)


def _issues(rng: np.random.Generator, rows: int = 400) -> dict:
    # 395 documents of 1..5 points, five of 13
    points = rng.integers(1, 6, rows).astype(float)
    points[:5] = 13.0
    return {
        "source": ["jira"] * rows,
        "story_points": points,
        "text_length": rng.permutation(rows) * 37.0 + 5,
    }


def test_an_insight_names_value_place_and_group(quant, rng):
    table = _issues(rng)
    table["text_length"][1] = 99_000.0
    result = quant(table)
    assert result.insights["d00000"]["insight"].startswith(
        "Story points 13: higher than 98 % of 400 jira documents"
    )
    assert result.insights["d00001"]["insight"] == (
        "Text length 99,000: the highest of 400 jira documents; story points 13 in the highest 2 %."
    )
    outliers = result.insights["d00001"]["outliers"]
    assert outliers == {"text_length": 99.9, "story_points": 99.4}


def test_only_the_outer_five_percent_are_notable(quant, rng):
    table = _issues(rng)
    table["story_points"][:] = rng.integers(1, 6, 400)  # every value shared by about a fifth
    result = quant(table)
    length = table["text_length"]
    ranked = np.sort(length)
    expected = {
        f"d{i:05d}" for i in range(400) if length[i] <= ranked[19] or length[i] >= ranked[-20]
    }
    assert set(result.insights) == expected
    assert result.receipt.counts["insights"] == 40
    lowest = f"d{int(np.argmin(length)):05d}"
    assert result.insights[lowest]["insight"].startswith("Text length 5: the lowest of 400 jira")


def test_the_rank_signal_is_the_mean_percentile(quant, rng):
    table = _issues(rng)
    result = quant(table)
    for i in range(5):
        shares = [
            stats.percentileofscore(table[c], table[c][i], kind="mean") / 100
            for c in ("story_points", "text_length")
        ]
        signal = result.insights[f"d{i:05d}"]["rank_signal"]
        assert signal == pytest.approx(np.mean(shares), abs=1e-4)


def test_a_change_touches_only_documents_between_the_old_and_the_new_value(quant, rng):
    table = _issues(rng)
    length = table["text_length"]
    before = quant(table).insights
    order = np.argsort(length)
    mover = int(order[200])
    changed = {**table, "text_length": length.copy()}
    changed["text_length"][mover] = length[order[390]] + 1  # from the middle into the top 5 %
    after = quant(changed).insights
    touched = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    between = {f"d{int(i):05d}" for i in order[200:391]}
    assert f"d{mover:05d}" in touched and f"d{mover:05d}" in after
    assert touched <= between
    # the one that stood at the border is pushed out
    assert f"d{int(order[380]):05d}" in before and f"d{int(order[380]):05d}" not in after


def test_two_columns_that_say_the_same_are_not_both_mentioned(quant, rng):
    table = _issues(rng)
    table["word_count"] = table["text_length"] / 5
    assert not [i for i in quant(table).insights.values() if "ord count" in i["insight"]]


def test_small_sources_have_no_insights(quant, rng):
    result = quant({"source": ["wiki"] * 19, "a": rng.normal(size=19)})
    assert result.insights == {}


def test_insights_are_sorted_by_id_and_repeatable(quant, rng):
    values = rng.normal(size=500)
    ids = [f"d{i:05d}" for i in rng.permutation(500)]
    one, two = (quant({"document_id": ids, "a": values}) for _ in range(2))
    assert list(one.insights) == sorted(one.insights)
    for name in one.receipt.files:
        file = name.rpartition("/")[2]
        if not file.startswith("report."):  # these name the input file
            assert (one.directory / file).read_bytes() == (two.directory / file).read_bytes()


def test_a_table_without_sources_speaks_of_documents(quant, rng):
    insights = quant({"size": rng.normal(size=100)}).insights.values()
    assert any(" of 100 documents." in i["insight"] for i in insights)
