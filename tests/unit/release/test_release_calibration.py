from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.finalist.abstention import FEATURES, PRIOR, Features, confidence
from alchemy.release.calibration import (
    Example,
    fit_confidence,
    pick_threshold,
    pick_weight,
)
from alchemy.release.metrics import estimate, token_f1

UNIT = st.floats(0, 1)
EXAMPLES = st.lists(
    st.builds(
        Example,
        features=st.builds(Features, **dict.fromkeys(FEATURES, UNIT)),
        correct=st.booleans(),
    ),
    max_size=40,
)


def example(coverage: float, correct: bool, noise: float = 0.5) -> Example:
    values = {**dict.fromkeys(FEATURES, 0.5), "coverage": coverage, "margin": noise}
    return Example(Features(**values), correct)


def separable() -> list[Example]:
    return [example(n / 40, n > 20, noise=(n * 7 % 10) / 10) for n in range(40)]


def test_confidence_follows_the_feature_that_decides() -> None:
    fitted = fit_confidence(separable())
    high, low = example(0.95, True).features, example(0.05, False).features
    assert confidence(high, fitted, "x") > 0.8
    assert confidence(low, fitted, "x") < 0.3
    assert fitted["conf.coverage"] > fitted["conf.margin"]


@settings(max_examples=40, deadline=None)
@given(EXAMPLES)
def test_better_evidence_never_lowers_the_confidence(examples: list[Example]) -> None:
    fitted = fit_confidence(examples)
    assert fitted.keys() == {k for k in PRIOR if k.startswith("conf.")}
    assert all(fitted[f"conf.{name}"] >= 0 for name in FEATURES)


@settings(max_examples=40, deadline=None)
@given(EXAMPLES, st.floats(0.05, 1))
def test_a_reached_threshold_has_the_precision_it_promises(
    examples: list[Example], target: float
) -> None:
    thresholds = {**PRIOR, **fit_confidence(examples)}
    limit = pick_threshold(examples, thresholds, target)
    answered = [e for e in examples if confidence(e.features, thresholds, "x") >= limit.value]
    if limit.reached:
        assert sum(e.correct for e in answered) >= target * len(answered) > 0


def test_the_lowest_threshold_that_reaches_the_target_is_taken() -> None:
    examples = separable()
    thresholds = {**PRIOR, **fit_confidence(examples)}
    strict = pick_threshold(examples, thresholds, 1.0)
    loose = pick_threshold(examples, thresholds, 0.6)
    assert loose.value < strict.value
    assert loose.answered > strict.answered


def test_the_most_precise_threshold_when_the_target_is_out_of_reach() -> None:
    examples = [example(n / 10, n == 5) for n in range(10)]
    limit = pick_threshold(examples, {**PRIOR, **fit_confidence(examples)}, 0.99)
    assert not limit.reached


def test_a_draft_weight_must_beat_its_own_noise() -> None:
    noisy = {0.0: [0.5] * 20, 0.1: [0.5 + (0.3 if n % 2 else -0.29) for n in range(20)]}
    clear = {0.0: [0.5] * 20, 0.1: [0.6 + n / 1000 for n in range(20)], 0.2: [0.4] * 20}
    assert pick_weight(noisy)[0] == 0.0
    assert pick_weight(clear)[0] == 0.1


def test_token_f1_ignores_markers_case_and_stop_words() -> None:
    assert token_f1("The Port is 9393. [1]", "port: 9393") == 1.0
    assert token_f1("weather", "port 9393") == 0.0


@settings(max_examples=40, deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=30))
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    measured = estimate(values, seed=1)
    assert measured["low"] - 1e-3 <= measured["value"] <= measured["high"] + 1e-3


def test_two_examples_leave_the_prior_nearly_as_it_is() -> None:
    fitted = fit_confidence([example(0.5, True), example(0.45, False)])
    for name in FEATURES:
        assert abs(fitted[f"conf.{name}"] - PRIOR[f"conf.{name}"]) < 0.3


def test_more_examples_move_it_further() -> None:
    few = fit_confidence(separable()[::10])["conf.coverage"]
    many = fit_confidence(separable() * 3)["conf.coverage"]
    assert many > few > 0
