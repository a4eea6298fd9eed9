"""Fitting a release's numbers on the calibration half: confidence, threshold, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alchemy.finalist.abstention import FEATURES, PRIOR, Features, confidence

_PRIOR_WEIGHT = 10.0
"""Pull towards the prior, against the number of examples: held-out questions are written from
structure and people ask more freely, so a feature those do not need keeps some of its weight."""
_LEAST_SCALE = 0.1
"""Features run from 0 to 1: a spread below this is chance, not a unit to measure in."""
_MIN_GAIN = 0.005
"""F1 below which a weight is not worth its influence."""


@dataclass(frozen=True)
class Example:
    """One calibration question: what the evidence looked like, and whether its answer was right."""

    features: Features
    correct: bool


@dataclass(frozen=True)
class Threshold:
    """Where to abstain, and what that reached on the calibration half."""

    value: float
    precision: float | None
    answered: int
    reached: bool


def fit_confidence(examples: Sequence[Example]) -> dict[str, float]:
    """Coefficients `conf.*` of a logistic model; no feature may speak against the answer.

    Every feature is "more is better evidence", so coefficients are kept non-negative: with a few
    hundred questions a free fit buys its last point of likelihood with a sign that is noise. Both
    classes weigh as they occur. With one class only, the prior stays.
    """
    labels = np.array([example.correct for example in examples], dtype=np.float64)
    if len(labels) == 0 or labels.min() == labels.max():
        return {name: value for name, value in PRIOR.items() if name.startswith("conf.")}
    matrix = np.array([example.features.values() for example in examples], dtype=np.float64)
    prior = np.array([PRIOR[f"conf.{name}"] for name in FEATURES])
    weights, bias = fit_logistic(matrix, labels, prior)
    fitted = {f"conf.{name}": round(float(w), 6) for name, w in zip(FEATURES, weights, strict=True)}
    return {"conf.bias": round(float(bias), 6), **fitted}


def fit_logistic(
    matrix: np.ndarray, labels: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, float]:
    """Logistic regression with weights >= 0, drawn to the prior; features standardised inside.

    Args:
        matrix: float64[n, features].
        labels: float64[n], 0 or 1, both occurring.
        prior: float64[features], weights.

    Returns:
        Weights float64[features], and the bias.
    """
    from scipy.optimize import minimize

    mean, scale = matrix.mean(axis=0), np.maximum(matrix.std(axis=0), _LEAST_SCALE)
    x = (matrix - mean) / scale
    prior = prior * scale
    pull = _PRIOR_WEIGHT / len(x)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        away, z = parameters[1:] - prior, x @ parameters[1:] + parameters[0]
        error = 1.0 / (1.0 + np.exp(-z)) - labels
        value = np.mean(np.logaddexp(0.0, z) - labels * z) + pull / 2 * away @ away
        gradient = np.concatenate(([error.mean()], x.T @ error / len(x) + pull * away))
        return float(value), gradient

    start = np.concatenate(([0.0], prior))
    bounds = [(None, None), *[(0.0, None)] * x.shape[1]]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = found[1:] / scale
    return weights, float(found[0] - weights @ mean)


def pick_threshold(
    examples: Sequence[Example], thresholds: dict[str, float], target_precision: float
) -> Threshold:
    """The lowest confidence from which on answers are right often enough.

    When no threshold reaches the target, the one of highest precision (with the most answers among
    equals), and `reached` is False: the report says so.
    """
    scored = sorted(
        ((confidence(e.features, thresholds, "calibration"), e.correct) for e in examples),
        reverse=True,
    )
    options: list[Threshold] = []
    right = 0
    for count, (value, correct) in enumerate(scored, 1):
        right += correct
        if count < len(scored) and scored[count][0] == value:
            continue  # equal confidences are answered together
        # between this and the next, so that rounding does not move a case across
        below = scored[count][0] if count < len(scored) else 0.0
        precision = right / count
        options.append(
            Threshold(
                round((value + below) / 2, 6), precision, count, precision >= target_precision
            )
        )
    reached = [option for option in options if option.reached]
    if reached:
        return min(reached, key=lambda option: option.value)
    if options:
        return max(options, key=lambda option: (option.precision or 0.0, option.answered))
    return Threshold(PRIOR["abstain"], None, 0, False)


def pick_weight(
    scores: Mapping[float, Sequence[float]],
) -> tuple[float, list[dict[str, Any]]]:
    """The weight whose answers are best; one above 0 must beat 0 by more than its own noise.

    Args:
        scores: weight → F1 of each calibration question under it, in the same order.

    Returns:
        The weight, and one line per weight for the report.
    """
    baseline = np.asarray(scores[0.0], dtype=np.float64)
    chosen, best_gain = 0.0, 0.0
    lines: list[dict[str, Any]] = []
    for weight in sorted(scores):
        gains = np.asarray(scores[weight], dtype=np.float64) - baseline
        gain = float(gains.mean()) if len(gains) else 0.0
        noise = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
        f1 = round(float(np.mean(scores[weight])), 4) if len(gains) else None
        lines.append({"weight": weight, "f1": f1, "gain": round(gain, 4)})
        if gain > max(best_gain, noise, _MIN_GAIN):
            chosen, best_gain = weight, gain
    return chosen, lines
