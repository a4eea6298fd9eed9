"""What was planted is found, and nothing else: superfluous columns, interactions, false alarms."""

from __future__ import annotations

import numpy as np

from alchemy.quant.stage import Baseline


def test_thirty_superfluous_columns_go_and_twelve_independent_ones_stay(quant, rng):
    rows = 800
    good = {f"g{n:02d}": rng.normal(size=rows) for n in range(12)}
    names = list(good)
    planted = {f"constant{n}": np.full(rows, float(n)) for n in range(8)}
    planted |= {f"z_copy{n}": good[names[n]].copy() for n in range(8)}
    planted |= {f"z_linear{n}": (n - 9.5) * good[names[n]] + n for n in range(8)}
    planted |= {f"z_noisy{n}": good[names[11 - n]] + rng.normal(size=rows) * 0.02 for n in range(6)}
    assert len(planted) == 30
    table = {**good, **planted}
    shuffled = {name: table[name] for name in rng.permutation(list(table))}
    result = quant(shuffled, {"max_base_columns": 1})
    assert set(result.removed()) == set(planted)


def test_five_planted_interactions_are_among_the_first_twenty_features(quant, rng):
    rows = 4000
    table = {f"x{n}": rng.normal(size=rows) for n in range(12)}
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    table["outcome"] = sum(table[f"x{a}"] * table[f"x{b}"] for a, b in pairs)
    table["outcome"] = table["outcome"] + rng.normal(size=rows) * 0.5
    kept = quant(table, target="outcome").report["curation"]["kept"]
    assert {f"x{a}*x{b}" for a, b in pairs} <= set(kept[:20])


def test_a_hundred_clean_resamples_raise_at_most_five_warnings(quant, rng):
    def table(random: np.random.Generator) -> dict[str, np.ndarray]:
        rows = 500
        return {
            "points": random.choice([1.0, 2, 3, 5, 8], rows),
            "comments": random.poisson(2.0, rows).astype(float),
            "length": random.lognormal(5, 1, rows),
            "score": random.normal(size=rows),
            "rare": np.where(random.random(rows) < 0.1, random.normal(size=rows), np.nan),
        }

    only = {"max_base_columns": 1}
    baseline = Baseline(quant(table(rng), only).profile, "live")
    warned = 0
    for seed in range(100):
        result = quant(table(np.random.default_rng(1000 + seed)), only, baseline=baseline)
        warned += int(result.receipt.counts["drift_warnings"])
    assert warned <= 5
